"""The other columns of a table keep their values: no digit is lost, and nested values and dates are copied too."""

from __future__ import annotations

import datetime
import decimal
import json
from pathlib import Path
from typing import Any

import pytest
from support.made import jpeg
from support.packed import pack

RED = jpeg()

NUMBERS = [
    "1e400", "-1E+400", "12345678901234567890123456789012345678901", "0.1000", "1E5", "1.0", "0.25", "7", "-0.0",
    "0." + "1234567890" * 20, "0.1000000000000000055511151231257827",
    '{"a": [1e400, "\\u00e9", null], "b": 0.1000}', "[1, 2.50]", "[]", "true",
]  # fmt: skip


def written(value: str) -> str:
    """The value as pack writes it: escapes and spaces may differ, numbers not."""
    return value.replace("\\u00e9", "é")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.jpg").write_bytes(RED)
    return tmp_path


def kept(source: Path) -> str:
    (sample,) = pack(source)[0]
    return sample.members["json"].decode()


@pytest.mark.parametrize("value", NUMBERS)
def test_json_keeps_its_values(folder: Path, value: str) -> None:
    row = f'{{"image": "a.jpg", "caption": "red", "x": {value}}}'
    (folder / "list.jsonl").write_text(row + "\n", "utf-8")
    (folder / "list.json").write_text(f"[{row}]", "utf-8")
    (folder / "splits.json").write_text(f'{{"train": [{row}]}}', "utf-8")
    for name in ("list.jsonl", "list.json", "splits.json"):
        assert kept(folder / name).startswith(f'{{"x": {written(value)}, "file": "a.jpg"'), name


def test_json_beside_an_image_keeps_its_values(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(RED)
    (tmp_path / "photos" / "a.json").write_text('{"caption": "red", "x": 1e400, "y": {"z": 0.10}}')
    assert kept(tmp_path / "photos").startswith('{"x": 1e400, "y": {"z": 0.10}, "file": "a.jpg"')


COLUMNS: dict[str, tuple[Any, str]] = {
    "big": (2**62 + 1, "4611686018427387905"),
    "decimal": (decimal.Decimal("1234567890123456789.1234567890"), "1234567890123456789.1234567890"),
    "date": (datetime.date(2020, 2, 29), '"2020-02-29"'),
    "time": (datetime.datetime(2020, 2, 29, 12, 30, 15, 250), '"2020-02-29T12:30:15.000250"'),
    "zone": (datetime.datetime(2020, 2, 29, 12, tzinfo=datetime.UTC), '"2020-02-29T12:00:00+00:00"'),
    "float": (0.1, "0.1"),
    "list": ([1, None, 3], "[1, null, 3]"),
    "struct": ({"a": {"b": [0.5]}, "c": "é"}, '{"a": {"b": [0.5]}, "c": "é"}'),
}


@pytest.mark.parametrize("embedded", [True, False])
def test_parquet_keeps_its_values(folder: Path, embedded: bool) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    image = {"bytes": RED, "path": "a.jpg"} if embedded else "a.jpg"
    row = {"image": image, "caption": "red", **{name: value for name, (value, _) in COLUMNS.items()}, "raw": b"\xff"}
    parquet.write_table(pyarrow.Table.from_pylist([row]), folder / "list.parquet")
    (sample,), tally = pack(folder / "list.parquet")
    fields = ", ".join(f'"{name}": {text}' for name, (_, text) in COLUMNS.items())
    assert sample.members["json"].decode().startswith(f'{{{fields}, "file": "a.jpg"')
    assert tally.notes["cells of 'raw' left out, which JSON cannot hold"] == 1


def test_float32_and_nanoseconds(folder: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    stamps = pyarrow.array([1_582_979_415_000_000_001], pyarrow.timestamp("ns"))
    columns = {
        "image": ["a.jpg"], "caption": ["red"], "f": pyarrow.array([0.1], pyarrow.float32()), "t": stamps,
    }  # fmt: skip
    parquet.write_table(pyarrow.table(columns), folder / "list.parquet")
    found = json.loads(kept(folder / "list.parquet"))
    assert found["f"] == 0.10000000149011612
    assert found["t"].startswith("2020-02-29T12:30:15.000000001")


def test_values_that_are_nested_too_deeply_are_left_out_and_counted(folder: Path) -> None:
    """Stages refuse a json that is nested more than 200 times."""
    deep, fine = "[" * 150 + "]" * 150, "[" * 90 + "]" * 90
    (folder / "list.jsonl").write_text(f'{{"image": "a.jpg", "caption": "red", "deep": {deep}, "fine": {fine}}}')
    (sample,), tally = pack(folder / "list.jsonl")
    assert sample.members["json"].decode().startswith(f'{{"fine": {fine}, "file"')
    assert tally.notes["cells of 'deep' left out, which JSON cannot hold"] == 1


@pytest.mark.parametrize("number", ["1e400", "0.1000", "12345678901234567890123456789012345678901"])
def test_shards_of_other_programs_keep_their_values(tmp_path: Path, number: str) -> None:
    from support.foreign import write_foreign

    text = f'{{"caption":"red","n":{number},"n":1, "u":"\\u00e9"}}'
    write_foreign(tmp_path / "00000.tar", [("a.jpg", RED), ("a.json", text.encode())])
    assert kept(tmp_path).startswith(text[:-1] + ', "captions": [{"text": "red"')


@pytest.mark.parametrize("number", ["1e400", "0.1000"])
def test_shards_of_the_original_keep_their_values(tmp_path: Path, number: str) -> None:
    from support.foreign import write_foreign

    text = f'{{"key": {number}, "captions-en": ["a"] , "self": [{number}],"similarities-en": 0.5}}'
    write_foreign(tmp_path / "00000.tar", [("a.jpg", RED), ("a.json", text.encode())])
    assert kept(tmp_path).startswith(f'{{"key": {number} , "self": [{number}], "captions": [{{"text": "a"')
