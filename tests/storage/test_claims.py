"""Claims: SIGTERM at any moment leaves none behind, and none is waited for without end or without a word."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from types import FrameType

import pytest

from capivara_cli.errors import CapivaraError
from capivara_cli.pipeline.output_folder import exclusive
from capivara_cli.shards.manifest import MANIFEST
from capivara_cli.storage import claims
from capivara_cli.storage.claims import Claims
from capivara_cli.storage.found_claims import STALE, claim_path
from capivara_cli.storage.holders import Holder, host, is_stopped, machine, start_time


class Terminated(BaseException):
    pass


@pytest.fixture(autouse=True)
def sigterm_raises() -> Iterator[None]:
    def terminate(number: int, frame: FrameType | None) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    yield
    assert signal.signal(signal.SIGTERM, before) is terminate


def interrupted(function: Callable[..., object], after: bool = False) -> Callable[..., object]:
    """The function, with a SIGTERM that arrives before it does its work, or after."""

    def interrupt(*arguments: object, **options: object) -> object:
        if not after:
            os.kill(os.getpid(), signal.SIGTERM)
        result = function(*arguments, **options)
        if after:
            os.kill(os.getpid(), signal.SIGTERM)
        return result

    return interrupt


def test_a_signal_does_not_interrupt_a_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Claims(tmp_path)
    claim = own.take("a.tar")
    assert claim is not None
    monkeypatch.setattr(Path, "unlink", interrupted(Path.unlink))
    with pytest.raises(Terminated):
        claim.release()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("function", ["os.open", "_create"])
def test_a_claim_taken_when_a_signal_arrives_is_released_by_close(
    function: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, name = (os, "open") if function == "os.open" else (claims, function)
    own = Claims(tmp_path)
    monkeypatch.setattr(module, name, interrupted(getattr(module, name), after=True))
    with pytest.raises(Terminated):
        own.take("a.tar")
    monkeypatch.undo()
    own.close()
    assert list(tmp_path.iterdir()) == []


def test_a_signal_in_the_block_releases_the_claim(tmp_path: Path) -> None:
    own = Claims(tmp_path)
    with pytest.raises(Terminated), own.waiting("a.tar"):
        os.kill(os.getpid(), signal.SIGTERM)
    assert list(tmp_path.iterdir()) == []


def test_claims_of_another_thread(tmp_path: Path) -> None:
    """Only the main thread can set handlers, and only the main thread runs them."""
    own = Claims(tmp_path)

    def work() -> bool:
        with own.waiting("a.tar") as claim:
            return claim is not None and claim.held()

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(work).result()
    assert list(tmp_path.iterdir()) == []


def test_close_leaves_what_was_handed_over_or_taken_over(tmp_path: Path) -> None:
    own = Claims(tmp_path)
    handed_over, lost = own.take("a.tar"), own.take("b.tar")
    assert handed_over is not None and lost is not None
    handed_over.handed_over = True
    lost.path.write_bytes(b"of another process")
    own.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a.tar.claim", ".b.tar.claim"]
    handed_over.release()
    handed_over.release()
    assert [path.name for path in tmp_path.iterdir()] == [".b.tar.claim"]


# Claims that are not let go


class Clock:
    """A clock that moves only when somebody pauses. ``at`` are things that happen at a time."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.at: list[tuple[float, Callable[[], object]]] = []

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.now += seconds
        due = [happen for time, happen in self.at if time <= self.now]
        self.at = [(time, happen) for time, happen in self.at if time > self.now]
        for happen in due:
            happen()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def held_elsewhere(folder: Path, seconds_ahead: float, name: str = "a.tar") -> Path:
    """A claim of a process on another machine, whose time is that many seconds in the future."""
    path = claim_path(folder / name)
    other = Holder("far", "another machine", 7, "1", time.time() + seconds_ahead, "capivara caption in.tar", "token")
    path.write_text(json.dumps(asdict(other)))
    update(path, seconds_ahead)
    return path


def update(path: Path, seconds_ahead: float) -> None:
    os.utime(path, (time.time() + seconds_ahead,) * 2)


@pytest.mark.parametrize("ahead", [3600.0, 11.0, 10.0**9])
def test_a_claim_dated_in_the_future_is_taken_over_when_it_stays_as_it_is(
    tmp_path: Path, clock: Clock, ahead: float
) -> None:
    held_elsewhere(tmp_path, ahead)
    own = Claims(tmp_path, clock=clock, pause=clock.pause)
    with own.waiting("a.tar") as claim:
        assert claim is not None and claim.held()
    assert STALE < clock.now - 1000 < STALE + 2


@pytest.mark.parametrize("steps", [[50.0, 100.0, 150.0], [89.0]])
def test_a_claim_dated_in_the_future_of_a_process_that_is_alive_is_waited_for(
    tmp_path: Path, clock: Clock, steps: list[float]
) -> None:
    path = held_elsewhere(tmp_path, 3600)
    clock.at = [(1000 + step, lambda step=step: update(path, 3600 + step)) for step in steps]
    own = Claims(tmp_path, clock=clock, pause=clock.pause)
    with own.waiting("a.tar") as claim:
        assert claim is not None
    assert steps[-1] + STALE < clock.now - 1000 < steps[-1] + STALE + 3


def test_shards_with_claims_dated_in_the_future_are_taken_over(tmp_path: Path, clock: Clock) -> None:
    """A process that fills a folder asks for each shard now and then, and does not wait for one of them."""
    held_elsewhere(tmp_path, 3600)
    own = Claims(tmp_path, clock=clock)
    assert own.take("a.tar") is None
    clock.now += STALE
    assert own.take("a.tar") is None
    clock.now += 0.1
    assert own.take("a.tar") is not None


def test_an_unreadable_claim_dated_in_the_future_is_taken_over(tmp_path: Path, clock: Clock) -> None:
    path = held_elsewhere(tmp_path, 3600)
    path.write_bytes(b"")
    update(path, 3600)
    own = Claims(tmp_path, clock=clock, pause=clock.pause)
    with own.waiting("a.tar") as claim:
        assert claim is not None
    assert 5 < clock.now - 1000 < 7


def test_who_does_not_want_to_wait_still_finds_out_whether_a_claim_dated_in_the_future_is_alive(
    tmp_path: Path, clock: Clock
) -> None:
    path = held_elsewhere(tmp_path, 3600)
    own = Claims(tmp_path, clock=clock, pause=clock.pause)
    with own.waiting("a.tar", patience=0) as claim:
        assert claim is not None
    held_elsewhere(tmp_path, 3600)
    clock.at = [(clock.now + 10, lambda: update(path, 3610))]
    before = clock.now
    with own.waiting("a.tar", patience=0) as claim:
        assert claim is None
    assert 10 <= clock.now - before < 12


def test_a_fresh_claim_of_another_machine_is_refused_at_once(tmp_path: Path, clock: Clock) -> None:
    held_elsewhere(tmp_path, 0)
    with Claims(tmp_path, clock=clock, pause=clock.pause).waiting("a.tar", patience=0) as claim:
        assert claim is None
    assert clock.now == 1000


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])


@pytest.fixture
def other() -> Iterator[subprocess.Popen[bytes]]:
    """Another process on this machine."""
    with sleeper() as process:
        yield process
        process.kill()


def held_by(process: subprocess.Popen[bytes], folder: Path, name: str = "a.tar") -> None:
    command = "capivara caption in.tar"
    found = Holder(host(), machine(), process.pid, start_time(process.pid), time.time() - 60, command, "token")
    claim_path(folder / name).write_text(json.dumps(asdict(found)))


def stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGSTOP)
    while not is_stopped(process.pid):
        time.sleep(0.01)


def test_a_stopped_holder_is_named_once_after_ten_seconds(
    tmp_path: Path, clock: Clock, other: subprocess.Popen[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    held_by(other, tmp_path)
    stop(other)
    own = Claims(tmp_path, clock=clock, pause=clock.pause)
    with own.waiting("a.tar", patience=9) as claim:
        assert claim is None
    assert capsys.readouterr().err == ""
    with own.waiting("a.tar", patience=60) as claim:
        assert claim is None  # it may go on any time
    said = capsys.readouterr().err
    assert re.fullmatch(
        rf"warning: a\.tar is claimed by {host()}:{other.pid} \(capivara caption in\.tar\), for 1 min \d+ s: "
        rf"it is stopped: kill -CONT {other.pid} resumes it, kill -9 {other.pid} frees the claim\n",
        said,
    )


def test_shards_of_a_stopped_holder_are_named_too(
    tmp_path: Path, clock: Clock, other: subprocess.Popen[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    """Without ``waiting``; and a holder that works is not named, because its shard will be finished."""
    held_by(other, tmp_path)
    own = Claims(tmp_path, clock=clock)
    for _ in range(5):
        assert own.take("a.tar") is None
        clock.now += 5
    assert capsys.readouterr().err == ""
    stop(other)
    for _ in range(5):
        assert own.take("a.tar") is None
    assert capsys.readouterr().err.count("it is stopped") == 1


def test_a_stopped_holder_that_is_killed_loses_its_claim(
    tmp_path: Path, clock: Clock, other: subprocess.Popen[bytes]
) -> None:
    held_by(other, tmp_path)
    stop(other)
    own = Claims(tmp_path, clock=clock, pause=clock.pause)

    def kill() -> None:
        other.kill()
        other.wait()

    clock.at = [(1030.0, kill)]
    with own.waiting("a.tar") as claim:
        assert claim is not None
    assert clock.now < 1033


def test_a_silent_holder_on_another_machine_is_named_and_then_taken_over(
    tmp_path: Path, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    held_elsewhere(tmp_path, 3600)
    own = Claims(tmp_path, clock=clock, pause=clock.pause)
    with own.waiting("a.tar") as claim:
        assert claim is not None
    said = capsys.readouterr().err.splitlines()
    who = "warning: a.tar is claimed by far:7 (capivara caption in.tar), with a time in the future: "
    assert said == [
        f"{who}waiting for it",
        f"{who}it is silent; after 90 s without a sign of life another process takes over",
    ]


def test_a_holder_that_works_is_named_to_who_waits_for_it(
    tmp_path: Path, clock: Clock, other: subprocess.Popen[bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    held_by(other, tmp_path)
    with Claims(tmp_path, clock=clock, pause=clock.pause).waiting("a.tar", patience=30) as claim:
        assert claim is None
    assert capsys.readouterr().err.count("waiting for it") == 1


def test_a_second_command_says_who_writes_the_folder(tmp_path: Path, other: subprocess.Popen[bytes]) -> None:
    held_by(other, tmp_path, MANIFEST)
    with (
        pytest.raises(CapivaraError, match=rf"another process is writing it: {host()}:{other.pid} \(capivara caption"),
        exclusive(Claims(tmp_path), str(tmp_path)),
    ):
        pass
