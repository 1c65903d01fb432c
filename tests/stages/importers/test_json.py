"""COCO's and Karpathy's JSON files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.made import jpeg
from support.packed import pack, said

from capivara_cli.errors import CapivaraError

RED, BLUE = jpeg((255, 0, 0)), jpeg((0, 0, 255))

COCO: dict[str, Any] = {
    "info": {"year": 2014},
    "images": [{"id": 42, "file_name": "COCO_val2014_000000000042.jpg"}, {"id": 7, "file_name": "7.jpg", "width": 64}],
    "annotations": [
        {"image_id": 7, "id": 1, "caption": "blue\n"},
        {"image_id": 42, "id": 2, "caption": "red one"},
        {"image_id": 42, "id": 3, "caption": "red two"},
    ],
}
KARPATHY: dict[str, Any] = {
    "images": [
        {"filepath": "val2014", "filename": "a.jpg", "sentids": [0, 1], "split": "test", "cocoid": 5, "imgid": 0,
         "sentences": [{"raw": "A red one.", "tokens": ["a"]}, {"raw": "Red"}]},
        {"filepath": "val2014", "filename": "b.jpg", "split": "restval", "sentences": [{"raw": "blue"}]},
    ],
    "dataset": "coco",
}  # fmt: skip


def write(path: Path, document: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    (tmp_path / "val2014").mkdir()
    (tmp_path / "val2014" / "COCO_val2014_000000000042.jpg").write_bytes(RED)
    (tmp_path / "val2014" / "7.jpg").write_bytes(BLUE)
    return tmp_path


@pytest.mark.parametrize("where", ["annotations/captions_val2014.json", "captions_val2014.json"])
def test_coco_with_the_images_where_coco_puts_them(coco: Path, where: str) -> None:
    found, tally = pack(write(coco / where, COCO))
    assert [(sample.key, sample.image, said(sample)) for sample in found] == [
        ("COCO_val2014_000000000042", RED, [("en", "red one"), ("en", "red two")]),
        ("7", BLUE, [("en", "blue")]),
    ]
    assert found[0].document["image_id"] == 42
    assert tally.dropped.total() == 0


def test_coco_with_its_images_named(coco: Path, tmp_path: Path) -> None:
    listed = write(tmp_path / "elsewhere" / "deep" / "c.json", COCO)
    with pytest.raises(CapivaraError, match="none of the first 2 images exists") as caught:
        pack(listed)
    assert "--images DIR" in caught.value.hint
    assert len(pack(listed, images=str(coco / "val2014"))[0]) == 2


def test_coco_counts_what_is_broken(coco: Path) -> None:
    document = {
        "images": [*COCO["images"], {"id": 7, "file_name": "x.jpg"}, {"id": 9}, "x", {"id": 10, "file_name": "no.jpg"},
                   {"id": [1], "file_name": "y.jpg"}],
        "annotations": [*COCO["annotations"], {"image_id": 99, "caption": "lost"}, {"image_id": 7, "caption": " "}, 5,
                        {"image_id": [1], "caption": "x"}],
    }  # fmt: skip
    found, tally = pack(write(coco / "c_val2014.json", document), images=str(coco / "val2014"))
    assert len(found) == 2
    assert tally.dropped == {
        "an image with the id of another": 1, "an image without file or id": 3, "an annotation of no listed image": 3,
        "no such image file": 1,
    }  # fmt: skip
    assert tally.notes == {"empty captions": 1}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"images": [], "annotations": [{"bbox": [1, 2, 3, 4]}]}, "its annotations hold no captions"),
        ({"images": []}, "it needs the lists 'images' and 'annotations'"),
        ([], "not a JSON object"),
    ],
)
def test_json_that_is_no_coco_captions(tmp_path: Path, document: Any, message: str) -> None:
    with pytest.raises(CapivaraError, match=message):
        pack(write(tmp_path / "c.json", document), format="coco")


def test_cut_json(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text('{"images": [')
    with pytest.raises(CapivaraError, match=r"c\.json: not JSON"):
        pack(tmp_path / "c.json")


@pytest.fixture
def karpathy(tmp_path: Path) -> Path:
    (tmp_path / "val2014").mkdir()
    (tmp_path / "val2014" / "a.jpg").write_bytes(RED)
    (tmp_path / "b.jpg").write_bytes(BLUE)
    return write(tmp_path / "dataset_coco.json", KARPATHY)


def test_karpathy_keeps_split_and_ids(karpathy: Path) -> None:
    found, _ = pack(karpathy)
    assert [(sample.key, sample.image, said(sample)) for sample in found] == [
        ("val2014/a", RED, [("en", "A red one."), ("en", "Red")]),
        ("val2014/b", BLUE, [("en", "blue")]),
    ]
    document = found[0].document
    assert {name: document[name] for name in ("split", "cocoid", "imgid")} == {"split": "test", "cocoid": 5, "imgid": 0}


def test_karpathy_splits(karpathy: Path) -> None:
    assert [sample.key for sample in pack(karpathy, split="restval")[0]] == ["val2014/b"]
    assert len(pack(karpathy, split="test, restval")[0]) == 2
    with pytest.raises(CapivaraError, match="there is no split 'tset'; there are restval, test — did you mean test"):
        pack(karpathy, split="tset")


def test_karpathy_counts_what_is_broken(karpathy: Path) -> None:
    broken = ["x", {"split": "test"}, {"filename": "a.jpg", "sentences": "?"}, {"filename": "no.jpg", "sentences": []}]
    found, tally = pack(write(karpathy, {"images": [*KARPATHY["images"], *broken]}))
    assert len(found) == 2
    assert tally.dropped == {"an image without file or sentences": 3, "no such image file": 1}


def coco_root(folder: Path, captions: dict[str, tuple[str, str]]) -> Path:
    """COCO's folder: caption files by name, each with one image and its caption."""
    for name, (image, caption) in captions.items():
        document = {"images": [{"id": 1, "file_name": image}], "annotations": [{"image_id": 1, "caption": caption}]}
        write(folder / "annotations" / f"{name}.json", document)
    write(folder / "annotations" / "instances_val2017.json", {"images": [], "annotations": [{"bbox": []}]})
    for split, data in (("val2017", RED), ("train2017", BLUE)):
        (folder / split).mkdir()
        (folder / split / "1.jpg").write_bytes(data)
    return folder


def test_the_folder_of_coco_with_several_caption_files(tmp_path: Path) -> None:
    folder = coco_root(tmp_path, {"captions_train2017": ("1.jpg", "blue"), "captions_val2017": ("1.jpg", "red")})
    found, _ = pack(folder)
    assert [(sample.image, said(sample)) for sample in found] == [
        (BLUE, [("en", "blue")]), (RED, [("en", "red")]),
    ]  # fmt: skip
    for split in ("val2017", "val"):
        assert [sample.image for sample in pack(folder, split=split)[0]] == [RED]
    with pytest.raises(CapivaraError, match="there is no split 'test'"):
        pack(folder, split="test")


@pytest.mark.parametrize(
    ("listed", "image"),
    [
        ("annotations/captions.json", "images/1.jpg"),
        ("annotations/train.json", "train/1.jpg"),
        ("dataset.json", "images/1.jpg"),
        ("train/_annotations.coco.json", "train/1.jpg"),
    ],
)
def test_the_folder_of_coco_whose_caption_file_has_another_name(listed: str, image: str, tmp_path: Path) -> None:
    captions = [{"image_id": 1, "caption": "red"}]
    document = {"images": [{"id": 1, "file_name": "1.jpg"}], "annotations": captions}
    for path in (tmp_path / listed, tmp_path / image):
        path.parent.mkdir(parents=True, exist_ok=True)
    write(tmp_path / listed, document)
    write((tmp_path / listed).with_name("instances.json"), {**document, "annotations": [{"image_id": 1, "bbox": []}]})
    (tmp_path / image).write_bytes(RED)
    found, _ = pack(tmp_path)
    assert [(sample.key, said(sample)) for sample in found] == [("1", [("en", "red")])]


def test_caption_files_of_coco_by_language_are_captions_of_the_same_images(tmp_path: Path) -> None:
    files = {"captions_val2017": ("1.jpg", "red"), "captions_val2017_pt": ("1.jpg", "vermelho")}
    found, _ = pack(coco_root(tmp_path, files))
    assert [said(sample) for sample in found] == [[("en", "red"), ("pt", "vermelho")]]


def test_a_caption_file_of_coco_without_its_images_is_passed_over_and_counted(tmp_path: Path) -> None:
    files = {"captions_train2014": ("no.jpg", "gone"), "captions_val2017": ("1.jpg", "red")}
    found, tally = pack(coco_root(tmp_path, files))
    assert [said(sample) for sample in found] == [[("en", "red")]]
    assert (tally.read, dict(tally.notes)) == (1, {"caption files without their images": 1})
    with pytest.raises(CapivaraError, match="none of the first 1 images exists"):
        pack(tmp_path, split="train")


def test_annotations_of_coco_with_a_language(coco: Path) -> None:
    annotations = [{"image_id": 7, "caption": "azul", "lang": "pt"}, {"image_id": 42, "caption": ["red", "a red one"]}]
    found, _ = pack(write(coco / "c_val2014.json", {**COCO, "annotations": annotations}), images=str(coco / "val2014"))
    assert [said(sample) for sample in found] == [[("en", "red"), ("en", "a red one")], [("pt", "azul")]]


def test_the_folder_of_karpathys_file(karpathy: Path) -> None:
    assert len(pack(karpathy.parent, split="test")[0]) == 1
