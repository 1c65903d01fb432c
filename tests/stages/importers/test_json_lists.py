"""Lists in JSON files: LAVIS, #PraCegoVer, captions by file name, and what only looks like them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.layouts import Image
from support.packed import pack, said

from capivara_cli.errors import CapivaraError
from capivara_cli.stages.importers._packing import importer_of

RED, BLUE = Image(0).encoded(), Image(1).encoded()


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a.jpg").write_bytes(RED)
    (tmp_path / "images" / "b.jpg").write_bytes(BLUE)
    return tmp_path


def packed(folder: Path, document: Any, name: str = "list.json", **options: str) -> dict[str, list[tuple[str, str]]]:
    (folder / name).write_text(document if isinstance(document, str) else json.dumps(document))
    return {sample.key: said(sample) for sample in pack(folder / name, **options)[0]}


A, B = {"image": "a.jpg", "caption": "red"}, {"image": "b.jpg", "caption": "blue"}
BOTH = {"a": [("en", "red")], "b": [("en", "blue")]}


@pytest.mark.parametrize(
    "document",
    [
        [A, B],
        [{"image": "a.jpg", "caption": ["red"], "image_id": "coco_1"}, {**B, "image_id": "coco_2"}],
        {"data": [A, B]},
        {"version": "1.0", "data": [A, B], "empty": []},
        {"train": [A], "test": [B]},
        {"a.jpg": "red", "b.jpg": ["blue"]},
        {"a.jpg": [{"caption": "red"}], "b.jpg": {"en": "blue"}},
        [{"image": "a.jpg", "sentences": [{"raw": "red", "sentid": 1}]}, B],
        "\ufeff" + json.dumps([A, B], indent=1),
    ],
)
def test_lists_and_captions_by_file_name(photos: Path, document: Any) -> None:
    assert packed(photos, document) == BOTH
    assert importer_of(str(photos / "list.json")) == "table"
    assert {sample.key: said(sample) for sample in pack(photos)[0]} == BOTH  # the folder is the same


def test_json_lines_that_are_one_list(photos: Path) -> None:
    assert packed(photos, json.dumps([A, B], indent=2), "list.jsonl") == BOTH


def test_rows_of_one_image_are_joined(photos: Path) -> None:
    rows = [A, {"image": "./a.jpg", "caption": "square"}, B]
    assert packed(photos, rows)["a"] == [("en", "red"), ("en", "square")]


def test_a_name_that_comes_twice_in_an_object_hides_nothing(photos: Path) -> None:
    assert packed(photos, '[{"image": "a.jpg", "caption": "red", "caption": "square"}]') == {
        "a": [("en", "red"), ("en", "square")]
    }


def test_splits_of_pracegover(photos: Path) -> None:
    rows = {split: [{"filename": name, "caption": split, "raw_caption": f"{split} #x"}] for split, name in
            (("train", "a.jpg"), ("validation", "b.jpg"))}  # fmt: skip
    assert packed(photos, rows, "pracegover_400k.json", lang="pt", split="train") == {"a": [("pt", "train")]}
    with pytest.raises(CapivaraError, match="there is no split 'test'; there are train, validation"):
        packed(photos, rows, "pracegover_400k.json", split="test")


def test_what_is_no_row_is_counted(photos: Path) -> None:
    (photos / "list.json").write_text(json.dumps([A, "b.jpg", 5, {"image": "b.jpg"}]))
    found, tally = pack(photos / "list.json")
    assert [sample.key for sample in found] == ["a"]
    assert tally.dropped == {"not a JSON object": 2, "an image or a caption is missing": 1}


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("a.json", [A]),  # a sidecar of a.jpg
        ("exif.json", [{"SourceFile": "a.jpg", "ISO": 100}]),
        ("config.json", {"steps": [{"image": "a.jpg"}]}),
    ],
)
def test_other_json_files_in_a_folder_of_images_are_no_list(photos: Path, name: str, document: Any) -> None:
    (photos / "images" / name).write_text(json.dumps(document))
    assert importer_of(str(photos / "images")) == "folder"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"image": "a.jpg", "caption": "red"}', "not JSON"),
        ('[{"image": "a.jpg", "width": 3}]', "no column holds captions"),
    ],
)
def test_lists_that_cannot_be_read(photos: Path, text: str, message: str) -> None:
    with pytest.raises(CapivaraError, match=rf"list\.json: {message}"):
        packed(photos, text)
