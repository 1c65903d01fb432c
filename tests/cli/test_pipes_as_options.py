"""Options that name a file to read do not take a pipe, a socket or a device."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from reliability.running import run
from support.made import shard_bytes, toy_like


@pytest.fixture(autouse=True)
def never_waits() -> Iterator[None]:
    """Reading a pipe that nobody writes to would wait for ever: an alarm ends the test."""
    signal.alarm(100)
    yield
    signal.alarm(0)


@pytest.mark.parametrize(
    ("words", "flag"),
    [
        (["rewrite", "in.tar", "--rewriter", "eda", "--synonyms", "pipe"], "--synonyms"),
        (["caption", "in.tar", "--captioner", "toy", "--prefixes", "pipe"], "--prefixes"),
        (["translate", "in.tar", "--lang", "pt", "--translator", "argos", "--package", "pipe"], "--package"),
        (["filter", "in.tar", "--model", "local-dir:pipe"], "--model"),
        (["dedupe", "in.tar", "--against", "other,pipe"], "--against"),
        (["run", "rewrite --rewriter eda --synonyms pipe", "in.tar"], "--synonyms"),
    ],
)
def test_a_pipe_as_an_option_is_refused(tmp_path: Path, words: list[str], flag: str) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "in.tar").write_bytes(shard_bytes(toy_like(1)))
    os.mkfifo(folder / "pipe")
    ran = run([*words, "--out", "out"], folder)
    assert ran.said == f"capivara: {flag} pipe: is a named pipe, not a file\n  write it to a file first\n"
    assert ran.code == 2
    assert not (folder / "out").exists()


def test_the_null_device_is_an_empty_file(tmp_path: Path) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "in.tar").write_bytes(shard_bytes(toy_like(1)))
    ran = run(["caption", "in.tar", "--captioner", "toy", "--prefixes", os.devnull, "--out", "out"], folder)
    assert "is a device" not in ran.said
