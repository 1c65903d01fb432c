"""Pipes, sockets and devices among photos, as tables, and named by tables: passed over or refused, never waited for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.made import jpeg
from support.packed import pack, said

from capivara_cli.errors import CapivaraError

RED = jpeg((255, 0, 0))


pytestmark = pytest.mark.usefixtures("never_waits")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(RED)
    (folder / "a.txt").write_text("red")
    return folder


@pytest.mark.parametrize("name", ["b.jpg", "b.txt", "a.json", "list.csv", "other"])
def test_a_pipe_among_photos_is_passed_over(photos: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(photos / name)
    found, tally = pack(photos)
    assert [said(sample) for sample in found] == [[("en", "red")]]
    assert (tally.read, dict(tally.dropped)) == (1, {})
    assert tally.notes["pipes, sockets and devices passed over"] == 1
    assert f"{photos / name}: passed over: it is a named pipe, not a file" in capsys.readouterr().err


def test_a_device_among_photos_is_passed_over(photos: Path) -> None:
    (photos / "z.png").symlink_to("/dev/zero")
    found, tally = pack(photos)
    assert len(found) == tally.read == 1


def test_a_pipe_beside_a_photo_that_is_named_is_passed_over(photos: Path) -> None:
    os.mkfifo(photos / "a.json")
    found, _ = pack(photos / "a.jpg")
    assert [said(sample) for sample in found] == [[("en", "red")]]


@pytest.mark.parametrize("name", ["list.csv", "list.jsonl", "captions.json", "x.parquet", "x.tar", "x.jpg", "pipe"])
@pytest.mark.parametrize("form", ["auto", "table"])
def test_a_pipe_as_a_source_is_refused(tmp_path: Path, name: str, form: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(CapivaraError, match=rf"{name}: is a named pipe, not a file"):
        pack(tmp_path / name, format=form)


def test_a_pipe_that_a_table_names_is_dropped_and_counted(photos: Path) -> None:
    os.mkfifo(photos / "b.jpg")
    table = photos / "list.csv"
    table.write_text("image,caption\na.jpg,red\nb.jpg,pipe\n/dev/zero,device\n")
    found, tally = pack(table)
    assert len(found) == 1 and tally.read == 3
    assert tally.dropped == {"is a named pipe, not a file": 1, "is a device, not a file": 1}


def test_a_pipe_among_tars_is_refused(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "tars").mkdir()
    os.mkfifo(tmp_path / "tars" / "0.tar")
    with pytest.raises(CapivaraError, match=r"0\.tar: is a named pipe, not a file"):
        pack(tmp_path / "tars")
