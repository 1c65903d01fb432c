"""Parquet files as Hugging Face data sets have them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from support.made import jpeg
from support.packed import pack, said

from capivara_cli.errors import CapivaraError
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings
from capivara_cli.stages.importers._packing import PackOptions, samples

RED, BLUE = jpeg((255, 0, 0)), jpeg((0, 0, 255))


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def test_image_structs_and_lists_of_captions(tmp_path: Path) -> None:
    (tmp_path / "beside.jpg").write_bytes(BLUE)
    rows = [
        {"image": {"bytes": RED, "path": "a.b.jpg"}, "caption": ["one", "two"], "img_id": 5},
        {"image": {"bytes": RED, "path": None}, "caption": ["three"], "img_id": 6},
        {"image": {"bytes": None, "path": "beside.jpg"}, "caption": ["four"], "img_id": 7},
        {"image": {"bytes": None, "path": None}, "caption": ["five"], "img_id": 8},
        {"image": {"bytes": b"text", "path": None}, "caption": ["six"], "img_id": 9},
        {"image": None, "caption": None, "img_id": None},
        {"image": {"bytes": RED[:-30], "path": "cut.jpg"}, "caption": None, "img_id": None},
    ]
    found, tally = pack(write(tmp_path / "x.parquet", rows))
    assert [(sample.key, sample.image, said(sample)) for sample in found] == [
        ("a_b", RED, [("en", "one"), ("en", "two")]),
        ("x-0000001", RED, [("en", "three")]),
        ("beside", BLUE, [("en", "four")]),
    ]
    assert found[0].document["img_id"] == 5
    assert tally.dropped == {
        "no image": 2, "image cannot be decoded: not an image": 1, "image cannot be decoded: truncated": 1,
    }  # fmt: skip


def test_plain_bytes_and_a_column_for_each_language(tmp_path: Path) -> None:
    rows = [{"jpg": RED, "caption_en": "red", "caption_pt": "vermelho", "language": "hi"}]
    found, _ = pack(write(tmp_path / "x.parquet", rows))
    assert said(found[0]) == [("en", "red"), ("pt", "vermelho")]


@pytest.mark.parametrize(
    ("cell", "captions"),
    [
        ([{"raw": "A.", "sentid": 1}, {"raw": "B.", "sentid": 2}], [("en", "A."), ("en", "B.")]),
        ([{"caption": "um", "lang": "pt"}], [("pt", "um")]),
        ({"raw": ["A.", "B."], "sentid": [1, 2]}, [("en", "A."), ("en", "B.")]),
        ({"en": "one", "pt": "um"}, [("en", "one"), ("pt", "um")]),
    ],
)
def test_structs_and_lists_of_structs(tmp_path: Path, cell: Any, captions: list[tuple[str, str]]) -> None:
    found, tally = pack(write(tmp_path / "x.parquet", [{"image": RED, "sentences": cell}]))
    assert (said(found[0]), dict(tally.notes)) == (captions, {})


def test_a_column_of_ids_is_no_caption(tmp_path: Path) -> None:
    rows = [{"image": RED, "caption": "red", "caption_id": 17}, {"image": BLUE, "caption": "blue", "caption_id": 18}]
    found, tally = pack(write(tmp_path / "x.parquet", rows))
    assert [(said(sample), sample.document["caption_id"]) for sample in found] == [
        ([("en", "red")], 17),
        ([("en", "blue")], 18),
    ]
    assert tally.notes == {"rows with captions in 'caption' (en), not in 'caption_id'": 2}


def test_a_second_column_of_the_same_name(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.Table.from_arrays([[RED], ["red"], ["square"]], names=["image", "caption", "caption"])
    pytest.importorskip("pyarrow.parquet").write_table(table, tmp_path / "x.parquet")
    assert said(pack(tmp_path / "x.parquet")[0][0]) == [("en", "red"), ("en", "square")]


@pytest.mark.parametrize("column", ["image", "file_name", "URL"])
def test_names_of_images_are_read_as_in_a_table(tmp_path: Path, column: str) -> None:
    (tmp_path / "beside.jpg").write_bytes(BLUE)
    rows = [
        {column: "beside.jpg", "TEXT": "blue"},
        {column: "./beside.jpg", "TEXT": "azul"},
        {column: "no.jpg", "TEXT": "x"},
    ]
    found, tally = pack(write(tmp_path / "x.parquet", rows))
    assert [(sample.image, said(sample)) for sample in found] == [(BLUE, [("en", "blue"), ("en", "azul")])]
    assert tally.dropped == {"no such image file": 1}


def test_urls_are_downloaded_as_those_of_a_csv_are(tmp_path: Path, server: str) -> None:
    (tmp_path / "a.jpg").write_bytes(RED)
    rows = [{"URL": f"{server}/a.jpg?w=9", "TEXT": "red", "LANGUAGE": "pt"}, {"URL": f"{server}/no.jpg", "TEXT": "x"}]
    (tmp_path / "x.csv").write_text(f"URL,TEXT,LANGUAGE\n{server}/a.jpg?w=9,red,pt\n{server}/no.jpg,x,\n")
    results = [pack(path) for path in (tmp_path / "x.csv", write(tmp_path / "x.parquet", rows))]
    for found, tally in results:
        assert [(sample.key, sample.image, said(sample)) for sample in found] == [("a", RED, [("pt", "red")])]
        assert tally.dropped == {"download failed: HTTP 404": 1}


def test_files_without_rows_are_counted(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", [{"image": RED, "text": "red"}])
    pyarrow = pytest.importorskip("pyarrow")
    pytest.importorskip("pyarrow.parquet").write_table(pyarrow.table({"image": [], "text": []}), tmp_path / "b.parquet")
    found, tally = pack(tmp_path)
    assert (len(found), dict(tally.notes)) == (1, {"parquet files without rows": 1})


def test_splits_are_file_names(tmp_path: Path) -> None:
    for split in ("test", "train"):
        write(tmp_path / "data" / f"{split}-00000-of-00001.parquet", [{"image": RED, "text": split}])
    assert [said(sample) for sample in pack(tmp_path, split="train")[0]] == [[("en", "train")]]
    assert len(pack(tmp_path)[0]) == 2
    with pytest.raises(CapivaraError, match="there is no split 'val'; there are test, train"):
        pack(tmp_path, split="val")


def test_a_damaged_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    path = write(tmp_path / "x.parquet", [{"image": RED, "text": "a"}])
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CapivaraError, match=r"x\.parquet: cannot be read"):
        pack(path)


def test_columns_that_are_missing_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(CapivaraError, match="no column names the images; there are 'pixels', 'text'"):
        pack(write(tmp_path / "x.parquet", [{"pixels": RED, "text": "a"}]))


def test_without_pyarrow_the_error_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(CapivaraError, match="needs pyarrow") as caught:
        list(samples(str(tmp_path / "x.parquet"), PackOptions(), Env(Settings(), "pack")))
    assert caught.value.hint == "pip install 'capivara[parquet]'"
