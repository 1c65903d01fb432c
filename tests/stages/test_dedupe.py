"""dedupe: Algorithm 1 repaired and to the letter, and the laws it must obey."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import variants
from support.made import a_sample

from capivara_cli.languages import similarity
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings
from capivara_cli.shards.sample import Caption, Sample
from capivara_cli.stages.dedupe import Options, dedupe
from capivara_cli.stages.deduplication.captions import algorithm_1

WORDS = ("cat", "dog", "red", "blue", "runs", "sleeps", "on", "a", "the", "grass", "sofa", "two", "big", "with", "ball")


def run(captions: Sequence[Caption], **options: object) -> tuple[list[Caption] | None, Env]:
    env = Env(Settings(), "dedupe")
    out = list(dedupe.run(iter([a_sample("k", *captions)]), Options(**options), env))  # type: ignore[arg-type]
    return (out[0].captions if out else None), env


def texts(captions: Sequence[Caption] | None) -> list[str]:
    return [each.text for each in captions or []]


def english(*lines: str) -> list[Caption]:
    return [Caption(line, "en", "alt") for line in lines]


def test_trigrams_and_words() -> None:
    assert similarity.ngrams("A cat") == [" a ", " ca", "cat", "at "]
    assert similarity.ngrams("猫睡") == [" 猫", "猫睡", "睡 "]
    assert similarity.ngrams("avia\u0303o  fute\u00adbol") == similarity.ngrams("avião futebol")
    assert similarity.words("A cat, 2 dogs!") == ["cat", "dogs"]
    assert similarity.words("एक लाल झंडा लिए हुए लोगों की भीड़") == ["एक"]  # what the paper's tokens do to Hindi


def test_cosine_values() -> None:
    vectors = similarity.tfidf([["a", "b"], ["a", "c"], []])
    weight_a, weight_b = np.log(4 / 3) + 1, np.log(4 / 2) + 1
    expected = weight_a**2 / (weight_a**2 + weight_b**2)
    cosine = similarity.cosines(vectors)
    assert cosine[0][1] == pytest.approx(expected, abs=1e-15)
    assert (cosine[0][2], cosine[2][2]) == (0.0, 0.0)
    assert cosine[0][0] == pytest.approx(1.0, abs=1e-15)


def test_near_duplicates_go_and_the_unlike_stay() -> None:
    kept, env = run(
        english(
            "a photo of a red cat on the sofa",
            "a picture of a red cat on the sofa",
            "an image of a red cat on the sofa",
            "two children play football",
            "rain over the mountains",
        )
    )
    assert texts(kept) == [
        "a picture of a red cat on the sofa",  # the word they do not share weighs most in it
        "two children play football",
        "rain over the mountains",
    ]
    assert env.tally.notes == {"near-duplicate captions": 2}


def test_the_paper_loses_an_image_of_unlike_captions_and_the_repair_does_not() -> None:
    unlike = ["gato preto dorme", "casa azul linda", "rio grande sul"]
    assert algorithm_1(unlike, 3, 0.3) == []
    kept, env = run(english(*unlike), paper=True)
    assert kept is None
    assert env.tally.dropped == {"no caption left (--paper)": 1}
    assert texts(run(english(*unlike))[0]) == unlike


def test_paper_fails_on_captions_without_words() -> None:
    kept, env = run(english("a b", "c d", "e f"), paper=True)
    assert kept is None
    assert env.tally.dropped == {"no word of two letters (--paper)": 1}
    assert env.tally.failed == 1


def published(captions: list[str], k_min: int, thr: float) -> list[int]:
    """``remove_similar`` of the original code, on scikit-learn."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.metrics.pairwise import cosine_similarity

    if len(captions) < k_min:
        return list(range(len(captions)))
    matrix = cosine_similarity(TfidfVectorizer().fit_transform(captions))
    nodes = len(matrix)
    matrix = matrix - np.eye(nodes)
    while not (matrix <= thr).all() and nodes > k_min:
        most = np.argmax(matrix.sum(axis=0))
        matrix[most, :] = 0
        matrix[:, most] = 0
        nodes -= 1
    return np.flatnonzero(matrix.sum(axis=0) != 0).tolist()


def test_paper_mode_is_the_original_to_the_last_bit() -> None:
    pytest.importorskip("sklearn")
    rng = random.Random(0)
    emptied = 0
    for _ in range(120):
        lines = [" ".join(rng.sample(WORDS, rng.randint(2, 6))) for _ in range(rng.randint(1, 9))]
        expected = published(lines, 3, 0.3)
        assert algorithm_1(lines, 3, 0.3) == expected
        emptied += not expected
    assert emptied > 0  # the float noise on the diagonal decides some of them


def test_exact_duplicates_first_and_the_human_stays() -> None:
    captions = [
        Caption("A red  cat", "en", "toy-captioner", score=0.9),
        Caption("a red cat", "en", "alt", score=0.1),
        Caption("a dog", "en", "alt"),
        Caption("A DOG", "en", "alt", score=0.2),
    ]
    kept, env = run(captions)
    assert kept == [captions[1], captions[3]]
    assert env.tally.notes == {"exact duplicate captions": 2}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("um avião", "um avia\u0303o"),
        ("\u0958\u0932\u092e", "\u0915\u093c\u0932\u092e"),
        ("a foot\u00adball", "a football"),
        ("a zero\u200bwidth", "a zerowidth"),
    ],
)
def test_captions_that_look_the_same_are_exact_duplicates(one: str, other: str) -> None:
    kept, env = run(english(one, other, "a red cat on a sofa"))
    assert texts(kept) == [one, "a red cat on a sofa"]
    assert env.tally.notes == {"exact duplicate captions": 1}


@pytest.mark.parametrize(("one", "other"), [("نامه‌ای", "نامهای"), ("क्‍ष", "क्ष"), ("👩‍🍳 cooks", "👩🍳 cooks")])
def test_joiners_that_change_the_meaning_make_other_captions(one: str, other: str) -> None:
    kept, _ = run(english(one, other))
    assert texts(kept) == [one, other]


def test_a_translation_is_as_human_as_its_source() -> None:
    captions = [
        Caption("a cat generated", "en", "toy-captioner"),
        Caption("a cat", "en", "alt"),
        Caption("um gato", "pt", "argos:en-pt", of="a cat generated"),
        Caption("um gato", "pt", "argos:en-pt", of="a cat"),
    ]
    kept, _ = run(captions, lang="pt")
    assert kept == [captions[0], captions[1], captions[3]]


def test_ties_are_broken_by_score_then_by_origin_then_by_place() -> None:
    lines = ["red cat one", "red cat two"]  # one pair, equal sums
    tie = [Caption("zzz yyy", "en", "alt"), Caption("qqq www", "en", "alt")]

    def kept(*pair: Caption) -> list[str]:
        return texts(run([*pair, *tie], k_min=1, threshold=0.3)[0])[:1]

    low, high = Caption(lines[0], "en", "alt", score=0.1), Caption(lines[1], "en", "model/x", score=0.2)
    assert kept(low, high) == [lines[1]]
    assert kept(Caption(lines[0], "en", "model/x"), Caption(lines[1], "en", "alt")) == [lines[1]]
    assert kept(Caption(lines[0], "en", "alt"), Caption(lines[1], "en", "alt")) == [lines[0]]


def test_weights_are_fitted_again_on_what_is_left() -> None:
    """The first pass leaves "sleeps runs", which is unlike "runs dog" only beside the caption that goes."""
    kept, _ = run(english("runs dog", "sleeps runs", "red", "runs the"), k_min=1)
    assert texts(kept) == ["runs dog", "red"]


def test_languages_are_thinned_apart_and_on_request() -> None:
    same = ["a red cat here", "a red cat there", "a red cat where"]
    captions = [Caption(line, lang, "alt") for lang in ("en", "pt") for line in same]
    assert len(run(captions, k_min=1)[0] or []) == 2
    assert [each.lang for each in run(captions, k_min=1, lang="por")[0] or []] == ["en", "en", "en", "pt"]


def test_malformed_captions_fail_alone() -> None:
    env = Env(Settings(), "dedupe")
    good = a_sample("good", *english("a cat"))
    assert list(dedupe.run(iter([Sample("bad", {"json": b"[1]"}), good]), Options(), env)) == [good]
    assert env.tally.dropped == {"json is not an object": 1}


line = st.lists(st.sampled_from(WORDS), min_size=0, max_size=6).map(" ".join)
caption = st.builds(
    Caption,
    text=line,
    lang=st.sampled_from(("en", "hi")),
    by=st.sampled_from(("alt", "model/x")),
    score=st.one_of(st.none(), st.integers(-9, 9).map(lambda number: number / 10)),
)


@settings(max_examples=variants.number(50, 150), deadline=None)
@given(st.lists(caption, max_size=9), st.integers(1, 4), st.sampled_from((0.0, 0.2, 0.3, 0.7, 1.0)))
def test_laws(captions: list[Caption], k_min: int, threshold: float) -> None:
    options = {"k_min": k_min, "threshold": threshold}
    kept, _ = run(captions, **options)
    kept = kept or []
    rest = iter(captions)
    assert all(any(each is other or each == other for other in rest) for each in kept)  # a subset, in order
    sample = a_sample("k", *kept)
    assert list(dedupe.run(iter([sample]), Options(**options), Env(Settings(), "dedupe"))) == [sample]  # type: ignore[arg-type]
    for lang in ("en", "hi"):
        before = {" ".join(each.text.split()) for each in captions if each.lang == lang}
        after = [each.text for each in kept if each.lang == lang]
        assert len(after) >= min(k_min, len(before))
        cosine = np.array(similarity.cosines(similarity.tfidf([similarity.ngrams(text) for text in after])))
        if len(after) > k_min:
            assert (cosine - np.diag(np.diag(cosine)) <= threshold).all()


@settings(max_examples=variants.number(20, 60), deadline=None)
@given(st.lists(line, min_size=1, max_size=8, unique=True), st.randoms(use_true_random=False))
def test_the_order_of_captions_does_not_matter_where_scores_differ(lines: list[str], rng: random.Random) -> None:
    captions = [Caption(text, "en", "alt", score=number / 100) for number, text in enumerate(lines)]
    shuffled = rng.sample(captions, len(captions))
    assert set(texts(run(captions)[0])) == set(texts(run(shuffled)[0]))
