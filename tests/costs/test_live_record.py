"""What is spent on work that is stopped: kept, replaced by the whole when it ends, counted once."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.made import a_footprint, shard_bytes, toy_like
from support.warm import CAPIVARA

from capivara_cli.costs import ledger, live_record
from capivara_cli.costs.costs import Costs
from capivara_cli.costs.ledger import OwnCost
from capivara_cli.errors import CapivaraError, Terminated, UsageError

OFTEN = """
import sys
from capivara_cli.costs import live_record
from capivara_cli.cli.app import main
live_record._FIRST = live_record._SELDOM = 0.1
main(sys.argv[1:])
"""
TRAIN = [
    "train", "shards", "--lang", "pt", "--model", "toy", "--batch-size", "8", "--warmup", "1", "--keep-share", "0",
    "--checkpoint-every", "0",  # without a checkpoint, other options may begin anew
]  # fmt: skip


def capivara(*words: str, cwd: Path) -> str:
    ran = subprocess.run([*CAPIVARA, *words], cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def killed(words: list[str], ledger_of: Path, cwd: Path) -> None:
    """Start a command that writes its record often, and kill it when that has more than half a second."""
    process = subprocess.Popen([*CAPIVARA, "-c", OFTEN, *words], cwd=cwd, stderr=subprocess.DEVNULL)
    until = time.monotonic() + 120
    while unfinished_seconds(ledger_of) <= 0.5 and process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    assert process.poll() is None, "it has ended before it was killed"
    process.kill()
    process.wait()


def unfinished_seconds(place: Path) -> float:
    return sum(each["cpu_seconds"] for each in ledger.read(place) if each.get("unfinished"))


@pytest.fixture
def translated(tmp_path: Path, shards: Callable[..., Path]) -> Path:
    shards(toy_like(16))
    capivara("translate", "shards", "--translator", "toy", "--lang", "pt", "--out", "pt", cwd=tmp_path)
    (tmp_path / "shards").rename(tmp_path / "english")
    (tmp_path / "pt").rename(tmp_path / "shards")
    return tmp_path


def test_what_a_training_took_before_it_was_killed_is_counted(translated: Path) -> None:
    run = translated / "runs" / "pt"
    killed([*TRAIN, "--steps", "100000"], run, translated)
    (before,) = [each for each in ledger.read(run) if each["stage"] == "train"]
    assert before["unfinished"] is True and before["cpu_seconds"] > 0.5
    told = capivara("footprint", "runs/pt", cwd=translated)
    assert "train was stopped or killed: its cost is counted until then, or until a minute before\n" in told
    capivara(*TRAIN, "--steps", "2", cwd=translated)
    records = ledger.read(run)
    assert [(each["stage"], "unfinished" in each) for each in records] == [
        ("translate", False), ("train", True), ("train", False),
    ]  # fmt: skip
    rows, total = ledger.sums(records)
    assert (total["samples"], rows[1]["runs"]) == (16, 2)
    assert rows[1]["cpu_seconds"] == pytest.approx(records[1]["cpu_seconds"] + records[2]["cpu_seconds"])
    assert not list(run.glob(".*"))


def test_shards_that_a_failed_command_finished_are_counted_once(tmp_path: Path, shards: Callable[..., Path]) -> None:
    folder = shards(toy_like(6), toy_like(6, 6))
    whole = (folder / "00001.tar").read_bytes()
    (folder / "00001.tar").write_bytes(whole[:3000])
    line = ["translate", "shards", "--translator", "toy", "--lang", "pt", "--out", "out", "--ledger", "all.jsonl"]
    at_once = OFTEN.replace("0.1", "0.01")  # a warm command may fail within a tenth of a second
    assert subprocess.run([*CAPIVARA, "-c", at_once, *line], cwd=tmp_path, capture_output=True).returncode == 1
    (folder / "00001.tar").write_bytes(whole)
    capivara(*line, cwd=tmp_path)
    for place in (tmp_path / "out", tmp_path / "all.jsonl"):
        records = ledger.read(place)
        assert [(each["samples"], each.get("unfinished")) for each in records] == [(6, True), (6, None)]
    assert not list((tmp_path / "out").glob(".*"))


def test_workers_that_are_still_at_work_are_counted(tmp_path: Path, shards: Callable[..., Path]) -> None:
    shards(*[toy_like(40, 40 * number) for number in range(4)])
    words = ["caption", "shards", "--captioner", "toy", "--n", "40", "--workers", "2", "--out", "out"]
    process = subprocess.Popen(
        [*CAPIVARA, "-c", OFTEN, *words], cwd=tmp_path, stderr=subprocess.DEVNULL, start_new_session=True
    )
    until = time.monotonic() + 120
    spent = 0.0
    while spent < 3.0 and process.poll() is None and time.monotonic() < until:  # the starter alone takes less
        spent = sum(each["cpu_seconds"] for each in ledger.read(tmp_path / "out"))
        time.sleep(0.05)
    assert process.poll() is None and spent >= 3.0
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_each_run_of_one_training_has_its_own_record(translated: Path) -> None:
    said = translated / "said.json"
    capivara(*TRAIN, "--steps", "3", "--seeds", "2", "--summary", str(said), cwd=translated)
    whole = json.loads(said.read_text())["footprint"]
    records = [ledger.read(translated / "runs" / f"pt-seed{seed}") for seed in range(2)]
    assert [[each["stage"] for each in run] for run in records] == [["translate", "train"]] * 2
    _, total = ledger.sums(ledger.unique([*records[0], *records[1]]))
    assert total["runs"] == 3 and total["samples"] == 16
    assert sum(run[1]["kwh"] for run in records) == pytest.approx(whole["kwh"])
    assert all(run[1]["flops"] and run[1]["cpu_seconds"] > 0.05 for run in records)
    for seed in range(2):
        assert "Not measured" not in (translated / "runs" / f"pt-seed{seed}" / "MODEL_CARD.md").read_text()


def test_the_whole_replaces_what_was_noted(tmp_path: Path) -> None:
    summary: dict[str, Any] = {"out": str(tmp_path), "read": 1, "written": 1}
    ledger.note("a", summary, a_footprint(seconds=1.0), patience=1.0)
    ledger.note("a", summary, a_footprint(seconds=2.0), patience=1.0)
    assert [(each["seconds"], each["unfinished"]) for each in ledger.read(tmp_path)] == [(2.0, True)]
    ledger.record([], summary, OwnCost("a", a_footprint(seconds=3.0)))
    assert [(each["seconds"], each.get("unfinished")) for each in ledger.read(tmp_path)] == [(3.0, None)]
    plan = [{"id": "one", "plan": "a"}, {"id": "two", "plan": "a"}]
    assert ledger.unique([{"id": "a"}, *plan]) == plan


def test_nothing_is_made_to_put_a_note_in(tmp_path: Path) -> None:
    ledger.note("a", {"run": str(tmp_path / "run")}, a_footprint(), patience=1.0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("error", "marks"),
    [(CapivaraError("x"), [True]), (KeyboardInterrupt(), [True]), (SystemExit(0), [None]), (UsageError("x"), [])],
)
def test_how_work_was_left_is_told_apart(
    error: BaseException, marks: list[bool | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that helps another train leaves with code 0; what was asked wrongly was not begun."""
    monkeypatch.setattr(live_record, "_FIRST", 0.0)
    monkeypatch.setattr(live_record.LiveRecord, "_write", lambda self: None)
    costs = Costs()
    with pytest.raises(type(error)), costs.meter("train") as meter, costs.recorded(meter, "", wanted=True):
        costs.record_result_at(out=str(tmp_path))
        raise error
    assert [each.get("unfinished") for each in ledger.read(tmp_path)] == marks


@pytest.mark.parametrize("error", [UsageError("x"), CapivaraError("x"), None])
def test_nothing_is_written_when_the_command_is_over(error: Exception | None, tmp_path: Path) -> None:
    """A thread that went on wrote the record of one command into the folder of the next in the same process."""
    costs = Costs()
    with contextlib.suppress(CapivaraError), costs.meter("eval") as meter, costs.recorded(meter, "", wanted=True):
        costs.record_result_at(out=str(tmp_path))
        assert "capivara-record" in {thread.name for thread in threading.enumerate()}
        if error is not None:
            raise error
    assert "capivara-record" not in {thread.name for thread in threading.enumerate()}


def test_what_fails_at_once_leaves_nothing(tmp_path: Path) -> None:
    costs = Costs()
    with pytest.raises(CapivaraError), costs.meter("eval") as meter, costs.recorded(meter, "", wanted=True):
        costs.record_result_at(out=str(tmp_path))
        raise CapivaraError("x")
    assert not list(tmp_path.iterdir())


def test_a_command_within_another_is_the_one_that_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_record, "_FIRST", 0.0)
    monkeypatch.setattr(live_record.LiveRecord, "_write", lambda self: None)
    outer, inner = tmp_path / "outer", tmp_path / "inner"
    outer.mkdir()
    inner.mkdir()
    costs = Costs()
    with costs.meter("run") as meter, costs.recorded(meter, "", wanted=True):
        costs.record_result_at(out=str(outer))
        with pytest.raises(CapivaraError), costs.recorded(meter, "", wanted=True):
            costs.record_result_at(out=str(inner))
            raise CapivaraError("x")
        with pytest.raises(CapivaraError), costs.recorded(meter, "", wanted=False):
            costs.record_result_at(out=str(inner / "none"))
            raise CapivaraError("x")
    assert len(ledger.read(inner)) == 1 and not ledger.read(outer)


def test_a_record_is_not_torn_by_many_who_note_at_once(tmp_path: Path) -> None:
    (tmp_path / "0.tar").write_bytes(shard_bytes(toy_like(1)))
    line = [*CAPIVARA, "-c", OFTEN, "split", "0.tar", "--part", "train", "--fraction", "0", "--out", "out"]
    running = [subprocess.Popen(line, cwd=tmp_path, stderr=subprocess.DEVNULL) for _ in range(3)]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert len(ledger.read(tmp_path / "out")) == 3


def test_a_signal_while_the_record_starts_ends_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        signal.raise_signal(signal.SIGTERM)
        start(thread)

    def stop(number: int, frame: object) -> None:
        raise Terminated

    before, costs = signal.signal(signal.SIGTERM, stop), Costs()
    try:
        with (
            pytest.raises(Terminated),
            costs.meter("train", modelled=True) as meter,
            costs.recorded(meter, "", wanted=True),
        ):
            monkeypatch.setattr(threading.Thread, "start", interrupted)
            costs.record_result_at(out=str(tmp_path))
    finally:
        signal.signal(signal.SIGTERM, before)
