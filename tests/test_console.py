"""Progress: totals, rates and time left, and where it is printed."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.made import toy_like

from capivara_cli import console, terminal
from capivara_cli.pipeline import engine
from capivara_cli.pipeline.options import Settings
from capivara_cli.pipeline.source import Source
from capivara_cli.pipeline.stage import Step
from capivara_cli.shards.counts import total_of
from capivara_cli.stages import dedupe, split


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the time that progress sees, in seconds."""
    monkeypatch.setattr(console.STREAMS, "quiet", False)
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return lambda seconds: now.__setitem__(0, 1000.0 + seconds)


@pytest.mark.parametrize(
    ("total", "says"),
    [
        (None, "caption: 31, 2.0/s\n"),
        (0, "caption: 31, 2.0/s\n"),
        (1231, "caption: 31/1,231, 2.0/s, 10 min 00 s left\n"),
        (lambda: 51, "caption: 31/51, 2.0/s, 10.0 s left\n"),
        (lambda: None, "caption: 31, 2.0/s\n"),
        (20, "caption: 31/20, 2.0/s, 0.0 s left\n"),  # more than expected
    ],
)
def test_a_line_has_count_total_rate_and_time_left(
    total: console.Total, says: str, clock: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    bar = console.Progress("caption", total)
    clock(5)  # the model was loaded: that is no part of the rate
    bar.advance()
    assert capsys.readouterr().err == ""
    clock(20)
    bar.advance(30)
    bar.advance()  # not again before ten seconds have passed
    bar.close()
    assert capsys.readouterr().err == says


def test_before_the_first_sample_there_is_no_rate(
    clock: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    bar = console.Progress("caption", 100)
    clock(75)
    bar.advance(0)
    assert capsys.readouterr().err == "caption: 0/100, 1 min 15 s\n"


def test_an_unknown_total_is_estimated_from_the_shards_that_are_done(
    clock: Callable[[float], None], capsys: pytest.CaptureFixture[str]
) -> None:
    bar = console.Progress("caption")
    bar.advance(100)
    bar.estimate(1, 5)
    assert bar.total == 500
    clock(20)
    bar.advance(20)
    bar.estimate(2, 5)
    clock(40)
    bar.advance(30)
    known = console.Progress("caption", 7)
    known.estimate(1, 5)
    assert known.total == 7
    assert (
        capsys.readouterr().err
        == "caption: 120/~500, 1.0/s, 6 min 20 s left\ncaption: 150/~300, 1.2/s, 2 min 00 s left\n"
    )


def test_the_total_of_shards_is_that_of_their_manifests(shards: Callable[..., Path], tmp_path: Path) -> None:
    folder = shards(toy_like(5), toy_like(3, 5))
    every = [str(path) for path in sorted(folder.glob("*.tar"))]
    assert total_of(every) is None  # another program made them
    out = tmp_path / "out"
    engine.run(
        [Step(split.split, split.Options(fraction=0.0))], [str(folder)], Settings(out=str(out), energy=False), None
    )
    made = [str(path) for path in sorted(out.glob("*.tar"))]
    assert total_of(made) == 8 and total_of(made[1:]) == 3
    assert Source([str(out)], None).total() == 8  # type: ignore[arg-type]
    assert total_of([*made, *every]) is None and total_of([]) is None
    assert total_of([*made, "http://localhost:1/00000.tar"]) is None  # a server is not asked
    Path(made[0]).write_bytes(b"another size")
    assert total_of(made) is None
    (out / "manifest.jsonl").write_text("garbage")
    assert total_of(made) is None


@pytest.mark.parametrize(
    ("plan", "read"),
    [
        ([Step(split.split, split.Options(fraction=0.0))], 6),
        ([Step(dedupe.dedupe, dedupe.Options(images="exact"))], 12),  # surveyed, then written
        ([Step(split.split, split.Options(fraction=0.0)), Step(dedupe.dedupe, dedupe.Options(images="exact"))], 18),
    ],
    ids=["one pass", "two passes", "three passes"],
)
def test_a_folder_counts_what_is_read_in_all_passes_up_to_the_total(
    plan: list[Step], read: int, shards: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, packed = shards(toy_like(4), toy_like(2, 4)), tmp_path / "packed"
    first = Step(split.split, split.Options(fraction=0.0))
    engine.run([first], [str(folder)], Settings(out=str(packed), energy=False), None)
    seen: list[console.Progress] = []

    class Noted(console.Progress):
        def __init__(self, what: str, total: console.Total = None) -> None:
            super().__init__(what, total)
            seen.append(self)

    monkeypatch.setattr(console, "Progress", Noted)
    engine.run(plan, [str(packed)], Settings(out=str(tmp_path / "out"), energy=False), None)
    assert [(each.done, each.total) for each in seen] == [(read, read)]


def test_nothing_is_drawn_into_a_pipe_or_a_file(
    clock: Callable[[float], None], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(terminal, "draw", lambda *_: pytest.fail("drawn"))
    bar = console.Progress("caption", 3)
    bar.show()
    bar.close()
    assert capsys.readouterr().err == ""


def test_a_message_of_a_worker_is_a_warning_here_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Workers send their messages as text, and ``--quiet`` hides warnings and their advice."""
    monkeypatch.setattr(console.STREAMS, "quiet", False)
    console.say("warning: a")
    console.warn("b", "c\nd")
    console.be_quiet(True)
    console.warn("e", "f")
    assert capsys.readouterr().err == "warning: a\nwarning: b\n  c\n  d\n"
