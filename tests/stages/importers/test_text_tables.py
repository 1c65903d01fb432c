"""CSV and TSV files: quoting, delimiters, encodings."""

from __future__ import annotations

from pathlib import Path

import pytest

from capivara_cli.errors import CapivaraError
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings
from capivara_cli.stages.importers._text_tables import rows_of_text


def rows(tmp_path: Path, text: str | bytes, delimiter: str = "") -> tuple[list[object], dict[str, int]]:
    """The cells of each row, or why it is bad; and the notes."""
    path = tmp_path / "list.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    env = Env(Settings(), "pack")
    found = [list(row.values()) if isinstance(row, dict) else row for _, row in rows_of_text(path, delimiter, env)]
    return found, dict(env.tally.notes)


@pytest.mark.parametrize(
    "caption",
    [
        '"stop" sign next to a road',
        'a 5" pipe',
        '"',
        '"half a quote',
        'he said "go"',
        '"Stop"',
        '"a", "b"',
        "it's 6'2\"",
    ],
)
def test_quotes_in_a_tsv_are_characters(tmp_path: Path, caption: str) -> None:
    text = f"image\tcaption\na.jpg\t{caption}\nb.jpg\tblue, and red\n"
    assert rows(tmp_path, text, "\t") == ([["a.jpg", caption], ["b.jpg", "blue, and red"]], {})


@pytest.mark.parametrize(
    ("cell", "caption"),
    [
        ('"he said ""go"""', 'he said "go"'),
        ('"two\nlines"', "two\nlines"),
        ('"a\ttab"', "a\ttab"),
        ('"blue, and red"', "blue, and red"),  # Excel quotes every cell with a comma
    ],
)
def test_a_tsv_that_quotes_as_csv_does_is_unquoted(tmp_path: Path, cell: str, caption: str) -> None:
    text = f"image\tcaption\na.jpg\t{cell}\nb.jpg\tblue\n"
    assert rows(tmp_path, text, "\t") == ([["a.jpg", caption], ["b.jpg", "blue"]], {})
    quoted = f'"image"\t"caption"\n"a.jpg"\t{cell}\n"b.jpg"\t"blue"\n'
    assert rows(tmp_path, quoted, "\t") == ([["a.jpg", caption], ["b.jpg", "blue"]], {})


def test_two_stray_quotes_in_a_tsv_swallow_no_rows(tmp_path: Path) -> None:
    text = 'image\tcaption\na.jpg\t"one\nb.jpg\ttwo\nc.jpg\tthree"\n'
    assert rows(tmp_path, text, "\t")[0] == [["a.jpg", '"one'], ["b.jpg", "two"], ["c.jpg", 'three"']]


def test_quotes_in_a_csv_that_are_not_those_of_csv_stay(tmp_path: Path) -> None:
    text = 'image,caption\na.jpg,"stop" sign\nb.jpg,a 5" pipe\nc.jpg,"a, ""b"""\n'
    assert rows(tmp_path, text)[0] == [["a.jpg", '"stop" sign'], ["b.jpg", 'a 5" pipe'], ["c.jpg", 'a, "b"']]


@pytest.mark.parametrize("first", ["sep=;", '"sep=;"', "SEP=;", "\ufeffsep=;"])
def test_the_separator_line_of_excel(tmp_path: Path, first: str) -> None:
    assert rows(tmp_path, f"{first}\r\nimage;caption\r\na.jpg;one, two\r\n")[0] == [["a.jpg", "one, two"]]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters_are_found(tmp_path: Path, delimiter: str) -> None:
    text = delimiter.join(["image", "caption"]) + "\n" + delimiter.join(["a.jpg", "one"]) + "\n"
    assert rows(tmp_path, text)[0] == [["a.jpg", "one"]]


@pytest.mark.parametrize("text", ["Um pássaro", "naïve café – “été”", "São Tomé, ação", "Ein Äpfel, größer"])
def test_cp1252_is_guessed_and_said(tmp_path: Path, text: str) -> None:
    data = f"image;caption\na.jpg;{text}\nb.jpg;blue\n".encode("cp1252")
    note = {"lines of list.csv read as cp1252, as they are not UTF-8": 1}
    assert rows(tmp_path, data) == ([["a.jpg", text], ["b.jpg", "blue"]], note)


def test_lines_of_two_encodings_are_read_each_in_its_own(tmp_path: Path) -> None:
    data = "image,caption\na.jpg,pássaro\n".encode() + "b.jpg,café\n".encode("latin-1")
    assert rows(tmp_path, data)[0] == [["a.jpg", "pássaro"], ["b.jpg", "café"]]


@pytest.mark.parametrize(
    ("text", "encoding"), [("собака и кот", "cp1251"), ("一只猫在睡觉", "gb18030"), ("σκύλος", "cp1253")]
)
def test_other_encodings_are_not_taken_for_cp1252(tmp_path: Path, text: str, encoding: str) -> None:
    data = b"image,caption\na.jpg," + text.encode(encoding) + b"\nb.jpg,blue\n"
    assert rows(tmp_path, data) == (["not UTF-8", ["b.jpg", "blue"]], {})


def test_a_damaged_line_of_utf_8_is_bad(tmp_path: Path) -> None:
    data = "image,caption\na.jpg,pássaro e gat".encode() + b"\xc3\nb.jpg,blue\n"
    assert rows(tmp_path, data) == (["not UTF-8", ["b.jpg", "blue"]], {})


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
def test_utf_16_and_byte_order_marks(tmp_path: Path, encoding: str) -> None:
    assert rows(tmp_path, "image,caption\na.jpg,नीला\n".encode(encoding))[0] == [["a.jpg", "नीला"]]


def test_a_second_column_of_the_same_name_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("image,caption,caption,Caption\na.jpg,one,two,three\n")
    [(number, row)] = rows_of_text(path, "", Env(Settings(), "pack"))
    assert (number, row) == (2, {"image": "a.jpg", "caption": "one", "caption_2": "two", "Caption_3": "three"})


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(CapivaraError, match=r"list\.csv: cannot be read"):
        list(rows_of_text(tmp_path / "list.csv", "", Env(Settings(), "pack")))


def test_a_space_before_a_quoted_cell_of_a_csv_is_no_text(tmp_path: Path) -> None:
    text = 'image, caption\na.jpg, "a dog, a cat"\nb.jpg, "a ""stop"" sign"\nc.jpg, plain\nd.jpg,a "b"\n'
    assert rows(tmp_path, text)[0] == [
        ["a.jpg", "a dog, a cat"], ["b.jpg", 'a "stop" sign'], ["c.jpg", "plain"], ["d.jpg", 'a "b"'],
    ]  # fmt: skip


def test_a_space_before_a_quote_of_another_table_stays(tmp_path: Path) -> None:
    text = 'image| caption\na.jpg| "Go" he said\nb.jpg| "open\nc.jpg| red\n'
    assert rows(tmp_path, text)[0] == [["a.jpg", ' "Go" he said'], ["b.jpg", ' "open'], ["c.jpg", " red"]]
