"""Exact scenes, drawings, sentences and token ids of the toy world."""

from __future__ import annotations

import hashlib
import random
from collections import Counter

import pytest

from capivara_cli import toy
from capivara_cli.toy import grammar, scenes
from capivara_cli.toy.grammar import Choice
from capivara_cli.toy.scenes import Scene, Thing

HAT = Thing("hat", "blue", "small", "striped")
TREE = Thing("tree", "green", "big", "plain")
LEAF = Thing("leaf", "black", "big", "spotted")
PAIR = Scene((HAT, TREE, TREE), "left", "snow")
PLAIN = Choice(frame=0, size=0, pattern=0, relation=0, mirrored=False)


def test_the_first_scenes_of_each_split_are_known():
    assert [scenes.canonical(scene) for scene in scenes.sample_scenes("heldout", 2)] == [
        "1 small blue striped fish|left|1 big white plain leaf|snow",
        "1 small white spotted ball|left|1 big black spotted house|night",
    ]
    assert [scenes.canonical(scene) for scene in scenes.sample_scenes("train", 1, seed=3)] == [
        "1 small white plain leaf|left|1 big white striped box|grass"
    ]


def test_splits_share_no_scene_and_give_distinct_ones():
    train, heldout = set(scenes.sample_scenes("train", 3000)), set(scenes.sample_scenes("heldout", 500, seed=9))
    assert len(train) == 3000 and len(heldout) == 500
    assert train & heldout == set()
    assert {scenes.split_of(scene) for scene in heldout} == {"heldout"}


def test_heldout_is_about_a_tenth():
    rng = random.Random(0)
    kinds = Counter(scenes.split_of(scenes.random_scene(rng)) for _ in range(4000))
    assert 320 < kinds["heldout"] < 480


def test_an_unknown_split_lists_the_known():
    with pytest.raises(ValueError, match="there is no split 'test'; there are train, heldout"):
        next(scenes.sample_scenes("test", 1))


def test_groups_count_equal_things():
    assert scenes.groups(PAIR) == ((1, HAT), (2, TREE))
    assert scenes.canonical(PAIR) == "1 small blue striped hat|left|2 big green plain tree|snow"


def test_a_drawing_has_known_pixels():
    image = scenes.draw(PAIR, seed=0)
    assert (image.mode, image.size) == ("RGB", (64, 64))
    assert (
        hashlib.sha256(image.tobytes()).hexdigest()
        == "47d18ed167be4c69675ea9c90a0250ff646b63b07d751cb8a9568ab99107000c"
    )
    assert scenes.draw(PAIR, seed=1).tobytes() != image.tobytes()
    assert scenes.draw(PAIR, size=96).size == (96, 96)


@pytest.mark.parametrize(
    ("lang", "text"),
    [
        ("en", "a small blue striped hat to the left of two big green trees in the snow"),
        ("pt", "um chapéu azul pequeno listrado à esquerda de duas árvores verdes grandes na neve"),
        ("hi", "बर्फ़ में दो बड़े हरे पेड़ों के बाईं ओर एक छोटी नीली धारीदार टोपी"),
        ("xh", "umnqwazi omncinci oblowu onemigca ngasekhohlo kwemithi emibini emikhulu eluhlaza ekhephini"),
    ],
)
def test_one_scene_in_four_languages(lang, text):
    assert grammar.render(PAIR, lang, PLAIN) == text


AGREEMENT = [
    # gender and number
    ("pt", (HAT,), 0, "um chapéu azul minúsculo com listras na areia"),
    ("pt", (LEAF, LEAF), 0, "duas folhas pretas enormes com manchas na areia"),
    ("pt", (LEAF,) * 3, 3, "há três folhas pretas enormes com manchas na areia"),
    # the oblique before का चित्र, the verb after what is seen
    ("hi", (LEAF,), 0, "रेत पर एक विशाल काला धब्बों वाला पत्ता"),
    ("hi", (LEAF,), 1, "रेत पर एक विशाल काले धब्बों वाले पत्ते का चित्र"),
    ("hi", (LEAF, LEAF), 1, "रेत पर दो विशाल काले धब्बों वाले पत्तों का चित्र"),
    ("hi", (LEAF, LEAF), 4, "रेत पर हमें दो विशाल काले धब्बों वाले पत्ते दिखते हैं"),
    ("hi", (HAT,), 4, "रेत पर हमें एक नन्ही नीली धारियों वाली टोपी दिखती है"),
    # noun classes 5, 6, 3 and 4, and the vowels that meet
    ("xh", (LEAF,), 0, "igqabi elikhulu kakhulu elimnyama elinamachokoza esantini"),
    ("xh", (LEAF,) * 3, 0, "amagqabi amathathu amakhulu kakhulu amnyama anamachokoza esantini"),
    ("xh", (HAT,), 1, "umzobo womnqwazi omncinane oblowu onemigca emide esantini"),
    ("xh", (HAT, HAT), 2, "umboniso oneminqwazi emibini emincinane eblowu enemigca emide esantini"),
]


@pytest.mark.parametrize(("lang", "things", "frame", "text"), AGREEMENT)
def test_words_agree_in_gender_and_number(lang, things, frame, text):
    choice = Choice(frame=frame, size=1, pattern=1, relation=0, mirrored=False)
    assert grammar.render(Scene(things, None, "sand"), lang, choice) == text


def test_xhosa_nasals_change_the_next_sound():
    balls = Scene((Thing("ball", "red", "big", "plain"),) * 3, None, "grass")
    assert grammar.render(balls, "xh", PLAIN) == "iibhola ezintathu ezinkulu ezibomvu engceni"


def test_a_mirrored_sentence_describes_the_same_picture():
    mirrored = Choice(frame=0, size=0, pattern=0, relation=0, mirrored=True)
    text = grammar.render(PAIR, "en", mirrored)
    assert text == "two big green trees to the right of a small blue striped hat in the snow"


def test_parallel_has_every_language_and_is_repeatable():
    told = grammar.parallel(PAIR, random.Random(4))
    assert tuple(told) == ("en", "pt", "hi", "xh")
    assert told == grammar.parallel(PAIR, random.Random(4))
    assert told["en"] == grammar.describe(PAIR, "en", random.Random(4))


def test_translation_from_english_is_a_function():
    rng, seen = random.Random(0), {}
    for scene in scenes.sample_scenes("train", 400):
        for _ in range(4):
            told = grammar.parallel(scene, rng)
            assert seen.setdefault(told["en"], told) == told


def test_noun_phrases_follow_a_prefix():
    rng = random.Random(2)
    firsts = Counter(grammar.noun_phrase(scene, "en", rng).split()[0] for scene in scenes.sample_scenes("train", 300))
    assert set(firsts) == {"a", "two", "three"}


def test_sentences_are_short_and_end_clean():
    rng = random.Random(3)
    texts = [grammar.describe(s, lang, rng) for s in scenes.sample_scenes("train", 200) for lang in grammar.LANGUAGES]
    lengths = [len(text.split()) for text in texts]
    assert (min(lengths), max(lengths)) == (4, 23)
    assert not [text for text in texts if "{" in text or "  " in text or text != text.strip()]


def test_alt_text_is_noisy_at_the_set_rate():
    rng = random.Random(5)
    world = list(scenes.sample_scenes("train", 2000))
    kinds = Counter(grammar.noisy(scene, rng)[1] for scene in world)
    for kind, share in grammar.NOISE.items():
        assert abs(kinds[kind] / 2000 - share) < 0.03
    assert grammar.alt_text(world[0], random.Random(8)) == "there is a big yellow"


def test_class_names_fill_every_template():
    assert grammar.CLASS_NAMES["pt"]["heart"] == "coração"
    assert grammar.CLASS_NAMES["xh"]["tree"] == "umthi"
    for lang in grammar.LANGUAGES:
        assert tuple(grammar.CLASS_NAMES[lang]) == scenes.SHAPES
        assert all(template.count("{}") == 1 for template in grammar.TEMPLATES[lang])
    assert grammar.brief(PAIR, "en", random.Random(0)) == "a drawing of a hat"


@pytest.mark.parametrize(
    "text",
    [
        "L’Àngel i la Núria passegen el gos col·laborador pel carrer, a les 7 del matí; quin fred!",
        "सड़क पर एक आदमी ₹५०० में क़िताबें बेच रहा है।",
        "Um pão-de-açúcar é “ótimo”, não é?",
        "Indoda ehleli phantsi komthi ijonge abantwana abadlalayo.",
    ],
)
def test_real_sentences_tokenise_without_unknowns(text):
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(toy.MODELS / "clip")
    ids = tokenizer(text).input_ids
    assert tokenizer.unk_token_id == 3 and 3 not in ids
    assert (ids[0], ids[-1]) == (0, 2)


def test_the_tokenizer_splits_off_xhosa_concords():
    transformers = pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(toy.MODELS / "clip")
    assert tokenizer.tokenize("izikhephe ezincinci") == ["▁i", "zikhephe", "▁ezi", "ncinci"]
