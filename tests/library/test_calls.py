"""A call of the library is quiet, leaves standard output alone, and leaves the process as it was."""

from __future__ import annotations

import atexit
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import capivara_cli as capivara
from capivara_cli import console
from capivara_cli.costs.flops import COUNTED
from capivara_cli.library._calls import call, in_keywords


def state() -> dict[str, Any]:
    """What a call could change in the process."""
    from torch.nn.modules import module

    return {
        "quiet": console.STREAMS.quiet,
        "stdout": Path("/proc/self/fd/1").readlink(),
        "data": console.STREAMS.data,
        "signals": [signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)],
        "environment": {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"},
        "folder": Path.cwd(),
        "hooks": list(module._global_forward_hooks),
        "threads": {each.name for each in threading.enumerate() if each.name.startswith("capivara")},
    }


@pytest.fixture
def unchanged(here: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Libraries that are imported meanwhile may register functions for the exit, capivara may not."""
    import torch  # noqa: F401

    registered: list[str] = []

    def register(function: Any, *arguments: Any, **named: Any) -> Any:
        registered.append(str(getattr(function, "__module__", "")))
        return original(function, *arguments, **named)

    original = atexit.register
    monkeypatch.setattr(atexit, "register", register)
    COUNTED.unwatch()
    before = state()
    yield
    assert state() == before
    assert not [each for each in registered if each.startswith("capivara_cli")]


@pytest.mark.usefixtures("unchanged")
def test_calls_print_nothing_and_leave_the_process_as_it_was(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = capivara.load("toy")
    model.score(capivara.read("shards"), ["a red square"])
    capivara.write(capivara.filter("shards", model="toy", quantile=0.1), "ready")
    capivara.search("a red square", "ready", model="toy")
    capivara.footprint("ready")
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("kind", ["iterating", "writing", "searching", "loading", "stopping early"])
def test_nothing_is_left_behind_after_an_error(kind: str, here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (here / "shards" / "00001.tar").write_bytes(b"no tar")
    pipeline = capivara.filter("shards", model="toy", batch_size=2)
    uses: dict[str, Any] = {
        "iterating": lambda: list(pipeline),
        "writing": lambda: capivara.write(pipeline, "out"),
        "searching": lambda: capivara.search("red", "shards", model="toy"),
        "loading": lambda: capivara.load("local-dir:nowhere"),
        "stopping early": lambda: capivara.evaluate(next(iter(pipeline)).key),
    }
    with pytest.raises(capivara.CapivaraError):
        uses[kind]()
    uses.clear()
    assert capfd.readouterr() == ("", "")


def test_progress_is_shown_on_standard_error(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    capivara.write(capivara.split("shards"), "out", energy=False, progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    assert "capivara split: read 6, wrote " in err


def test_calls_in_several_threads_end_as_quiet_as_they_began(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Also if a call with progress runs between them, and one fails."""
    one, other = threading.Event(), threading.Event()
    found: list[Any] = []

    def first() -> None:
        with call():
            one.set()
            other.wait(60)

    def second() -> None:
        one.wait(60)
        with call(), pytest.raises(capivara.CapivaraError):
            other.set()
            threads[0].join()
            found.append([each.key for each in capivara.split("shards", part="train")])
            capivara.read("nowhere")

    threads = [threading.Thread(target=each) for each in (first, second)]
    before = console.STREAMS.quiet
    for each in threads:
        each.start()
    for each in threads:
        each.join(120)
    assert found == [[each.key for each in capivara.split("shards", part="train")]]
    assert console.STREAMS.quiet is before
    console.say("still here")
    assert capfd.readouterr() == ("", "still here\n")


def test_the_code_of_the_program_between_two_samples_is_in_no_call(here: Path) -> None:
    before = console.STREAMS.quiet
    for _ in capivara.dedupe("shards"):
        assert console.STREAMS.quiet is before


def test_importing_the_library_changes_nothing() -> None:
    """Neither the environment nor signals, and nothing heavy is imported before it is used."""
    code = """
import atexit, os, signal, sys
before = dict(os.environ), signal.getsignal(signal.SIGTERM)
import capivara_cli as capivara
print(sorted(each for each in sys.modules if each.startswith("capivara_cli")))
for name in dir(capivara):
    getattr(capivara, name)
assert before == (dict(os.environ), signal.getsignal(signal.SIGTERM))
print(*sys.modules)
space = {}
exec("from capivara_cli import *", space)
print("filter" in space)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    first, modules, star = done.stdout.splitlines()
    assert first == "['capivara_cli']"
    heavy = {"torch", "numpy", "PIL", "transformers", "open_clip", "webdataset", "codecarbon", "rich", "pydantic"}
    assert heavy & set(modules.split()) == set()
    assert star == "False", "filter of Python would be hidden"
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("--lang: unknown", "lang: unknown"),
        ("give --out, or --from en", "give folder, or from_ en"),
        ("capivara train shards --lang pt", "capivara train shards --lang pt"),
        ("--language and x--lang and --lang-x", "--language and x--lang and --lang-x"),
        ("", ""),
    ],
)
def test_messages_have_keywords_in_place_of_flags(text: str, expected: str) -> None:
    assert in_keywords(text, {"--lang": "lang", "--out": "folder", "--from": "from_"}) == expected
