"""A toy model that meets images or texts from elsewhere says so, once, and what to use instead."""

from __future__ import annotations

import io
import random
import threading

import pytest
from PIL import Image
from support.made import a_sample, jpeg, toy_like

from capivara_cli import console
from capivara_cli.evaluation.sets import toy as toy_set
from capivara_cli.models import image_vectors
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings
from capivara_cli.shards.sample import Caption, Sample, encode_json
from capivara_cli.stages.importers import toy as toy_importer
from capivara_cli.toy import grammar, outsiders, scenes


@pytest.fixture(autouse=True)
def _nothing_said_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "_WARNED", set())
    monkeypatch.setattr(console.STREAMS, "quiet", False)


def png(side: tuple[int, int]) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", side, (1, 2, 3)).save(out, "PNG")
    return out.getvalue()


PHOTO = jpeg((200, 30, 40), (64, 64))


@pytest.mark.parametrize(
    "image", [PHOTO, png((640, 480)), png((64, 65)), b"", b"\x89PNG\r\n\x1a\n"],
    ids=["a small photo", "a screenshot", "of nearly the size", "nothing", "cut off"],
)  # fmt: skip
def test_an_image_from_elsewhere_is_warned_of_once(image: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(3):
        outsiders.warn_of_image(image, {}, "the captioner toy", "use another")
    said = capsys.readouterr().err
    assert said == (
        "warning: THIS IS A TOY: the captioner toy knows only the drawn scenes of the toy world, and these are other "
        "images; what it says about them means nothing\n  use another\n"
    )


def test_scenes_of_the_toy_world_are_known_wherever_they_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    env = Env(Settings(), "pack")
    found = [*toy_importer.read(toy_importer.Path("toy:3"), None, env)]  # type: ignore[arg-type]
    found += toy_set.load("3", lang="pt", data="", split="test", env=env).samples
    found += [Sample("copied", {"png": found[0].members["png"], "json": b"{}"})]
    found += [Sample("as a JPEG", {"jpg": PHOTO, "json": encode_json({"scene": "1 small red plain ball|sand"})})]
    for sample in found:
        outsiders.warn_of_image(sample.image, sample.document, "x", "y")
    assert len(found) == 8 and capsys.readouterr().err == ""


def test_all_threads_together_warn_once(capsys: pytest.CaptureFixture[str]) -> None:
    threads = [threading.Thread(target=outsiders.warn_of_image, args=(PHOTO, {}, "x", "y")) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert capsys.readouterr().err.count("warning") == 1


class Clip:
    """The part of a model that decides whether an image is decoded."""

    def __init__(self, model: str) -> None:
        self.identity = type("Identity", (), {"model": model})
        self.preprocess = type("Pixels", (), {"draft": 0, "__call__": lambda _, image: image.size})()


@pytest.mark.parametrize("source", [PHOTO, a_sample("a", image=PHOTO)], ids=["bytes", "sample"])
@pytest.mark.parametrize(("model", "warned"), [("toy", True), ("ViT-B-32", False)])
def test_every_image_that_the_toy_clip_embeds_is_looked_at(
    source: bytes | Sample, model: str, warned: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    image_vectors.pixels(Clip(model), source)  # type: ignore[arg-type]
    said = capsys.readouterr().err
    assert ("THIS IS A TOY: the CLIP model toy" in said, "--model xlm-roberta" in said) == (warned, warned)


@pytest.mark.parametrize(
    ("lang", "text"),
    [("en", "a dog on a beach"), ("en", "two people in a kitchen"), ("pt", "um cachorro na praia"), ("en", "IMG_2031")],
)
def test_texts_with_other_words_are_warned_of(lang: str, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    outsiders.warn_of_texts([text] * 9, lang, "the translator toy", "use another")
    assert capsys.readouterr().err.startswith("warning: THIS IS A TOY: the translator toy knows only the words")


def test_texts_of_the_toy_world_are_known(capsys: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(0)
    drawn = [*scenes.sample_scenes("train", 400)]
    for lang in ("en", "pt"):
        for texts in (
            [grammar.describe(each, lang, rng) for each in drawn],
            [grammar.brief(each, lang, rng) for each in drawn],
        ):
            assert outsiders._unknown_share(texts, lang) == 0.0
    alt = [grammar.alt_text(each, rng) for each in drawn]
    assert all(outsiders._unknown_share([text], "en") == 0.0 for text in alt)
    outsiders.warn_of_texts([], "en", "x", "y")
    outsiders.warn_of_texts(["कुछ भी"], "hi", "x", "y")  # it translates from English and Portuguese only
    assert capsys.readouterr().err == ""


def test_one_odd_caption_among_many_is_no_reason(capsys: pytest.CaptureFixture[str]) -> None:
    texts = ["a red ball on the grass"] * 20 + ["the quick brown fox jumps"]
    outsiders.warn_of_texts(texts, "en", "x", "y")
    assert capsys.readouterr().err == ""


def test_stages_warn_of_what_their_toy_plugins_meet(capsys: pytest.CaptureFixture[str]) -> None:
    from capivara_cli.stages import translate

    options = translate.Options(lang="pt", translator="toy", cache=False)
    samples = [a_sample("a", Caption("a dog on a beach", "en", "alt")), *toy_like(2)]
    assert len([*translate.translate.run(iter(samples), options, Env(Settings(device="cpu"), "translate"))]) == 3
    said = capsys.readouterr().err
    assert said.count("THIS IS A TOY: the translator toy") == 1
    assert "--translator argos (the default)" in said
