"""What people see of a shared folder, and the script that has Slurm fill one."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from support.made_stages import UniqueOptions, WorkOptions, content, fill, small, unique, work
from support.warm import CAPIVARA

from capivara_cli.commands import slurm, status
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings
from capivara_cli.pipeline.stage import Step
from capivara_cli.shards.manifest import MANIFEST, Manifest, ShardEntry
from capivara_cli.storage.found_claims import claim_path
from capivara_cli.storage.holders import Holder

WORK = Step(work, WorkOptions())


@pytest.fixture
def six(shards: Callable[..., Path]) -> Path:
    return shards(*[small(10, 10 * number) for number in range(6)])


def leave(folder: Path, name: str, **changes: object) -> None:
    held = replace(Holder.of_this_process(), command="capivara run", **changes)  # type: ignore[arg-type]
    claim_path(folder / name).write_text(json.dumps(asdict(held)))


def asked(folder: Path) -> dict[str, object]:
    env = Env(Settings(), "status")
    env.json = True
    (found,) = status.status.run([str(folder)], status.Options(), env)["folders"]
    return found  # type: ignore[no-any-return]


def test_a_folder_in_work(six: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    fill([WORK], six, out, share="1/2")
    before = content(out)
    for number in (0, 2, 4):
        os.utime(out / f"0000{number}.tar", (1e9 + number, 1e9 + number))
    leave(out, "00001.tar", since=0.0)
    leave(out, "00003.tar", host="far", pid=7, started="1")  # a number of this machine that is another's now
    found = asked(out)
    assert (found["plan"], found["shards"], found["done"], found["left"], found["read"]) == ("work", 6, 3, 3, 30)
    assert found["dropped"] == {}
    assert [(each["shard"], each["stale"]) for each in found["claims"]] == [  # type: ignore[attr-defined]
        ("00001.tar", False),
        ("00003.tar", True),
    ]
    assert found["rate"] < 1  # the last shard appeared in 2001
    status.status.run([str(out)], status.Options(), Env(Settings(), "status"))
    shown = capsys.readouterr().out.splitlines()
    assert shown[1].startswith("  3 of 6 shards done; read 30, wrote 30")
    assert shown[2] == "  1 at work, 1 claimed by processes that are gone"
    assert [line.split()[0] for line in shown[-2:]] == ["00001.tar", "00003.tar"]
    assert shown[-1].split()[1] == "far:7" and " gone " in shown[-1]
    assert shown[-2].endswith("capivara run")
    assert {**content(out), **before} == content(out)  # it only looks


def test_a_folder_that_nobody_works_on_and_one_that_is_done(
    six: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill([WORK], six, tmp_path / "out", share="1/2")
    assert asked(tmp_path / "out")["seconds_left"] is None
    fill([WORK], six, tmp_path / "done")
    env = Env(Settings(), "status")
    status.status.run([str(tmp_path / "out"), str(tmp_path / "done")], status.Options(), env)
    shown = capsys.readouterr().out
    assert shown.count("no process is at work: run the command that writes this folder again, it resumes\n") == 1
    assert "6 of 6 shards done; read 60, wrote 59, dropped 1 (thirteen: 1)" in shown


@pytest.mark.parametrize(("shards", "done"), [(3, 0), (None, 2)])
def test_of_a_folder_that_starts_over_it_is_not_said_that_it_resumes(
    shards: int | None, done: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = {name: ShardEntry(name, None) for name in ("a.tar", "b.tar")[:done]}
    (tmp_path / MANIFEST).write_bytes(Manifest([{"step": "split"}], "x", shards, entries).text())
    status.status.run([str(tmp_path)], status.Options(), Env(Settings(), "status"))
    assert "no process is at work: run the command that writes this folder again\n" in capsys.readouterr().out


def test_passes_are_shown(six: Path, tmp_path: Path) -> None:
    step = Step(work, WorkOptions(fail="00045"))
    with pytest.raises(CapivaraError, match="cannot go on"):
        fill([step, Step(unique, UniqueOptions())], six, tmp_path / "out")
    assert asked(tmp_path / "out")["passes"] == [{"pass": "shards for 1", "done": 4, "of": 6}]


def test_what_has_no_status(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="which folder"):
        status.status.run([], status.Options(), Env(Settings(), "status"))
    with pytest.raises(CapivaraError, match=r"no manifest\.jsonl in this folder"):
        asked(tmp_path)
    with pytest.raises(CapivaraError, match="no such folder"):
        asked(tmp_path / "nowhere")


def script_for(folder: Path, words: list[str], options: slurm.Options, **settings: object) -> str:
    env = Env(Settings(out=str(folder / "out"), **settings), "slurm")  # type: ignore[arg-type]
    env.json = True
    return str(slurm.slurm.run(words, options, env)["script"])


def test_the_script_runs_as_an_array(shards: Callable[..., Path], tmp_path: Path) -> None:
    folder = shards(*[small(10, 10 * number) for number in range(3)])
    plan = "split --fraction 0.5 | dedupe"
    text = script_for(
        tmp_path, [plan, str(folder)],
        slurm.Options(array=8, gpus=2, cpus=6, time="1:00:00", at_once=2, setup="echo up >&2"),
        workers=2, energy=False, quiet=True,
    )  # fmt: skip
    head = [line for line in text.splitlines() if line.startswith("#SBATCH")]
    assert "#SBATCH --array=0-2%2" in head  # three shards: no task without any
    assert "#SBATCH --gres=gpu:2" in head and "#SBATCH --time=1:00:00" in head and "#SBATCH --requeue" in head
    assert "export OMP_NUM_THREADS=3" in text
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "capivara").write_text(f'#!/bin/sh\nexec {shlex.join(CAPIVARA)} "$@"\n')
    (tmp_path / "bin" / "capivara").chmod(0o755)
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    for task in range(3):
        environment = {**os.environ, "PATH": path, "SLURM_ARRAY_TASK_ID": str(task)}
        ran = subprocess.run(["bash", "-c", text], env=environment, capture_output=True, text=True)
        assert (ran.returncode, ran.stderr) == (0, "up\n")
    alone = ["run", plan, str(folder), "--out", str(tmp_path / "clean"), "--no-energy", "--quiet"]
    subprocess.run([*CAPIVARA, *alone], check=True)
    assert content(tmp_path / "out") == content(tmp_path / "clean")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "which plan"),
        (["splitt"], "did you mean split"),
        (["split --fraction 2"], "at most 1.0"),
        (["pack"], "tasks cannot share pack, which makes shards"),
    ],
)
def test_a_wrong_plan_is_refused_before_it_is_queued(words: list[str], message: str, six: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        script_for(tmp_path, words, slurm.Options())
    with pytest.raises(UsageError, match="--out is missing"):
        slurm.slurm.run(["split", str(six)], slurm.Options(), Env(Settings(), "slurm"))
    with pytest.raises(CapivaraError, match="no such file or folder"):
        script_for(tmp_path, ["split", "nowhere"], slurm.Options())
