"""The eval sets: the toy world, Flickr30k from a folder and from a hub cache, and captions that are translated."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import random
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import pytest

from capivara_cli import registry
from capivara_cli.commands.eval import Options
from capivara_cli.commands.eval import eval as evaluate
from capivara_cli.errors import CapivaraError
from capivara_cli.evaluation import set_translator
from capivara_cli.evaluation.evalset import Provenance
from capivara_cli.evaluation.gallery import Captions
from capivara_cli.evaluation.set_translator import SetTranslator
from capivara_cli.evaluation.sets import flickr30k
from capivara_cli.models import hub
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings
from capivara_cli.shards.images import decode_image
from capivara_cli.toy import grammar, scenes


def environment() -> Env:
    return Env(Settings(device="cpu"), "eval")


def toy(lang: str, variant: str = "12", split: str = "test", env: Env | None = None):
    return registry.load("evalsets", f"toy:{variant}", lang=lang, data="", split=split, env=env or environment())


# --- toy ---
def test_toy_holds_the_same_scenes_in_every_language():
    env = environment()
    by_lang = {lang: list(toy(lang, env=env).samples) for lang in grammar.LANGUAGES}
    expected = list(scenes.sample_scenes("heldout", 12))
    for lang, samples in by_lang.items():
        assert [each.key for each in samples] == [f"toy-heldout-{n:05d}" for n in range(12)]
        assert [each.document["scene"] for each in samples] == [scenes.canonical(scene) for scene in expected]
        for number, (each, scene) in enumerate(zip(samples, expected, strict=True)):
            (caption,) = each.captions
            assert caption.lang == lang
            # Clean: one of the true sentences about this very scene, the same one in all languages.
            assert caption.text == grammar.parallel(scene, random.Random(f"eval-heldout-{number}"))[lang]
            assert decode_image(each).tobytes() == scenes.draw(scene).tobytes()
    assert by_lang["en"][0].members["png"] is by_lang["xh"][0].members["png"]  # drawn once


def test_toy_classes_are_the_shapes_of_scenes_with_one_kind_of_thing():
    found = toy("pt", "40")
    labelled = 0
    for each, scene in zip(found.samples, scenes.sample_scenes("heldout", 40), strict=True):
        if "cls" in each.members:
            labelled += 1
            assert scenes.SHAPES[int(each.members["cls"])] == scene.things[0].shape
            assert len(scenes.groups(scene)) == 1
        else:
            assert len(scenes.groups(scene)) == 2
    assert 5 < labelled < 25
    assert found.classes[:2] == (grammar.CLASS_NAMES["pt"]["ball"], grammar.CLASS_NAMES["pt"]["box"])
    assert len(set(found.classes)) == 10
    assert (found.name, found.provenance.split, found.provenance.machine_translated) == ("toy:40", "heldout", False)


def test_toy_refuses_what_it_has_not():
    with pytest.raises(CapivaraError, match="there is no split of toy 'tset'; there are heldout, test, train"):
        toy("en", split="tset")
    with pytest.raises(CapivaraError, match="there is no language in toy 'ca'"):
        toy("ca")
    for variant in ("0", "1", "x", "99999"):
        with pytest.raises(CapivaraError, match=f"toy:{variant}: not a number of scenes"):
            toy("en", variant)


# --- Flickr30k ---
ROWS = [("1.jpg", ["A red dog.", "A dog "]), ("2.jpg", ["A cat", "Cats"]), ("3.jpg", ["A bird", "Birds"])]


def picture(name: str) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", (8, 8), (int(name[0]) * 50, 0, 0)).save(out, "JPEG")
    return out.getvalue()


@pytest.fixture
def copy(tmp_path: Path, monkeypatch) -> Path:
    """A folder in Karpathy's layout: two test images, one for training."""
    monkeypatch.setattr(flickr30k, "COUNTS", {"train": 1, "val": 0, "test": 2})
    splits = ("test", "train", "test")
    images = [
        {"filename": name, "split": split, "sentences": [{"raw": text} for text in texts]}
        for (name, texts), split in zip(ROWS, splits, strict=True)
    ]
    folder = tmp_path / "flickr"
    (folder / "flickr30k-images").mkdir(parents=True)
    (folder / "dataset_flickr30k.json").write_text(json.dumps({"images": images}))
    for name, _ in ROWS:
        (folder / "flickr30k-images" / name).write_bytes(picture(name))
    return folder


def sha256(path: Path) -> str:
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def flickr(data: object = "", split: str = "test", lang: str = "en"):
    return registry.load("evalsets", "flickr30k", lang=lang, data=str(data), split=split, env=environment())


def texts_of(found) -> list[tuple[str, list[str]]]:
    return [(each.key, [caption.text for caption in each.captions]) for each in found.samples]


def test_flickr30k_from_a_folder(copy):
    found = flickr(copy)
    assert texts_of(found) == [("1", ["A red dog.", "A dog"]), ("3", ["A bird", "Birds"])]
    assert [each.image for each in flickr(copy).samples] == [picture("1.jpg"), picture("3.jpg")]
    assert texts_of(flickr(copy, "train")) == [("2", ["A cat", "Cats"])]
    assert found.provenance == Provenance(
        "Flickr30k, Karpathy split, local copy",
        "Flickr terms of use; non-commercial research only",
        "test",
        by="human",
        obtained=f"local copy in {copy}",
        checksums={"dataset_flickr30k.json": sha256(copy / "dataset_flickr30k.json")},
    )


def test_flickr30k_with_a_missing_image_has_a_sample_without_one(copy):
    (copy / "flickr30k-images" / "1.jpg").unlink()
    assert [list(each.members) for each in flickr(copy).samples] == [["json"], ["jpg", "json"]]


def test_flickr30k_says_what_a_folder_lacks(copy, tmp_path):
    with pytest.raises(CapivaraError, match=r"has no dataset_flickr30k\.json") as caught:
        flickr(tmp_path)
    assert "flickr30k-images/*.jpg" in caught.value.hint
    (copy / "dataset_flickr30k.json").write_text('{"images": [{"split": "test"}]}')
    with pytest.raises(CapivaraError, match="not Karpathy's annotations"):
        flickr(copy)
    with pytest.raises(CapivaraError, match="there is no split of flickr30k 'dev'; there are test, train, val"):
        flickr(copy, "dev")
    (copy / "dataset_flickr30k.json").write_text('{"images": []}')
    with pytest.raises(CapivaraError, match=r"dataset_flickr30k\.json: 0 images of the split test, and this set has 2"):
        flickr(copy)


def test_flickr30k_says_when_the_images_are_elsewhere(copy):
    for image in (copy / "flickr30k-images").iterdir():
        image.unlink()
    with pytest.raises(CapivaraError, match=r"none of the 2 images exists; the first is flickr30k-images/1\.jpg"):
        flickr(copy)
    (copy / "flickr30k-images").rmdir()
    with pytest.raises(CapivaraError, match="has no folder flickr30k-images/ with the images") as caught:
        flickr(copy)
    assert "DIR/flickr30k-images/*.jpg" in caught.value.hint


def test_the_splits_of_flickr30k_are_of_the_published_sizes():
    assert flickr30k.COUNTS == {"train": 29_000, "val": 1_014, "test": 1_000}


def write_hub_files(folder: Path) -> None:
    with open(folder / "test_1k_flickr.csv", "w", encoding="utf-8", newline="") as out:
        table = csv.DictWriter(out, ["raw", "filename", "split"])
        table.writeheader()
        table.writerows({"raw": json.dumps(texts), "filename": name, "split": "test"} for name, texts in ROWS)
    with zipfile.ZipFile(folder / "images_flickr_1k_test.zip", "w") as archive:
        for name, _ in ROWS[:2]:
            archive.writestr(f"images_flickr_1k_test/{name}", picture(name))
        archive.writestr("__MACOSX/images_flickr_1k_test/1.jpg", b"not a picture")


def test_flickr30k_from_the_files_of_the_hub(tmp_path, monkeypatch):
    write_hub_files(tmp_path)
    monkeypatch.setattr(flickr30k, "COUNTS", {"test": 3})
    asked: list[hub.RepoFiles] = []
    monkeypatch.setattr(hub, "folder", lambda need: asked.append(need) or tmp_path)
    found = flickr()
    assert found.provenance.obtained == f"downloaded from {flickr30k.FLICKR30K.hub.repo}@{tmp_path.name}"
    assert found.provenance.checksums == {"test_1k_flickr.csv": sha256(tmp_path / "test_1k_flickr.csv")}
    samples = list(found.samples)
    assert [(each.key, [caption.text for caption in each.captions]) for each in samples] == [
        ("1", ["A red dog.", "A dog"]), ("2", ["A cat", "Cats"]), ("3", ["A bird", "Birds"]),
    ]  # fmt: skip
    assert samples[0].image == picture("1.jpg")
    assert list(samples[2].members) == ["json"]
    assert (asked[0].repo, asked[0].kind) == ("nlphuji/flickr_1k_test_image_text_retrieval", "dataset")
    assert asked[0].choices == (("test_1k_flickr.csv",), ("images_flickr_1k_test.zip",))
    (tmp_path / "images_flickr_1k_test.zip").write_bytes(b"PK")
    with pytest.raises(CapivaraError, match="not a zip archive"):
        flickr()
    monkeypatch.setattr(flickr30k, "COUNTS", {"test": 4})
    with pytest.raises(CapivaraError, match=r"test_1k_flickr\.csv: 3 images, and this set has 4"):
        flickr()
    (tmp_path / "test_1k_flickr.csv").write_text("a,b\n1,2\n")
    with pytest.raises(CapivaraError, match="not the expected table of captions"):
        flickr()


def test_flickr30k_without_a_connection_says_how_to_go_on():
    with pytest.raises(CapivaraError) as caught:  # HF_HUB_OFFLINE is set for the tests
        flickr()
    assert "the captions and images of the Flickr30k test split (142 MB)" in caught.value.message
    for way in ("--data DIR", "HF_HOME", "HF_ENDPOINT"):
        assert way in caught.value.hint
    with pytest.raises(CapivaraError, match="only the test split can be downloaded"):
        flickr(split="val")


# --- translations ---
@dataclass
class Upper:
    """A translator that shouts, and cannot translate "x"."""

    by: str = "upper:en-pt"
    version: str = "upper 1"
    asked: list[list[str]] = field(default_factory=list)

    def __call__(self, texts: list[str]) -> list[str]:
        self.asked.append(list(texts))
        return ["" if text == "x" else text.upper() for text in texts]


@pytest.fixture
def upper(tmp_path, monkeypatch) -> Upper:
    monkeypatch.setenv("CAPIVARA_CACHE", str(tmp_path / "cache"))
    translator = Upper()
    real = registry.module

    def module(kind: str, name: str):
        return SimpleNamespace(load=lambda variant, **context: translator) if name == "argos" else real(kind, name)

    monkeypatch.setattr(registry, "module", module)
    return translator


def test_captions_are_translated_once_and_kept(upper, monkeypatch):
    monkeypatch.setattr(set_translator, "_CHUNK", 2)
    captions = Captions(["a", "b", "a", "x", "c"], [0, 0, 1, 1, 2])
    env = environment()
    made = SetTranslator("auto", "en", "pt", env).of(captions)
    assert (made.texts, made.owners) == (["A", "B", "A", "C"], [0, 0, 1, 2])
    assert made.by == {"upper:en-pt": 4}
    assert made.n_translated == 4
    assert env.tally.notes == {"empty translation to pt": 1}
    assert upper.asked == [["a", "b"], ["x", "c"]]
    again = SetTranslator("argos", "en", "pt", environment()).of(Captions(["c", "d"], [0, 1]))
    assert again.texts == ["C", "D"]
    assert upper.asked[2:] == [["d"]]


def test_another_version_translates_anew(upper):
    for version in ("upper 1", "upper 2", "upper 1"):
        upper.version = version
        SetTranslator("argos", "en", "pt", environment()).of(Captions(["a"], [0]))
    assert upper.asked == [["a"], ["a"]]


def test_eval_translates_what_a_set_lacks_and_says_so(upper, copy, tiny, capsys):
    options = Options(model=f"local-dir:{tiny}", lang="pt", data=str(copy), k="1")
    found = evaluate.run(["flickr30k"], options, environment())
    (row,) = found["retrieval"]
    assert (row["lang"], row["n_images"], row["n_captions"], row["machine_translated"]) == ("pt", 2, 4, True)
    assert row["provenance"]["by"] == "upper:en-pt"
    assert row["provenance"]["captions_by"] == {"upper:en-pt": 4}
    assert upper.asked == [["A red dog.", "A dog", "A bird", "Birds"]]
    assert "(MT) captions machine-translated (upper:en-pt)" in capsys.readouterr().err


def test_eval_of_the_toy_world_with_a_real_model(tiny):
    options = Options(model=f"local-dir:{tiny}", lang="en,pt")
    first, again = (evaluate.run(["toy:24"], options, environment()) for _ in range(2))
    assert first == again
    assert [(row["lang"], row["n_images"], row["n_captions"]) for row in first["retrieval"]] == [
        ("en", 24, 24),
        ("pt", 24, 24),
    ]
    for row in first["retrieval"]:
        assert 0 < row["mean_recall"] < 75  # random weights
    assert {row["n_classes"] for row in first["classification"]} == {10}
    assert [row["score"] for row in first["disparity"]] == ["mean_recall", "accuracy"]
