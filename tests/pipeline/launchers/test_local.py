"""Workers on this machine: the same bytes as one process, whatever fails or dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from support.made import ROOT
from support.made_stages import UniqueOptions, WorkOptions, content, fill, small, unique, work

from capivara_cli.errors import CapivaraError
from capivara_cli.pipeline import engine
from capivara_cli.pipeline.device import cores
from capivara_cli.pipeline.launchers import local
from capivara_cli.pipeline.options import Settings
from capivara_cli.pipeline.stage import Stage, Step
from capivara_cli.shards.sample import Sample

WORK = Step(work, WorkOptions())
UNIQUE = Step(unique, UniqueOptions())


@pytest.fixture
def six(shards: Callable[..., Path]) -> Path:
    return shards(*[small(10, 10 * number) for number in range(6)])


def test_workers_write_what_one_process_writes(six: Path, tmp_path: Path) -> None:
    alone = fill([WORK, UNIQUE], six, tmp_path / "clean", rejects=str(tmp_path / "clean-rejects"))
    shared = fill([WORK, UNIQUE], six, tmp_path / "out", workers=3, rejects=str(tmp_path / "rejects"))
    assert content(tmp_path / "out") == content(tmp_path / "clean")
    assert content(tmp_path / "rejects") == content(tmp_path / "clean-rejects")
    assert {**shared.summary(), "out": ""} == {**alone.summary(), "out": ""}
    again = fill([WORK, UNIQUE], six, tmp_path / "out", workers=3)
    assert (again.resumed, again.shards) == (6, 0)


def test_an_error_of_a_worker_is_raised_once(six: Path, tmp_path: Path) -> None:
    step = Step(work, WorkOptions(fail="00025"))
    with pytest.raises(CapivaraError, match="00025: cannot go on") as raised:
        fill([step], six, tmp_path / "out", workers=2)
    assert raised.value.hint == "try another"
    left = content(tmp_path / "out").keys()
    assert "00002.tar" not in left
    assert not [name for name in left if name.startswith(".") and not name.endswith(".journal")]
    fill([WORK], six, tmp_path / "out", workers=2)
    fill([WORK], six, tmp_path / "clean")
    assert content(tmp_path / "out") == content(tmp_path / "clean")


def test_a_worker_that_is_terminated_while_it_releases_a_claim_finishes_that(six: Path, tmp_path: Path) -> None:
    step = Step(work, WorkOptions(fail="00025", slow_release=0.3))
    with pytest.raises(CapivaraError, match="00025: cannot go on"):
        fill([step], six, tmp_path / "out", workers=2)
    left = content(tmp_path / "out").keys()
    assert not [name for name in left if name.startswith(".") and not name.endswith(".journal")]


def test_failures_are_counted_over_all_workers(shards: Callable[..., Path], tmp_path: Path) -> None:
    folder = shards(*[[Sample(f"{number}13", {"json": b"{}"}), *small(2)] for number in range(6)])
    with pytest.raises(CapivaraError, match="more than 3 samples cannot be used"):
        fill([WORK], folder, tmp_path / "out", workers=4, max_failures=3)


def test_a_killed_worker_is_replaced(six: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    fill([WORK], six, tmp_path / "clean")
    (tmp_path / "flag").mkdir()
    (tmp_path / "flag" / "once").touch()
    step = Step(work, WorkOptions(kill="00025", once=str(tmp_path / "flag")))
    settings = Settings(out=str(tmp_path / "out"), energy=False, workers=2)
    report = engine.run([step], [str(six)], settings, None)
    assert "was killed (SIGKILL) at 00002.tar; another takes its place" in capfd.readouterr().err
    assert (report.shards, report.summary()["read"]) == (6, 60)
    assert content(tmp_path / "out") == content(tmp_path / "clean")


def test_a_shard_that_kills_every_worker_is_named(six: Path, tmp_path: Path) -> None:
    step = Step(work, WorkOptions(kill="00025"))
    with pytest.raises(CapivaraError, match=r"3 workers were lost at 00002.tar; the last was killed \(SIGKILL\)"):
        fill([step], six, tmp_path / "out", workers=2)


def test_a_stage_that_no_other_process_finds_is_refused(six: Path, tmp_path: Path) -> None:
    step = Step(Stage("work", WorkOptions, lambda samples, options, env: samples), WorkOptions())
    with pytest.raises(CapivaraError, match="work: cannot be imported by name"):
        fill([step], six, tmp_path / "out", workers=2)


def test_workers_share_cores_and_gpus() -> None:
    given = {"CUDA_VISIBLE_DEVICES": "2,5", "MKL_NUM_THREADS": "7"}
    made = [local.environment(given, number, 4, "auto") for number in range(4)]
    assert [each["CUDA_VISIBLE_DEVICES"] for each in made] == ["2", "5", "2", "5"]
    assert made[0]["OMP_NUM_THREADS"] == str(max(1, cores() // 4))
    assert made[0]["MKL_NUM_THREADS"] == "7"
    assert local.environment(given, 1, 4, "cpu")["CUDA_VISIBLE_DEVICES"] == "2,5"


def started(shards: Path, out: Path) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    """A run whose two workers are at work, which would take minutes."""
    code = (
        "from support.made_stages import *; from capivara_cli.cli.app import guarded; import sys\n"
        "step = Step(work, WorkOptions(milliseconds=10_000))\n"
        "sys.exit(guarded(lambda: fill([step], Path(sys.argv[1]), Path(sys.argv[2]), workers=2)))"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", code, str(shards), str(out)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "tests")}, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while len(list(out.glob(".*.tar.claim"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    return run, psutil.Process(run.pid).children()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_reach_the_workers(number: int, code: int, six: Path, tmp_path: Path) -> None:
    run, workers = started(six, tmp_path / "out")
    assert len(workers) == 2
    os.killpg(run.pid, number) if number == signal.SIGINT else os.kill(run.pid, number)
    assert run.wait(60) == code
    assert run.stderr is not None
    assert run.stderr.read().count("\n") == 1  # nothing is stored yet, so nothing is promised
    assert not any(worker.is_running() for worker in workers)
    # A worker that had no time to let go of its claim leaves it: whoever comes next sees that it is dead.
    left = [name for name in content(tmp_path / "out") if not name.endswith(".claim")]
    assert left == ["manifest.jsonl"]


def test_workers_do_not_outlive_who_started_them(six: Path, tmp_path: Path) -> None:
    run, workers = started(six, tmp_path / "out")
    run.kill()
    run.wait()
    _, alive = psutil.wait_procs(workers, 60)
    assert (len(workers), alive) == (2, [])
    assert sorted(content(tmp_path / "out")) == ["manifest.jsonl"]
