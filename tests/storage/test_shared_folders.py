"""Folders that several processes use: made by one of them, made again if they are damaged."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from capivara_cli.errors import CapivaraError
from capivara_cli.storage.arrays import DamagedArrays
from capivara_cli.storage.checksums import DamagedFile, read_checked, with_checksum, without_checksum, write_checked
from capivara_cli.storage.shared_folders import opened_or_made


def opened(folder: Path) -> str:
    text = (folder / "text").read_text()
    if text != "right":
        raise DamagedArrays("text")
    return text


def make(folder: Path) -> None:
    (folder / "text").write_text("right")


def test_a_damaged_folder_is_said_once_and_made_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = tmp_path / "made"
    assert opened_or_made(place, opened, make) == "right"
    assert "damaged" not in capsys.readouterr().err
    (place / "text").write_text("wrong")
    assert opened_or_made(place, opened, make) == "right"
    assert capsys.readouterr().err.count("damaged (text), so it is made again") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_a_folder_that_is_damaged_while_it_is_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CapivaraError, match=r"made: damaged while it was written \(text\)"):
        opened_or_made(tmp_path / "made", opened, lambda folder: (folder / "text").write_text("wrong") and None)


def test_an_error_of_the_maker_leaves_nothing_and_the_next_one_can_make_it(tmp_path: Path) -> None:
    def failing(folder: Path) -> None:
        (folder / "text").write_text("half")
        raise CapivaraError("the disk is full")

    with pytest.raises(CapivaraError, match="the disk is full"):
        opened_or_made(tmp_path / "made", opened, failing)
    assert list(tmp_path.iterdir()) == []
    assert opened_or_made(tmp_path / "made", opened, make) == "right"


def test_of_several_at_once_one_makes_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begun, made, found = threading.Event(), [], []

    def slowly(folder: Path) -> None:
        made.append(folder)
        begun.set()
        while "waiting for its end" not in capsys.readouterr().err:
            time.sleep(0.01)
        make(folder)

    def other() -> None:
        begun.wait()
        found.append(opened_or_made(tmp_path / "made", opened, slowly))

    thread = threading.Thread(target=other)
    thread.start()
    found.append(opened_or_made(tmp_path / "made", opened, slowly))
    thread.join()
    assert (found, len(made)) == (["right", "right"], 1)
    assert [path.name for path in tmp_path.iterdir()] == ["made"]


def test_a_document_is_read_only_as_it_was_written() -> None:
    document = {"b": [1, 2.5, None], "a": {"x": "ç"}}
    written = with_checksum(document)
    assert list(written) == ["b", "a", "checksum"]
    assert without_checksum(written) == document
    assert without_checksum(dict(reversed(written.items()))) == document
    assert without_checksum(document) == document  # edited on purpose
    for altered in ({**written, "b": [1, 2.5]}, {**written, "c": 1}, {**written, "checksum": None}):
        with pytest.raises(ValueError, match="'checksum' is not that of its content"):
            without_checksum(altered)


def test_a_file_is_read_only_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"", b"x", b"some content"):
        with open(path, "wb") as out:
            write_checked(out, content)
        assert read_checked(path) == content
    data = path.read_bytes()
    for place in range(len(data)):
        path.write_bytes(data[:place])
        with pytest.raises(DamagedFile):
            read_checked(path)
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(DamagedFile):
            read_checked(path)
    path.write_bytes(data + b"x")
    with pytest.raises(DamagedFile):
        read_checked(path)
