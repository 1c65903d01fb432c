"""Files appear complete, and what is no file stays what it is."""

from __future__ import annotations

import os
import stat
import tempfile
import threading
from pathlib import Path

import pytest

from capivara_cli.storage.files import is_device, replace_text


def test_a_named_pipe_gets_the_text_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    replace_text(pipe, "é\n")
    reader.join()
    assert got == ["é\n".encode()] and stat.S_ISFIFO(pipe.stat().st_mode)
    assert [*tmp_path.iterdir()] == [pipe]


def test_a_link_to_a_device_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "null").symlink_to("/dev/null")
    replace_text(tmp_path / "null", "text")
    assert (tmp_path / "null").is_symlink() and Path("/dev/null").is_char_device()


@pytest.mark.parametrize("name", ["/dev/null", "/dev/stderr", "/dev/fd/2", "/proc/self/fd/2", "/dev/stdout"])
def test_streams_by_their_names_are_devices_also_where_they_lead_to_a_file(name: str) -> None:
    assert is_device(Path(name))


def test_files_folders_and_new_names_are_no_devices(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("before")
    shared = Path("/dev/shm")
    if os.access(shared, os.W_OK):
        with tempfile.NamedTemporaryFile(dir=shared) as file:
            assert not is_device(Path(file.name))
    assert not any(map(is_device, (tmp_path, tmp_path / "file", tmp_path / "new", Path("/dev"), Path("/"))))
    replace_text(tmp_path / "file", "after")
    assert (tmp_path / "file").read_text() == "after"
