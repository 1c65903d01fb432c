"""caption: BLIP-2 token for token, the journal of draws, cleaning, and what a second run does."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image
from support import variants
from support.made import a_sample, jpeg

from capivara_cli import languages
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.languages.caption_cleaning import Cleaner, is_repetitive
from capivara_cli.languages.prompts import PREFIXES
from capivara_cli.models.generation import Decoding, Draw, Setup
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings, check_options
from capivara_cli.shards.sample import Caption, Sample
from capivara_cli.stages.caption import Options, caption
from capivara_cli.stages.captioners import blip2
from capivara_cli.stages.captioners._blip2 import Blip2Captioner, rows_that_fit

from support.tiny_models import as_first_published, tiny_blip2  # isort: skip

pytestmark = pytest.mark.filterwarnings("error::FutureWarning")  # of a call that the next version refuses

ENGLISH = languages.get("en")
ENDS = [1, 9, 14]


def pictures(count: int) -> list[Image.Image]:
    return [Image.linear_gradient("L").rotate(90 * number).convert("RGB") for number in range(count)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    torch.set_num_threads(1)
    return tiny_blip2(tmp_path_factory.mktemp("models") / "tiny-blip2")


def loaded(folder: Path, **decoding: Any) -> Blip2Captioner:
    captioner = blip2.load(str(folder), setup=Setup("cpu", Decoding(**decoding)))
    captioner.model.language_model.generation_config.eos_token_id = ENDS  # else a random model seldom ends
    return captioner


def captions_of(captioner: Blip2Captioner, images: list[Image.Image], draws: list[Draw]) -> list[list[str]]:
    return captioner([captioner.prepare(image) for image in images])([draws] * len(images))


def naive(captioner: Blip2Captioner, image: Image.Image, prefix: str, **options: Any) -> str:
    """The original's way: the processor and the whole model for one image and one prefix."""
    inputs = captioner.processor(images=image, text=prefix, return_tensors="pt")
    tokens = captioner.model.generate(**inputs, **{"max_new_tokens": 50, "do_sample": False, **options})
    new = [token for token in tokens[0, inputs["input_ids"].shape[1] :].tolist() if token not in ENDS]
    said = captioner.processor.tokenizer.decode(new, skip_special_tokens=True)
    return f"{prefix} {said.strip()}".strip()


GREEDY = [Draw(prefix) for prefix in PREFIXES]


@pytest.mark.parametrize(
    ("decoding", "options"),
    variants.some(
        [
            ({}, {}),
            ({"max_tokens": 7}, {"max_new_tokens": 7}),
            ({"beams": 3}, {"num_beams": 3}),
            ({"repetition_penalty": 1.7}, {"repetition_penalty": 1.7}),
            ({"no_repeat_ngram": 2}, {"no_repeat_ngram_size": 2}),
            ({"beams": 2, "no_repeat_ngram": 2}, {"num_beams": 2, "no_repeat_ngram_size": 2}),
        ],
        2,
    ),
)
def test_token_for_token_the_naive_way(folder: Path, decoding: dict[str, Any], options: dict[str, Any]) -> None:
    captioner = loaded(folder, **decoding)
    images = pictures(2)
    captions = captions_of(captioner, images, GREEDY)
    for image, row in zip(images, captions, strict=True):
        assert row == [naive(captioner, image, prefix, **options) for prefix in PREFIXES]
    assert captioner.by == "tiny-blip2"


@pytest.mark.parametrize(
    ("text_model", "decoding"),
    variants.some(
        [
            ("opt", {"beams": 3, "repetition_penalty": 1.7}),
            ("opt", {}),
            ("opt", {"beams": 3}),
            ("opt", {"temperature": 0.9}),
            ("opt", {"no_repeat_ngram": 2}),
            ("t5", {}),
            ("t5", {"beams": 3}),
            ("t5", {"beams": 3, "repetition_penalty": 1.7}),
            ("t5", {"no_repeat_ngram": 2}),
            ("t5", {"temperature": 0.9}),
        ],
        2,
    ),
)
def test_a_folder_without_image_token_index_writes_the_same(
    text_model: str, decoding: dict[str, Any], tmp_path: Path
) -> None:
    new = tiny_blip2(tmp_path / "new", text_model=text_model)
    old = as_first_published(new, tmp_path / "old")
    assert "image_token_index" not in (old / "config.json").read_text()
    draws = [*GREEDY, *(Draw(prefix, 7) for prefix in PREFIXES)]
    expected, found = (captions_of(loaded(folder, **decoding), pictures(2), draws) for folder in (new, old))
    assert found == expected
    assert len({text for row in found for text in row}) > 10


def test_an_image_token_that_the_model_does_not_know_is_replaced(folder: Path, tmp_path: Path) -> None:
    """A tokenizer without "<image>" gets it as one more word, for which the language model has no score."""
    captioner = loaded(as_first_published(folder, tmp_path / "old"), beams=2, repetition_penalty=1.7, max_tokens=4)
    assert captioner._image_token == 2
    captioner.processor.image_token = "<new>"
    captioner.tokenizer.add_tokens(["<new>"], special_tokens=True)
    assert captioner._image_token == captioner.tokenizer.pad_token_id == 0
    assert all(captions_of(captioner, pictures(1), GREEDY[:2])[0])


def test_rows_leave_at_different_lengths(folder: Path) -> None:
    """Otherwise the test above would not notice a mistake in taking rows out of the batch."""
    captioner = loaded(folder, repetition_penalty=1.7)
    rows = captions_of(captioner, pictures(3), GREEDY)
    lengths = [len(text.split()) for row in rows for text in row]
    assert len(set(lengths)) > 4
    assert max(lengths) > 30
    assert rows[0] != rows[1]  # the image makes a difference


def test_the_image_is_looked_at_once(folder: Path) -> None:
    captioner = loaded(folder)
    looks: list[int] = []
    reads: list[tuple[int, ...]] = []
    captioner.model.vision_model.register_forward_hook(lambda *_: looks.append(1))
    captioner.model.language_model.register_forward_pre_hook(
        lambda _, __, given: reads.append(tuple(given["inputs_embeds"].shape)) if "inputs_embeds" in given else None,
        with_kwargs=True,
    )
    texts_of = captioner([captioner.prepare(image) for image in pictures(3)])
    texts_of([GREEDY] * 3)
    assert looks == [1]
    assert reads == [(3, 32, 32)]  # the language model reads an image once, not once per prefix
    texts_of([[Draw("a photo of", 1)], [], []])
    assert looks == [1]
    assert captioner([])([]) == []


def test_what_the_language_model_is_shown_is_what_the_naive_way_shows(folder: Path) -> None:
    import torch

    captioner = loaded(folder)
    images = pictures(3)
    shown: list[torch.Tensor] = []
    hook = captioner.model.language_projection.register_forward_hook(lambda *call: shown.append(call[2]))
    for image in images:
        captioner.model.generate(**captioner.processor(images=image, text="a", return_tensors="pt"), max_new_tokens=1)
    hook.remove()
    seen = torch.stack(captioner.encode([captioner.prepare(image) for image in images]))
    assert seen.shape == (3, 32, 32)
    assert torch.allclose(seen, torch.cat(shown), atol=1e-5)
    assert not torch.allclose(seen[0], seen[1], atol=1e-2)


def test_a_sampled_caption_is_the_same_in_any_batch(folder: Path) -> None:
    captioner = loaded(folder)
    images = pictures(3)
    draws = [Draw("a photo of", seed) for seed in range(6)]
    rows = captions_of(captioner, images, draws)
    assert len({text for row in rows for text in row}) > 9
    assert [captions_of(captioner, [image], [draw])[0][0] for image in images for draw in draws] == [
        text for row in rows for text in row
    ]
    mixed = captions_of(captioner, images[:1], [draws[3], Draw("an image of"), draws[0]])
    assert mixed == [[rows[0][3], naive(captioner, images[0], "an image of"), rows[0][0]]]


def test_out_of_memory_halves_and_goes_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    captioner = loaded(folder)
    images = pictures(4)
    expected = captions_of(captioner, images, GREEDY)
    see = captioner.encode

    def small(pixels: list[torch.Tensor]) -> list[torch.Tensor]:
        if len(pixels) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return see(pixels)

    monkeypatch.setattr(captioner, "encode", small)
    original = captioner.model.language_model.forward

    def narrow(*args: Any, **given: Any) -> Any:
        if given.get("input_ids") is not None and len(given["input_ids"]) > 9:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes")
        return original(*args, **given)

    monkeypatch.setattr(captioner.model.language_model, "forward", narrow)
    assert captions_of(captioner, images, GREEDY) == expected
    assert captioner._fit_images.size == 1
    assert captioner._fit_rows.size == 5

    def broken(*_: Any, **__: Any) -> Any:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(captioner.model.language_model, "forward", broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        captions_of(captioner, images, GREEDY)


def test_as_many_rows_as_the_memory_has_room_for() -> None:
    opt = SimpleNamespace(num_hidden_layers=32, hidden_size=2560)
    assert rows_that_fit(opt, 90, 2, 16_000_000_000) == 361
    assert rows_that_fit(opt, 190, 2, 16_000_000_000) == 171
    assert rows_that_fit(opt, 90, 2, 1000) == 1


def test_what_a_captioner_needs_is_said(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(CapivaraError, match="no such folder"):
        loaded(Path("./nowhere"))
    (tmp_path / "config.json").write_text('{"model_type": "opt"}')
    with pytest.raises(CapivaraError, match="a model of type opt, not blip-2"):
        loaded(tmp_path)
    with pytest.raises(CapivaraError, match="--lang pt: tiny-blip2 writes English only") as caught:
        loaded(folder).prompts(languages.get("pt"))
    assert "--prefixes FILE" in caught.value.hint


class Fixed:
    """Says the same of every image; enough where the words, not the model, are tested."""

    by = "some/model"
    batch_size = 2

    def __init__(self, *texts: str) -> None:
        self.texts = texts
        self.draws: list[list[list[Draw]]] = []

    def prompts(self, language: languages.Language) -> tuple[str, ...]:
        return PREFIXES

    def prepare(self, image: Image.Image) -> Image.Image:
        return image

    def __call__(self, images: Sequence[Image.Image]) -> Any:
        spoken = [iter(self.texts) for _ in images]

        def texts_of(draws: list[list[Draw]]) -> list[list[str]]:
            self.draws.append(draws)
            return [[next(each, "") for _ in wanted] for each, wanted in zip(spoken, draws, strict=True)]

        return texts_of


def run(samples: list[Sample], captioner: Any, **given: Any) -> tuple[list[Sample], Env]:
    options = Options(captioner="toy", **given)
    env = Env(Settings(device="cpu"), "caption", {("captioner", "toy", options.setup("cpu")): captioner})
    return list(caption.run(iter(samples), options, env)), env


def a_caption(text: str, prefix: str, score: float | None = None) -> Caption:
    return Caption(text, "en", "some/model", score=score, prefix=prefix)


def test_captions_are_appended_and_a_second_run_changes_nothing() -> None:
    alt = Caption("alt text", "en", "alt")
    captioner = Fixed("the foreground features a cat", "a photo of of a cat - stock image", "A photo of a cat", "")
    (out,), env = run([a_sample("k", alt)], captioner, n=5)
    assert out.captions == [
        alt,
        a_caption("the foreground features a cat", "the foreground features"),
        a_caption("a photo of a cat", "a photo of"),
    ]
    assert captioner.draws == [[[Draw(prefix) for prefix in PREFIXES[:5]]]]
    assert env.tally.notes == {
        "captions cleaned: stock-photo tail": 1,
        "captions cleaned: doubled word": 1,
        "captions dropped: duplicate": 1,
        "captions dropped: empty": 2,
    }
    assert b'"prefix": "a photo of"' in out.members["json"]
    scored = a_caption("the foreground features a cat", "the foreground features", 0.25)
    last = Caption("uma foto", "pt", "argos:en-pt", of="a photo of a cat")
    later = out.with_captions([alt, scored, out.captions[2], last])
    assert run([later], Fixed(*captioner.texts), n=5)[0][0].members == later.members
    (other,), _ = run([later], Fixed("a dog"), n=2)
    assert other.captions == [alt, a_caption("a dog", "the foreground features"), last]


def test_captions_from_other_prefixes_stay(tmp_path: Path) -> None:
    (tmp_path / "own").write_text("# mine\nin this picture\n\nwe see \n")
    before = a_caption("a photo of a cat", "a photo of")
    captioner = Fixed("in this picture a dog", "we see a dog")
    (out,), _ = run([a_sample("k", before)], captioner, n=2, prefixes=str(tmp_path / "own"))
    assert out.captions == [
        before, a_caption("in this picture a dog", "in this picture"), a_caption("we see a dog", "we see")
    ]  # fmt: skip


def test_more_than_there_are_prefixes_are_sampled() -> None:
    captioner = Fixed(*(f"caption {number}" for number in range(25)))
    (out,), _ = run([a_sample("k")], captioner, n=23)
    assert len(out.captions) == 23
    (((*draws,),),) = captioner.draws
    assert [draw.prompt for draw in draws] == [*PREFIXES, *PREFIXES, *PREFIXES[:3]]
    assert [draw.seed is None for draw in draws] == [True] * 10 + [False] * 13
    assert len({draw.seed for draw in draws}) == 14
    again = Fixed(*captioner.texts)
    run([a_sample("other"), a_sample("k")], again, n=23)
    assert again.draws[0][1] == draws  # the seed is the sample's, whatever is captioned beside it
    hot = Fixed("a cat")
    run([a_sample("k")], hot, n=2, temperature=0.7)
    assert all(draw.seed is not None for draw in hot.draws[0][0])


def test_distinct_goes_on_until_there_are_enough() -> None:
    captioner = Fixed("a cat", "A cat", "a cat - stock photo", "a dog", "", "a bird", "never asked for")
    (out,), env = run([a_sample("k")], captioner, n=3, distinct=True)
    assert [each.text for each in out.captions] == ["a cat", "a dog", "a bird"]
    assert [len(draws[0]) for draws in captioner.draws] == [3, 2, 1]
    assert "images with fewer different captions than --n" not in env.tally.notes
    (out,), env = run([a_sample("k")], Fixed(*["a cat"] * 99), n=3, distinct=True)
    assert [each.text for each in out.captions] == ["a cat"]
    assert env.tally.notes["images with fewer different captions than --n"] == 1


def test_without_cleaning_the_words_stay() -> None:
    (out,), env = run([a_sample("k")], Fixed("a photo of of a cat - stock image", "a photo of"), n=2, clean=False)
    assert [each.text for each in out.captions] == ["a photo of of a cat - stock image"]
    assert env.tally.notes == {"captions dropped: empty": 1}


def test_a_real_model_twice_gives_the_same_bytes(folder: Path) -> None:
    samples = [a_sample(str(number), image=jpeg((number * 80, 99, 200 - number))) for number in range(3)]
    captioner = loaded(folder)
    once, _ = run(samples, captioner, n=12, batch_size=2)
    assert [each.members for each in run(once, captioner, n=12, batch_size=3)[0]] == [each.members for each in once]


def test_bad_images_fail_alone() -> None:
    out, env = run([a_sample("a", image=b"\xff\xd8 no"), a_sample("b")], Fixed("a cat"), n=1)
    assert [each.key for each in out] == ["b"]
    assert env.tally.failed == 1


@pytest.mark.parametrize(
    ("text", "expected", "rules"),
    [
        ("a photo of of a man", "a photo of a man", ["doubled word"]),
        ("portrait of a a blonde", "portrait of a blonde", ["doubled word"]),
        ("portrait of a the queen", "portrait of the queen", ["two articles"]),
        ("portrait of a of a man", "portrait of a man", ["doubled word"]),
        ("a cat in the in the garden", "a cat in the garden", ["doubled word"]),
        ("a dog on a on a on a sofa", "a dog on a sofa", ["doubled word"]),
        ("a car in front of a in front of a house", "a car in front of a house", ["doubled word"]),
        ("a woman looks out of the A bus", "a woman looks out of the A bus", []),
        ("portrait of a of the queen", "portrait of the queen", ["two articles"]),
        ("a sign for the for sale house on the on ramp", "a sign for the for sale house on the on ramp", []),
        ("a drive-in in the desert", "a drive-in in the desert", []),
        ("a walk-in in a house and the on-on ramp", "a walk-in in a house and the on-on ramp", []),
        ("a A-frame house", "a A-frame house", []),
        ("cars that stand by by-roads", "cars that stand by by-roads", []),
        ("grade A a day early", "grade A a day early", []),
        ("a vitamin A the size of a pea", "a vitamin A the size of a pea", []),
        ("A the dog", "the dog", ["two articles"]),
        ("A a dog", "A dog", ["doubled word"]),
        ("the a cappella group", "the a cappella group", []),
        ("the a la carte menu", "the a la carte menu", []),
        ("a man on the left and on the right", "a man on the left and on the right", []),
        ("woman on a bench - stock image", "woman on a bench", ["stock-photo tail"]),
        ("woman - stock photo - royalty free stock vector", "woman", ["stock-photo tail"]),
        ("woman- stock images", "woman", ["stock-photo tail"]),
        ("woman | stock photo, 1234", "woman", ["stock-photo tail"]),
        ("woman – royalty-free stock photo by an author.", "woman", ["stock-photo tail"]),
        ("rolling-stock images in a railway museum", "rolling-stock images in a railway museum", []),
        ("rolling - stock images in a railway museum", "rolling - stock images in a railway museum", []),
        ("a barn with live-stock photos", "a barn with live-stock photos", []),
        ("a man - stock photos in hand - at a desk", "a man - stock photos in hand - at a desk", []),
        ("a  red\ncar ,", "a red car", ["dangling punctuation"]),
        ("a photo of a photo of a cat", "a photo of a cat", ["echo of the prompt"]),
        ("a very very big dog says bye bye", "a very very big dog says bye bye", []),
        ("a stock exchange", "a stock exchange", []),
        ("half - empty stock room", "half - empty stock room", []),
    ],
)
def test_clean(text: str, expected: str, rules: list[str]) -> None:
    notes: list[str] = []
    cleaner = Cleaner(ENGLISH)
    assert cleaner(text, "a photo of", notes.append) == expected
    assert notes == [f"captions cleaned: {rule}" for rule in rules]
    assert cleaner(expected, "a photo of") == expected


@pytest.mark.parametrize(
    ("unit", "expected"),
    [
        (" stock photo - ", "stock photo"), ("- stock photos ", ""), ("of a ", "of a"), ("a ", "a"), ("- ", ""),
        ("a b ", ""),
    ],
)  # fmt: skip
def test_cleaning_ends_on_hostile_captions(unit: str, expected: str) -> None:
    """A rule that is quadratic takes minutes."""
    assert Cleaner(ENGLISH)(unit * 4_000, "a photo of") == expected


def test_rules_about_english_are_for_english() -> None:
    assert Cleaner(languages.get("pt"))("levou a a praia - stock photo", "") == "levou a a praia"


def test_a_request_is_taken_off_its_answer() -> None:
    request = "Describe the image."
    assert Cleaner(ENGLISH)("describe the image. A cat", request) == "A cat"
    notes: list[str] = []
    assert Cleaner(ENGLISH)(request, request, notes.append) == ""
    assert notes == ["captions cleaned: echo of the prompt", "captions dropped: empty"]


def test_going_in_circles() -> None:
    assert is_repetitive("an art of, a, a, a, a, a, a, a, a, a")
    assert is_repetitive("一只狗狗狗狗狗狗")
    assert is_repetitive("a big big big big big dog")
    assert not is_repetitive("a man and a woman and a dog and a cat")
    assert not is_repetitive("wow!!!!!! a cat ----- 1000000")
    notes: list[str] = []
    assert Cleaner(ENGLISH)("cat cat cat cat cat cat cat cat", "", notes.append) == ""
    assert notes == ["captions dropped: repetitive"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "--n 0: must be at least 1"),
        ({"captioner": "blip:x"}, "there is no captioner 'blip'"),
        ({"bits": 3}, "--bits 3: 8 or 4"),
        ({"beams": 2, "temperature": 0.5}, "--beams and --temperature"),
        ({"prefixes": "nowhere.txt"}, "--prefixes nowhere.txt: cannot be read"),
        ({"lang": "portugese"}, "did you mean pt"),
    ],
)
def test_mistakes_are_found_before_anything_is_read(options: dict[str, Any], message: str) -> None:
    given = Options(**options)
    with pytest.raises((CapivaraError, UsageError), match=message):
        check_options(given)
        given.check()


def test_an_empty_file_of_prefixes(tmp_path: Path) -> None:
    (tmp_path / "none.txt").write_text("# nothing\n\n")
    with pytest.raises(CapivaraError, match="has no prefix"):
        Options(prefixes=str(tmp_path / "none.txt")).check()


def test_the_prefixes_are_the_papers() -> None:
    assert len(PREFIXES) == 10
    assert PREFIXES[0] == "the foreground features"
    assert PREFIXES[-1] == "the picture shows"


def test_the_toy_captioner_sees_what_is_drawn() -> None:
    from capivara_cli.stages.captioners import toy
    from capivara_cli.toy import scenes

    world = list(scenes.sample_scenes("heldout", 12, 5))
    captioner = toy.load("", setup=Setup("cpu"))
    rows = captions_of(
        captioner, [scenes.draw(scene, seed=number, size=64) for number, scene in enumerate(world)], GREEDY[:4]
    )
    assert captioner.by == "toy-captioner"
    named = [
        scene.things[0].shape in row[0] and scene.things[0].color in row[0]
        for scene, row in zip(world, rows, strict=True)
    ]
    assert sum(named) >= 9
