"""Pipes, sockets, devices and folders with the names of shards: an error, or a stream, and never an endless wait."""

from __future__ import annotations

import io
import os
import socket
import threading
from contextlib import closing
from pathlib import Path

import pytest
from support.made import shard_bytes, toy_like

from capivara_cli.cli.parameters import parse_plan
from capivara_cli.errors import CapivaraError
from capivara_cli.pipeline import engine
from capivara_cli.pipeline.options import Settings
from capivara_cli.shards import archive
from capivara_cli.shards.inputs import find_shards
from capivara_cli.shards.manifest import is_output_folder

DATA = shard_bytes(toy_like(3))


pytestmark = pytest.mark.usefixtures("never_waits")


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "00000.tar").write_bytes(DATA)
    return tmp_path / "shards"


@pytest.mark.parametrize("name", ["00003.tar", "00003.tar.gz", "a.tgz"])
@pytest.mark.parametrize("pattern", ["", "/*.t*"])
def test_a_pipe_among_the_shards_is_refused(shards: Path, name: str, pattern: str) -> None:
    os.mkfifo(shards / name)
    with pytest.raises(CapivaraError, match=rf"shards/{name}: is a named pipe, not a file") as caught:
        find_shards([f"{shards}{pattern}"])
    assert caught.value.hint == f"remove it, or name it alone to read it as a stream: {shards / name}"


def test_a_link_to_a_pipe_among_the_shards_is_refused(shards: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (shards / "00001.tar").symlink_to(tmp_path / "pipe")
    with pytest.raises(CapivaraError, match=r"shards/00001\.tar: is a named pipe, not a file"):
        find_shards([str(shards)])


def test_a_socket_is_refused_in_a_folder_and_by_name(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shards)  # the path of a socket may have few characters
    with closing(socket.socket(socket.AF_UNIX)) as made:
        made.bind("00001.tar")
        for named in (".", "00001.tar", "*.tar"):
            with pytest.raises(CapivaraError, match=r"00001\.tar: is a socket, not a file"):
                find_shards([named])


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/tty"])
def test_a_device_is_refused(device: str, shards: Path) -> None:
    if not Path(device).exists():
        pytest.skip("there is no such device")
    with pytest.raises(CapivaraError, match=rf"{device}: is a device, not a file"):
        find_shards([device])
    (shards / "00001.tar").symlink_to(device)
    with pytest.raises(CapivaraError, match=r"shards/00001\.tar: is a device, not a file"):
        find_shards([str(shards)])


def test_a_folder_with_the_name_of_a_shard_is_refused(shards: Path) -> None:
    (shards / "00001.tar").mkdir()
    with pytest.raises(CapivaraError, match=r"00001\.tar: is a folder with the name of a shard"):
        find_shards([str(shards)])


@pytest.mark.parametrize("name", ["pipe", "pipe.tar", "pipe.json"])
def test_a_pipe_that_is_named_itself_is_read_as_a_stream(name: str, tmp_path: Path) -> None:
    pipe = tmp_path / name
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(DATA), daemon=True)
    writer.start()
    out = io.BytesIO()
    report = engine.run(parse_plan("split --fraction 0"), [str(pipe)], Settings(quiet=True, energy=False), out)
    writer.join(60)
    assert report.summary()["written"] == 3


def test_a_descriptor_is_read_as_a_stream() -> None:
    """As bash gives it for ``<(cat a.tar)``."""
    reading, writing = os.pipe()
    with open(writing, "wb") as file:
        file.write(DATA)
    out = io.BytesIO()
    plan = parse_plan("split --fraction 0")
    report = engine.run(plan, [f"/dev/fd/{reading}"], Settings(quiet=True, energy=False), out)
    os.close(reading)
    assert report.summary()["written"] == 3


def test_a_pipe_without_a_writer_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "_SILENT_SECONDS", 0.0)
    pipe = tmp_path / "a.tar"
    os.mkfifo(pipe)
    said, lines = threading.Event(), list[str]()

    def say(text: str) -> None:
        lines.append(text)
        said.set()

    def write() -> None:
        said.wait(60)
        pipe.write_bytes(DATA)

    monkeypatch.setattr(archive.console, "say", say)
    threading.Thread(target=write, daemon=True).start()
    with archive.open_shard(str(pipe)) as reader:
        assert len(list(reader)) == 3
    assert lines == [f"{pipe}: waiting for a command that writes to this pipe"]


def test_a_pipe_named_like_a_manifest_makes_no_output_folder(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "manifest.jsonl")
    assert not is_output_folder(tmp_path)
