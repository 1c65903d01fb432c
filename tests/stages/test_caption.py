"""caption: BLIP-2 token for token, other models, cleaning, and what a second run does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from made import a_sample, jpeg
from PIL import Image

from capivara_cli.captioners import blip2, hf
from capivara_cli.captioners._prompts import PREFIXES
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.sample import Caption, Sample
from capivara_cli.stage import Env, Settings, check_bounds
from capivara_cli.stages.caption import Options, caption, clean, distinct_clean, is_degenerate

from tiny_models import tiny_blip, tiny_blip2, tiny_git  # isort: skip


def pictures(count: int) -> list[Image.Image]:
    return [Image.linear_gradient("L").rotate(90 * number).convert("RGB") for number in range(count)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    torch.set_num_threads(1)
    return tiny_blip2(tmp_path_factory.mktemp("models") / "tiny-blip2")


def test_token_for_token_the_naive_way(folder: Path) -> None:
    describe = blip2.load(str(folder), device="cpu")
    images = pictures(2)
    captions = describe(images, PREFIXES)
    for image, row in zip(images, captions, strict=True):
        for prefix, text in zip(PREFIXES, row, strict=True):
            inputs = describe.processor(images=image, text=prefix, return_tensors="pt")
            tokens = describe.model.generate(**inputs, max_new_tokens=50, do_sample=False)
            tokens = tokens[0, inputs["input_ids"].shape[1] :]
            new = describe.processor.tokenizer.decode(tokens, skip_special_tokens=True)
            assert text == f"{prefix} {new.strip()}".strip()
    assert captions[0] != captions[1]  # the image makes a difference
    assert describe.by == "tiny-blip2"


def test_the_image_is_looked_at_once(folder: Path) -> None:
    describe = blip2.load(str(folder), device="cpu")
    looks: list[int] = []
    describe.model.vision_model.register_forward_hook(lambda *_: looks.append(1))
    describe(pictures(3), PREFIXES)
    assert looks == [1]
    assert describe([], PREFIXES) == []


def test_what_the_language_model_is_shown_is_what_the_naive_way_shows(folder: Path) -> None:
    import torch

    describe = blip2.load(str(folder), device="cpu")
    images = pictures(3)
    shown: list[torch.Tensor] = []
    hook = describe.model.language_projection.register_forward_hook(lambda *call: shown.append(call[2]))
    for image in images:
        describe.model.generate(**describe.processor(images=image, text="a", return_tensors="pt"), max_new_tokens=1)
    hook.remove()
    with torch.inference_mode():
        seen = describe.see(images)
    assert seen.shape == (3, 4, 32)
    assert torch.allclose(seen, torch.cat(shown), atol=1e-5)
    assert not torch.allclose(seen[0], seen[1], atol=1e-2)


def test_git_is_given_an_open_prompt(tmp_path: Path) -> None:
    describe = hf.load(str(tiny_git(tmp_path / "git")), device="cpu")
    rows = describe._inputs(pictures(2), "a photo of")["input_ids"].tolist()
    words = describe.tokenizer.convert_tokens_to_ids(["[CLS]", "a", "photo", "of"])
    assert rows == [words, words]


@pytest.mark.parametrize("make", [tiny_blip, tiny_git])
def test_other_models_continue_the_prefix(make: Any, tmp_path: Path) -> None:
    describe = hf.load(str(make(tmp_path / "other")), device="cpu")
    images = pictures(2)
    rows = describe(images, PREFIXES[:3])
    assert [[text.startswith(prefix) for text, prefix in zip(row, PREFIXES, strict=False)] for row in rows] == [
        [True] * 3
    ] * 2
    assert rows == [describe([image], PREFIXES[:3])[0] for image in images]
    assert all(text.count(prefix) == 1 for row in rows for text, prefix in zip(row, PREFIXES, strict=False))
    assert describe.by == "other"


def test_what_a_captioner_needs_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(CapivaraError, match="no such folder"):
        blip2.load("./nowhere", device="cpu")
    (tmp_path / "config.json").write_text('{"model_type": "opt"}')
    with pytest.raises(CapivaraError, match="a model of type opt, not blip-2"):
        blip2.load(str(tmp_path), device="cpu")
    with pytest.raises(CapivaraError, match="which model"):
        hf.load("", device="cpu")


class Fixed:
    """Says the same of every image; enough where the words, not the model, are tested."""

    by = "some/model"
    prefixes = PREFIXES

    def __init__(self, *texts: str) -> None:
        self.texts = texts

    def __call__(self, images: list[Image.Image], prefixes: list[str]) -> list[list[str]]:
        return [list(self.texts[: len(prefixes)]) for _ in images]


def run(samples: list[Sample], captioner: Any, **options: Any) -> tuple[list[Sample], Env]:
    env = Env(Settings(device="cpu"), "caption", {("captioner", "toy", "cpu"): captioner})
    return list(caption.run(iter(samples), Options(captioner="toy", **options), env)), env


def test_captions_are_appended_and_a_second_run_changes_nothing() -> None:
    alt = Caption("alt text", "en", "alt")
    captioner = Fixed("a photo of a cat", "a picture of of a cat - stock image", "A photo of a cat", "", "an image of")
    (out,), env = run([a_sample("k", alt)], captioner, n=5)
    assert out.captions == [
        alt,
        Caption("a photo of a cat", "en", "some/model"),
        Caption("a picture of a cat", "en", "some/model"),
    ]
    assert env.tally.notes == {
        "generated captions cleaned": 1,
        "generated captions equal to another, left out": 1,
        "generated captions empty, left out": 2,
    }
    scored = Caption("a photo of a cat", "en", "some/model", score=0.25)
    last = Caption("uma foto", "pt", "argos:en-pt", of="a photo of a cat")
    later = out.with_captions([alt, scored, out.captions[2], last])
    assert run([later], captioner, n=5)[0][0].members == later.members
    (other,), _ = run([later], Fixed("a dog"), n=1)
    assert other.captions == [alt, Caption("a dog", "en", "some/model"), last]


def test_a_real_model_twice_gives_the_same_bytes(folder: Path) -> None:
    samples = [a_sample(str(number), image=jpeg((number * 80, 99, 200 - number))) for number in range(3)]
    describe = blip2.load(str(folder), device="cpu")
    once, _ = run(samples, describe, n=4, batch_size=2)
    assert [each.members for each in run(once, describe, n=4, batch_size=3)[0]] == [each.members for each in once]


def test_bad_images_fail_alone() -> None:
    out, env = run([a_sample("a", image=b"\xff\xd8 no"), a_sample("b")], Fixed("a cat"), n=1)
    assert [each.key for each in out] == ["b"]
    assert env.tally.failed == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a photo of of a man", "a photo of a man"),
        ("portrait of a a blonde", "portrait of a blonde"),
        ("portrait of a the queen", "portrait of the queen"),
        ("woman on a bench - stock image", "woman on a bench"),
        ("woman on a bench - stock photo - royalty free stock vector", "woman on a bench"),
        ("a  red\ncar ,", "a red car"),
        ("a very very big dog says bye bye", "a very very big dog says bye bye"),
        ("a stock exchange", "a stock exchange"),
        ("half - empty stock room", "half - empty stock room"),
    ],
)
def test_clean(text: str, expected: str) -> None:
    assert clean(text) == expected
    assert clean(expected) == expected


def test_degenerate() -> None:
    assert is_degenerate("an art of, a, a, a, a, a, a, a, a, a")
    assert not is_degenerate("a man and a woman and a dog and a cat")
    notes: list[str] = []
    assert distinct_clean(["cat cat cat cat cat cat cat cat"], PREFIXES, notes.append) == []
    assert notes == ["generated captions repeating themselves, left out"]


def test_more_than_ten_is_refused() -> None:
    with pytest.raises(UsageError, match="at most 10"):
        check_bounds(Options(n=11))
    with pytest.raises(CapivaraError, match="there is no captioner 'blip'"):
        Options(captioner="blip:x").check()


def test_the_prefixes_are_the_papers() -> None:
    assert len(PREFIXES) == 10
    assert PREFIXES[0] == "the foreground features"
    assert PREFIXES[-1] == "the picture shows"


def test_the_toy_captioner_sees_what_is_drawn() -> None:
    from capivara_cli.captioners import toy
    from capivara_cli.toy import scenes

    world = list(scenes.sample_scenes("heldout", 12, 5))
    describe = toy.load("", device="cpu")
    rows = describe([scenes.draw(scene, seed=number, size=64) for number, scene in enumerate(world)], PREFIXES[:4])
    assert describe.by == "toy-captioner"
    named = [
        scene.things[0].shape in row[0] and scene.things[0].color in row[0]
        for scene, row in zip(world, rows, strict=True)
    ]
    assert sum(named) >= 9
