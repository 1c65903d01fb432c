"""After Ctrl-C, SIGTERM and a full disk, the message says what is stored, and promises nothing that is not."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pytest
from support.made import shard_bytes
from support.made_stages import UniqueOptions, small, unique

from capivara_cli.cli import parameters
from capivara_cli.cli.app import guarded
from capivara_cli.cli.perform import Performer
from capivara_cli.errors import CapivaraError, Terminated, UsageError, resumable
from capivara_cli.pipeline import engine
from capivara_cli.pipeline.batches import map_batched
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings, opt
from capivara_cli.pipeline.stage import Step, stage
from capivara_cli.shards.archive import Stream
from capivara_cli.shards.inputs import find_shards

CTRL_C, SIGTERM, FULL = KeyboardInterrupt(), Terminated(), OSError(errno.ENOSPC, "No space left on device")
HEADS = {KeyboardInterrupt: "capivara: interrupted", Terminated: "capivara: terminated"}
RESUME = "run the same command again to resume"


@dataclass(frozen=True)
class StopOptions:
    at: str = opt("", "the key of the sample at which it stops", tuning=True)


def stopping(at: str, stop: BaseException) -> Step:
    """A stage with batches of 2 samples, which stops at a sample."""

    @stage("stopping", StopOptions)
    def stopping(samples: Stream, options: StopOptions, env: Env) -> Stream:
        def process(keys: list[str]) -> list[str]:
            if options.at in keys:
                raise type(stop)(*stop.args)
            return keys

        for sample, key in map_batched(samples, lambda sample: sample.key, process, size=2, env=env, keep=True):
            yield sample.with_document(seen=key)

    return Step(stopping, StopOptions(at))


def message(work: Callable[[], object], capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The lines that a command prints when this work stops."""
    capsys.readouterr()
    guarded(work)
    return capsys.readouterr().err.splitlines()


def run(steps: list[Step], *inputs: Path | str, out: Path | None = None, data: BinaryIO | None = None) -> None:
    settings = Settings(out=str(out or ""), quiet=True, energy=False)
    engine.run(steps, [str(each) for each in inputs], settings, data)


@pytest.fixture
def three(shards: Callable[..., Path]) -> Path:
    """Three shards of four samples."""
    return shards(small(4), small(4, 4), small(4, 8))


@pytest.mark.parametrize("stop", [CTRL_C, SIGTERM])
@pytest.mark.parametrize(
    ("at", "stored"),
    [
        ("00000", ""),
        ("00002", "finished batches are stored"),
        ("00004", "1 of 3 shards are finished"),
        ("00011", "2 of 3 shards are finished"),
    ],
)
def test_a_folder_says_what_it_has(
    at: str, stored: str, stop: BaseException, three: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    said = message(lambda: run([stopping(at, stop)], three, out=out), capsys)
    assert said == [HEADS[type(stop)], *([f"  {out}: {stored}; {RESUME}"] if stored else [])]
    with pytest.raises(CapivaraError) as unfinished:
        find_shards([str(out)])
    assert ("it resumes" in unfinished.value.hint) == ("shards" in stored)


def test_a_full_disk_says_what_is_stored_below_the_advice(
    three: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for at, stored in (("00000", []), ("00006", [f"  {tmp_path / '00006'}: 1 of 3 shards are finished; {RESUME}"])):
        said = message(lambda at=at: run([stopping(at, FULL)], three, out=tmp_path / at), capsys)  # type: ignore[misc]
        assert said[0].endswith("No space left on device")
        assert said[1:] == ["  free some space and run the same command again", *stored]


def test_the_passes_of_a_corpus_stage_are_stored(
    three: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps, out = [stopping("00004", CTRL_C), Step(unique, UniqueOptions())], tmp_path / "out"
    assert message(lambda: run(steps, three, out=out), capsys)[1:] == [
        f"  {out}: finished batches are stored; {RESUME}"
    ]


def test_a_stream_promises_nothing(three: Path, capsys: pytest.CaptureFixture[str]) -> None:
    step = stopping("00006", CTRL_C)
    assert message(lambda: run([step], three, data=io.BytesIO()), capsys) == ["capivara: interrupted"]


def test_a_stream_into_a_folder_starts_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from capivara_cli.pipeline import stream

    monkeypatch.setattr(stream, "SHARD_SIZE", 2)
    (tmp_path / "pipe.tar").write_bytes(shard_bytes(small(8)))
    before = os.dup(0)
    with open(tmp_path / "pipe.tar", "rb") as file:
        os.dup2(file.fileno(), 0)
        said = message(lambda: run([stopping("00006", CTRL_C)], "-", out=tmp_path / "out"), capsys)
    os.dup2(before, 0)
    os.close(before)
    assert said == ["capivara: interrupted"]
    with pytest.raises(CapivaraError, match="unfinished: 2 of an unknown number") as unfinished:
        find_shards([str(tmp_path / "out")])
    assert unfinished.value.hint == "run the command that makes it again (stopping)"


def test_the_commands_of_a_script_that_are_finished_are_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    performer, settings = Performer(), Settings(quiet=True)

    def perform(invocation: object) -> dict[str, object]:
        if performer._last == "split":
            raise KeyboardInterrupt
        return {}

    monkeypatch.setattr(performer, "perform", perform)

    def lines() -> None:
        performer.line(["split", "a"], settings)
        performer.line(["dedupe", "b"], settings)

    said = message(lines, capsys)
    assert said[-2:] == ["capivara: interrupted", f"  the commands up to 'split' are finished; {RESUME}"]
    performer._last = ""
    monkeypatch.setattr(performer, "perform", lambda invocation: (_ for _ in ()).throw(Terminated()))
    assert message(lambda: performer.line(["split", "a"], settings), capsys)[-1] == "capivara: terminated"


@pytest.mark.parametrize("stop", [KeyboardInterrupt, EOFError, Terminated])
def test_a_stop_while_a_line_of_a_script_is_parsed_is_no_bug(stop: type[BaseException]) -> None:
    """Typer returns an exit code or raises ``Abort``, by its version, where the command line is not the program's."""

    @dataclass(frozen=True)
    class Options:
        n: int = opt(1, "a number")

        def __post_init__(self) -> None:
            raise stop

    with pytest.raises(Terminated if stop is Terminated else KeyboardInterrupt):
        parameters._parse(["split"], Options, (), argument=None)


def test_of_nested_works_the_innermost_that_stored_something_counts() -> None:
    from capivara_cli.errors import stored_before

    for inner, said in (("inner", "inner; " + RESUME), ("", "outer; " + RESUME)):
        with pytest.raises(KeyboardInterrupt) as stop, resumable(lambda: "outer"), resumable(lambda i=inner: i):  # type: ignore[misc]
            raise KeyboardInterrupt
        assert stored_before(stop.value) == said
    assert stored_before(KeyboardInterrupt()) == ""


def test_other_errors_keep_their_own_hint(capsys: pytest.CaptureFixture[str]) -> None:
    def wrong() -> None:
        with resumable(lambda: "out: 1 of 3 shards are finished"):
            raise UsageError("--n 0: must be at least 1", "--n 1")

    assert message(wrong, capsys) == ["capivara: --n 0: must be at least 1", "  --n 1"]
