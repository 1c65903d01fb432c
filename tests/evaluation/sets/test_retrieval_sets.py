"""The eval sets with captions from folders: tiny copies of each layout, and what is missing from them."""

from __future__ import annotations

import csv
import gzip
import json
import zipfile
from pathlib import Path

import pytest
from support.made_sets import (
    GERMAN,
    XM,
    images,
    load,
    multi30k_clones,
    packed,
    put,
    refused,
    said,
    xtd_clone,
)

from capivara_cli import languages, registry
from capivara_cli.evaluation.sets import crossmodal3600, fm30k, mscoco, multi30k, pracegover, xtd
from capivara_cli.models import hub

SETS = ("crossmodal3600", "flickr30k", "fm30k", "mscoco", "multi30k", "pracegover", "xtd")


# --- what all have in common ---
@pytest.mark.parametrize("name", SETS)
def test_every_set_lists_languages_that_captions_can_be_in(name: str) -> None:
    codes = registry.module("evalsets", name).languages("")
    assert [languages.get(code).code for code in codes] == list(codes)
    assert registry.describe("evalsets", name)


@pytest.mark.parametrize("name", SETS)
def test_every_set_refuses_what_it_has_not(name: str, tmp_path: Path) -> None:
    own = registry.module("evalsets", name).languages("")[0]
    refused(f"there is no split of {name} 'dev'; there are", name, tmp_path, own, "dev")
    refused(f"there is no language in .*{name} 'xh'; there are {own}|'xh'", name, tmp_path, "xh")
    refused(f"{name}:all: {name} has no variants|no variant of {name} 'all'; there are", f"{name}:all", tmp_path, own)


@pytest.mark.parametrize("name", SETS)
def test_every_set_says_at_once_that_there_is_no_folder(name: str, tmp_path: Path) -> None:
    own = registry.module("evalsets", name).languages("")[0]
    assert "--data DIR" in refused("nowhere: (no such folder|has no)", name, tmp_path / "nowhere", own)


@pytest.mark.parametrize("name", sorted({*SETS} - {"pracegover"}))
def test_every_download_without_a_connection_says_what_it_needs(name: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("CAPIVARA_CACHE", str(tmp_path))
    own = registry.module("evalsets", name).languages("")[0]
    hint = refused(r"the captions .* \(.* MB\) .*are needed, but HF_HUB_OFFLINE is set", name, lang=own)
    assert "--data DIR takes" in hint
    assert list(tmp_path.iterdir()) == []


def test_the_published_sizes() -> None:
    assert (xtd.COUNT, crossmodal3600.COUNT, len(crossmodal3600.languages(""))) == (1_000, 3_600, 36)
    assert list(multi30k.COUNTS.values()) == [29_000, 1_014, 1_000, 1_000, 461, 1_071]
    assert (fm30k.IMAGES, fm30k.CAPTIONS) == (31_783, 158_915)
    assert mscoco.COUNTS == {"train": 82_783, "restval": 30_504, "val": 5_000, "test": 5_000}
    assert sum(pracegover.RELEASED.values()) == 403_337


# --- MS COCO ---
def coco(folder: Path) -> Path:
    entries = [
        {"filename": f"{place}_{count}.jpg", "filepath": place, "split": split, "sentences": [{"raw": split}] * count}
        for place, split, count in [("val2014", "test", 5), ("train2014", "train", 6), ("val2014", "test", 7)]
    ]
    put(folder / "dataset_coco.json", json.dumps({"images": entries}))
    for each in entries:
        put(folder / each["filepath"] / each["filename"], each["filename"])
    return folder


def test_mscoco_has_five_captions_or_more(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(mscoco, "COUNTS", {"train": 1, "val": 0, "test": 2})
    found = load("mscoco", coco(tmp_path))
    assert [(key, len(texts)) for key, texts in said(found)] == [("val2014_5", 5), ("val2014_7", 7)]
    assert images(load("mscoco", tmp_path, split="train")) == [b"train2014_6.jpg"]
    assert list(found.provenance.checksums) == ["dataset_coco.json"]
    refused("only the test split can be downloaded, not val", "mscoco", split="val")


def test_mscoco_from_the_hub_reads_lists_as_python_writes_them(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(mscoco, "COUNTS", {"test": 2})
    monkeypatch.setattr(hub, "folder", lambda need: tmp_path)
    with open(tmp_path / "test_5k_mscoco_2014.csv", "w", newline="") as out:
        rows = csv.writer(out)
        rows.writerows([["filename", "raw"], ["a.jpg", '["It\'s a cat", "Cat"]'], ["b.jpg", "['A \"dog\"', 'Dog']"]])
    with zipfile.ZipFile(tmp_path / "images_mscoco_2014_5k_test.zip", "w") as archive:
        archive.writestr("images_mscoco_2014_5k_test/b.jpg", b"dog")
    assert said(load("mscoco")) == [("a", ["It's a cat", "Cat"]), ("b", ['A "dog"', "Dog"])]
    assert images(load("mscoco")) == [None, b"dog"]
    put(tmp_path / "test_5k_mscoco_2014.csv", "filename,raw\na.jpg,7\nb.jpg,[\n")
    refused("not the expected table of captions", "mscoco")


# --- #PraCegoVer ---
@pytest.fixture
def gram(tmp_path: Path) -> Path:
    entry = {"user": "u", "filename": "1.png", "raw_caption": "#PraCegoVer", "caption": "Um gato. ", "date": "2020"}
    released = {"train": [], "validation": [{**entry, "filename": "2.jpg"}], "test": [entry]}
    put(tmp_path / "pracegover_400k.json", json.dumps(released))
    put(tmp_path / "images" / "1.png", "cat")
    put(tmp_path / "images" / "2.jpg", "dog")
    return tmp_path


def test_pracegover_says_how_much_of_the_release_was_given(gram: Path, monkeypatch) -> None:
    found = load("pracegover", gram, "pt")
    (sample,) = found.samples
    assert (sample.key, list(sample.members), sample.image) == ("1", ["png", "json"], b"cat")
    assert [(each.text, each.lang, each.by) for each in sample.captions] == [("Um gato.", "pt", "human")]
    assert found.provenance.source == (
        "#PraCegoVer, a file with 1 images, where the release has 80,673 "
        "(CAPIVARA reports a part that its baseline scores 0.20 or higher)"
    )
    monkeypatch.setattr(pracegover, "RELEASED", {"validation": 1})
    val = load("pracegover", gram, "pt", "val").provenance
    assert val.source.startswith("#PraCegoVer, all 1 images of the split, unfiltered")
    assert (val.split, val.obtained) == ("validation", f"local copy in {gram}")


def test_pracegover_is_never_downloaded(gram: Path) -> None:
    hint = refused("cannot be downloaded, because access is by request only", "pracegover", lang="pt")
    assert "zenodo.org/record/7548638" in hint
    assert "DIR/pracegover_400k.json" in hint
    refused("no image of the split train", "pracegover", gram, "pt", "train")
    put(gram / "pracegover_400k.json", '{"test": [{"filename": "1.jpg"}]}')
    refused("not the annotations of #PraCegoVer: KeyError", "pracegover", gram, "pt")


# --- XTD10 ---


@pytest.fixture
def clone(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setattr(xtd, "COUNT", 6)
    xtd_clone(tmp_path / "xtd")
    put(tmp_path / "xtd/train2014/COCO_train2014_000000000001.jpg", "one")
    put(tmp_path / "xtd/images/COCO_val2014_000000000005.jpg", "five")
    return tmp_path / "xtd"


def test_xtd_reads_files_of_either_line_end(clone: Path) -> None:
    found = load("xtd", clone, "it")
    assert [texts for _, texts in said(found)] == [[f"un gatto\u2028{n}"] for n in range(6)]
    assert [key for key, _ in said(found)] == [key for key, _ in said(load("xtd", clone, "ja"))]
    assert [texts for _, texts in said(load("xtd", clone, "ja"))] == [["猫"]] * 6
    assert images(found) == [None, b"one", None, None, None, b"five"]


def test_xtd_names_the_references_that_are_no_captions(clone: Path) -> None:
    found = load("xtd", clone, "de")
    assert [texts[0] for _, texts in said(found)] == GERMAN  # all of them stay: published numbers include them
    assert found.junk == {f"COCO_train2014_{n:012d}" for n in (1, 2, 4)}
    assert load("xtd", clone, "it").junk == frozenset()


def test_junk_of_xtd_is_where_it_is_in_the_published_files(tmp_path: Path, monkeypatch) -> None:
    german = {148: "Could not translate", 241: "Could not translate", 262: "?", 727: "Could not translate",
              768: "?", 939: "dfgdfg"}  # fmt: skip
    for code, junk in (("de", german), ("fr", {148: "Could not translate"})):
        lines = [junk.get(line, f"Bild {line}?") for line in range(1, 1_001)]
        put(tmp_path / f"MIC/test_1kcaptions_{code}.txt", "\n".join(lines) + "\n")
        put(tmp_path / "XTD10/test_image_names.txt", "".join(f"{line}.jpg\n" for line in range(1, 1_001)))
        put(tmp_path / "images/1.jpg", "one")
        found = load("xtd", tmp_path, code)
        assert {int(key) for key in found.junk} == set(junk)
        assert len(list(found.samples)) == 1_000


def test_xtd_says_where_it_is_from_and_that_coco_trained_on_it(clone: Path) -> None:
    found = load("xtd", clone, "ja").provenance
    assert found.source == (
        "XTD10, captions of STAIR, not translations of the English ones; 5 of its 6 images are of COCO train2014"
    )
    assert found.obtained == f"captions local copy in {clone}; images local copy in {clone}"
    assert set(found.checksums) == {"XTD10/test_image_names.txt", "STAIR/test_1kcaptions_jp.txt"}
    assert found.checksums["XTD10/test_image_names.txt"].startswith("sha256:")
    assert "non-commercial" in found.licence


def test_xtd_refuses_files_that_are_cut_or_missing(clone: Path) -> None:
    refused(r"has no XTD10/test_1kcaptions_en\.txt", "xtd", clone, "en")
    put(clone / "MIC/test_1kcaptions_de.txt", "eins\nzwei\n")
    refused(r"MIC/test_1kcaptions_de\.txt: 2 lines, and this set has 6", "xtd", clone, "de")
    put(clone / "MIC/test_1kcaptions_de.txt", b"\xff\xfe")
    refused(r"test_1kcaptions_de\.txt: cannot be read", "xtd", clone, "de")
    (clone / "images/COCO_val2014_000000000005.jpg").unlink()
    (clone / "train2014/COCO_train2014_000000000001.jpg").unlink()
    hint = refused("none of the 6 images exists; the first is images/COCO_train2014_0{12}.jpg", "xtd", clone, "it")
    assert "DIR/train2014" in hint
    (clone / "images").rmdir()
    (clone / "train2014").rmdir()
    refused("has no folder images/ or train2014/ or", "xtd", clone, "it")


# --- Multi30K and Framed Multi30K ---
@pytest.fixture
def thirty(tmp_path: Path, monkeypatch) -> Path:
    return multi30k_clones(tmp_path, monkeypatch)


def test_multi30k_task_1(thirty: Path) -> None:
    found = load("multi30k", thirty, "cs")
    assert said(found) == [("1", ["jeden"]), ("2", ["dva"])]
    assert images(found) == [None, b"two"]
    assert (found.name, found.provenance.split) == ("multi30k", "test_2016_flickr")
    assert said(load("multi30k", thirty, "cs", "test_2016_flickr")) == said(load("multi30k", thirty, "cs"))


def test_multi30k_strips_the_annotation_from_names_of_coco(thirty: Path) -> None:
    found = load("multi30k", thirty, "fr", "test_2017_mscoco")
    assert said(found) == [("COCO_train2014_07", ["sept"]), ("COCO_val2014_08", ["huit"])]
    assert images(found) == [None, b"eight"]


def test_multi30k_task_2_has_five_independent_descriptions(thirty: Path) -> None:
    found = load("multi30k:task2", thirty, "de")
    assert said(found) == [("1", [f"eins {n}" for n in range(1, 6)]), ("2", [f"zwei {n}" for n in range(1, 6)])]
    assert (found.name, len(found.provenance.checksums)) == ("multi30k:task2", 6)
    refused("no language in test_2016_flickr of multi30k 'fr'; there are de, en", "multi30k:task2", thirty, "fr")
    refused("no split of multi30k:task2 'test_2018_flickr'", "multi30k:task2", thirty, "de", "test_2018_flickr")


def test_multi30k_knows_which_languages_a_split_has(thirty: Path) -> None:
    refused("no language in test_2017_mscoco of multi30k 'cs'; there are de, en, fr", "multi30k", thirty, "cs",
            split="test_2017_mscoco")  # fmt: skip
    refused(r"has no data/task1/raw/test_2016_flickr\.de\.gz", "multi30k", thirty, "de")
    packed(thirty / "data/task1/raw/test_2016_flickr.cs.gz", "jeden")
    refused(r"test_2016_flickr\.cs\.gz: 1 lines, and this set has 2", "multi30k", thirty, "cs")
    put(thirty / "data/task1/raw/test_2016_flickr.cs.gz", gzip.compress(b"jeden\ndva\n")[:-9])
    refused(r"test_2016_flickr\.cs\.gz: cannot be read", "multi30k", thirty, "cs")


def test_fm30k_has_original_captions_and_translations(thirty: Path) -> None:
    found = load("fm30k", thirty, "pt")
    assert said(found) == [("1", ["1 dito 1", "1 dito 2"]), ("2", ["2 dito 1", "2 dito 2"])]
    assert images(found) == [None, b"two"]
    assert set(found.provenance.checksums) == {
        "data/flickr30k/captions.txt.gz", "data/task1/image_splits/test_2016_flickr.txt",
    }  # fmt: skip
    translated = load("fm30k:translated", thirty, "pt")
    assert said(translated) == [("1", ["um"]), ("2", ["dois"])]
    assert (translated.name, translated.provenance.machine_translated) == ("fm30k:translated", False)


def test_fm30k_refuses_captions_of_other_images(thirty: Path) -> None:
    put(thirty / "data/task1/image_splits/test_2016_flickr.txt", "1.jpg\n9.jpg\n")
    refused(r"captions\.txt\.gz: no caption of 9\.jpg and 0 more images", "fm30k", thirty, "pt")
    packed(thirty / "data/flickr30k/captions.txt.gz", "1.jpg#1\tum")
    refused(r"captions\.txt\.gz: 1 lines, and this set has 6", "fm30k", thirty, "pt")


# --- Crossmodal-3600 ---
def test_crossmodal3600_takes_every_caption_there_is(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(crossmodal3600, "COUNT", 2)
    put(tmp_path / "captions.jsonl", "".join(json.dumps(each) + "\n" for each in XM))
    refused("has no folder images/ with the images", "crossmodal3600", tmp_path)
    put(tmp_path / "images/b2.jpg", "b")
    assert said(load("crossmodal3600", tmp_path)) == [("a1", ["One.", "Two."]), ("b2", ["Three."])]
    assert said(load("crossmodal3600", tmp_path, "tl")) == [("a1", ["Isa"]), ("b2", [])]
    assert said(load("crossmodal3600", tmp_path, "qu")) == [("a1", []), ("b2", ["Huk"])]
    assert images(load("crossmodal3600", tmp_path)) == [None, b"b"]
    put(tmp_path / "captions.jsonl", json.dumps(XM[0]))
    refused(r"captions\.jsonl: 1 images, and this set has 2", "crossmodal3600", tmp_path)
    put(tmp_path / "captions.jsonl", '{"key": 1}\n{"key": 2}\n')
    refused("not the captions of Crossmodal-3600: KeyError", "crossmodal3600", tmp_path)
