"""Files that are written after the work: whether they can be written is known before it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from reliability.running import run
from support.made import toy_like

SPLIT = ["split", "shards", "--out", "out"]


@pytest.fixture
def folder(shards: Callable[..., Path], tmp_path: Path) -> Path:
    """A folder with shards, a file, a folder, a link to nowhere, and a pipe that nobody reads."""
    shards(toy_like(3))
    (tmp_path / "file").write_text("")
    (tmp_path / "costs").mkdir()
    (tmp_path / "lost").symlink_to("/proc/nowhere/costs.jsonl")
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


LEDGERS = [
    ("file/costs.jsonl", "cannot be written: Not a directory"),
    ("/proc/nowhere/costs.jsonl", "cannot be written: No such file or directory"),
    ("costs", "cannot be written: Is a directory"),
    ("costs/", "cannot be written: Is a directory"),
    ("lost", "cannot be written: No such file or directory"),
    ("pipe", "cannot be written: No such device or address"),
    ("s3://bucket/costs.jsonl", "is kept on this machine"),
]


@pytest.mark.parametrize("variable", [False, True], ids=["--ledger", "CAPIVARA_LEDGER"])
@pytest.mark.parametrize(("ledger", "message"), LEDGERS)
@pytest.mark.parametrize("words", [SPLIT, [*SPLIT, "--dry-run"], ["run", "split | dedupe", "shards", "--out", "out"]])
def test_a_ledger_that_cannot_be_written_is_known_before_the_work(
    words: list[str], ledger: str, message: str, variable: bool, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if variable:
        monkeypatch.setenv("CAPIVARA_LEDGER", ledger)
    ran = run([*words, *([] if variable else ["--ledger", ledger])], folder)
    assert ran.said.splitlines()[0] == f"capivara: --ledger {ledger}: {message}"
    assert ran.code == 1
    assert not (folder / "out").exists()


@pytest.mark.parametrize("file", ["file/summary.json", "/proc/nowhere/summary.json", "costs", "s3://bucket/s.json"])
def test_a_summary_that_cannot_be_written_is_known_before_the_work(file: str, folder: Path) -> None:
    ran = run([*SPLIT, "--summary", file], folder)
    assert ran.said.startswith(f"capivara: --summary {file}: ")
    assert ran.code == 1
    assert not (folder / "out").exists()


@pytest.mark.skipif(not shutil.which("setpriv") or os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("made", ["a read-only file", "a read-only folder", "an unwritable folder above"])
def test_what_may_not_be_written_is_known_before_the_work(made: str, folder: Path) -> None:
    ledger = folder / "costs" / "costs.jsonl"
    if made == "a read-only file":
        ledger.write_text("")
        ledger.chmod(0o444)
        (folder / "costs").chmod(0o777)
    elif made == "an unwritable folder above":
        ledger = folder / "costs" / "new" / "costs.jsonl"
    program = (
        "from pathlib import Path; import sys; from capivara_cli.storage.files import check_writable\n"
        "check_writable(Path(sys.argv[1]), replaced=False)"
    )
    for parent in [folder, *folder.parents]:
        if parent.stat().st_uid == os.geteuid() and parent not in (Path("/"), Path("/tmp")):
            parent.chmod(parent.stat().st_mode | 0o055)
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    done = subprocess.run([*nobody, sys.executable, "-c", program, ledger], capture_output=True, text=True)
    assert "PermissionError: [Errno 13] Permission denied: " in done.stderr
    assert "costs" in done.stderr.splitlines()[-1], done.stderr


def test_a_ledger_in_a_folder_that_the_command_makes(folder: Path) -> None:
    ran = run([*SPLIT, "--ledger", "out/costs.jsonl"], folder)
    assert ran.code == 0, ran.said
    assert json.loads((folder / "out" / "costs.jsonl").read_text())["stage"] == "split"


def test_a_ledger_in_new_folders_and_through_a_link(folder: Path) -> None:
    (folder / "link").symlink_to("else/where.jsonl")
    assert run([*SPLIT, "--ledger", "new/folder/costs.jsonl"], folder).code == 0
    assert run(["split", "shards", "--out", "more", "--ledger", "link"], folder).code == 0
    assert json.loads((folder / "new" / "folder" / "costs.jsonl").read_text())["stage"] == "split"
    assert json.loads((folder / "else" / "where.jsonl").read_text())["stage"] == "split"


def test_no_ledger_is_needed_where_nothing_is_measured(folder: Path) -> None:
    assert run([*SPLIT, "--no-energy", "--ledger", "costs"], folder).code == 0


def test_the_attempt_leaves_nothing(folder: Path) -> None:
    before = sorted(folder.iterdir())
    assert run(["split", "nowhere", "--ledger", "costs/new.jsonl", "--summary", "summary.json"], folder).code == 1
    assert sorted(folder.iterdir()) == before
    assert [*(folder / "costs").iterdir()] == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["split", "shards", "--fraction", "0", "--out", "out"], "capivara split: up to date (1 shard); in out/; "),
        (["run", "split | dedupe", "shards", "--out", "o"], "capivara split | dedupe: up to date (1 shard); in o/; "),
        (["pack", "toy:3", "--out", "out"], "capivara pack: up to date (1 shard); in out/; "),
    ],
    ids=["a stage", "a plan", "pack"],
)  # fmt: skip
def test_with_nothing_left_to_do_one_line_says_that_it_is_up_to_date(words: list[str], says: str, folder: Path) -> None:
    words = [*words, "--no-energy", "--summary", "said.json"]
    assert "read 3, wrote " in run(words, folder).said
    again = run(words, folder)
    assert again.code == 0 and again.said.startswith(says) and again.said.count("\n") == 1
    said = json.loads((folder / "said.json").read_text())
    assert (said["read"], said["written"], said["resumed_shards"], "up_to_date" in said) == (0, 0, 1, False)


def test_a_share_with_nothing_to_do_is_not_up_to_date_while_other_shards_are_missing(
    shards: Callable[..., Path], tmp_path: Path
) -> None:
    shards(toy_like(2), toy_like(2, 2))
    words = ["split", "shards", "--fraction", "0", "--out", "out", "--share", "1/2", "--no-energy"]
    assert "read 2, wrote 2" in run(words, tmp_path).said
    again = run(words, tmp_path).said
    assert "share 1/2 is done; 1 of 2 shards of the folder are finished" in again
    assert "capivara split: read 0, wrote 0, dropped 0; up to date (1 shard)" in again


@pytest.mark.parametrize("energy", ["--energy", "--no-energy"])
def test_a_plan_shows_its_steps_with_their_seconds_and_a_stage_one_line(energy: str, folder: Path) -> None:
    plan = run(["run", "split --fraction 0 | dedupe", "shards", "--out", "out", energy], folder).said.splitlines()
    assert plan[0].startswith("capivara split | dedupe: read 3, wrote 3, dropped 0; ")
    assert plan[1].split() == ["step", "read", "wrote", "dropped", "seconds", "why"]
    assert [line.split()[:4] for line in plan[3:]] == [["split", "3", "3", "0"], ["dedupe", "3", "3", "0"]]
    total = float(plan[0].rpartition("; ")[2].removesuffix(" s"))
    assert sum(float(line.split()[4]) for line in plan[3:]) <= total + 0.2
    stage = run(["split", "shards", "--fraction", "0", "--out", "other", energy], folder).said
    assert stage.count("\n") == 1 and "samples/s" not in stage and "Wh" not in stage
    verbose = run(["split", "shards", "--fraction", "0", "--out", "more", energy, "--verbose"], folder).said
    assert "samples/s" in verbose and ("Wh" in verbose) == (energy == "--energy")
