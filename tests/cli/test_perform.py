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
