"""The order of durable writes: the bytes are on the disk before the name is, and only what is dead is removed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from capivara_cli.storage import files
from capivara_cli.storage.files import partial_path, replace_text, replacing, sweep


class Disk:
    """Records the calls that make a file durable, with how many bytes each file had then."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[tuple[str, int]] = []
        sync, rename = os.fsync, Path.replace

        def fsync(handle: int) -> None:
            self.events.append(("sync", os.fstat(handle).st_size))
            sync(handle)

        def replace(path: Path, target: Path) -> Path:
            self.events.append(("rename", path.stat().st_size))
            return rename(path, target)

        monkeypatch.setattr(os, "fsync", fsync)
        monkeypatch.setattr(Path, "replace", replace)


@pytest.mark.parametrize("size", [0, 10, 3 << 20])
@pytest.mark.parametrize("exists", [True, False])
def test_a_file_is_synced_whole_before_it_gets_its_name(
    size: int, exists: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.tar"
    if exists:
        path.write_bytes(b"old")
    disk = Disk(monkeypatch)
    with replacing(path) as out:
        out.write(bytes(size))
        assert (path.read_bytes() == b"old") if exists else not path.exists()
    assert disk.events == [("sync", size), ("rename", size)]
    replace_text(tmp_path / "a.txt", "ã")
    assert disk.events[2:] == [("sync", 2), ("rename", 2)]


def test_a_file_that_cannot_be_synced_does_not_get_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(handle: int) -> None:
        raise OSError(5, "Input/output error")

    (tmp_path / "a.tar").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", fails)
    with pytest.raises(OSError, match="Input/output"), replacing(tmp_path / "a.tar") as out:
        out.write(b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["a.tar"]
    assert (tmp_path / "a.tar").read_bytes() == b"old"


def dead_process() -> int:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    return done.pid


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_only_what_dead_processes_of_this_machine_left_is_removed(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_host", lambda: "here")
    dead, living = dead_process(), os.getppid()
    names = {
        f".a.tar.partial-here-{dead}-0a1b2c": False,
        f".a.tar.partial-here-{living}-0a1b2c": True,
        f".a.tar.partial-here-{os.getpid()}-0a1b2c": True,
        f".a.tar.partial-there-{dead}-0a1b2c": True,
        f".a.tar.partial-there-{living}-0a1b2c": True,
        f".a.tar.partial-here-2-{dead}-0a1b2c": True,
        f"a.tar.partial-here-{dead}-0a1b2c": True,
    }
    del names[f".a.tar.partial-here-2-{dead}-0a1b2c"]  # the host "here-2" cannot be told from "here"
    for name in names:
        (tmp_path / name).mkdir() if kind == "folder" else (tmp_path / name).write_bytes(b"x")
    sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {name for name, stays in names.items() if stays}


def test_the_name_of_a_partial_file_says_who_writes_it(tmp_path: Path) -> None:
    partial = partial_path(tmp_path / "a.tar")
    assert partial.name.startswith(f".a.tar.partial-{os.uname().nodename}-{os.getpid()}-")
    assert partial != partial_path(tmp_path / "a.tar")
