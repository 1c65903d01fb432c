"""One command line, run in this process as if it had been typed: its exit code, messages and summary."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shlex
import subprocess
import sys
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reliability.case import Case
from support.warm import CAPIVARA, FRESH

from capivara_cli import __main__, console

SUMMARY = "summary.json"
UNSET = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "DEEPL_API_KEY", "HF_TOKEN", "CAPIVARA_LEDGER", "RANK", "WORLD_SIZE")
ENVIRONMENT = {"COLUMNS": "120", "NO_COLOR": "1", "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Ran:
    """The result: ``said`` is standard error, ``shown`` the bytes of standard output."""

    code: int
    said: str
    shown: bytes
    summary: dict[str, Any]

    @property
    def counts(self) -> tuple[int | None, int | None, dict[str, int]]:
        """Read, written, and dropped by reason; None where the command has no such number."""
        dropped = self.summary.get("dropped", {})
        return self.summary.get("read"), self.summary.get("written"), dropped if isinstance(dropped, dict) else {}


def run(words: list[str], folder: Path, stdin: Path | None = None) -> Ran:
    """Run ``capivara WORDS`` in a folder; ``stdin`` is a file; without one, standard input is empty."""
    said, shown = io.StringIO(), folder.parent / f"{folder.name}.stdout"
    code = 0
    with _elsewhere(folder, stdin, shown), contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")  # what libraries say of each other
        sys.argv = ["capivara", *words]
        try:
            __main__.main()
        except SystemExit as leaving:
            code = leaving.code if isinstance(leaving.code, int) else int(bool(leaving.code))
    path = folder / SUMMARY
    summary = json.loads(path.read_bytes()) if path.is_file() else {}
    path.unlink(missing_ok=True)
    return Ran(code, said.getvalue(), shown.read_bytes(), summary)


@contextlib.contextmanager
def _elsewhere(folder: Path, stdin: Path | None, shown: Path) -> Iterator[None]:
    """The working folder, the standard streams and the words of the program, as a shell would set them."""
    before = os.getcwd(), sys.argv, os.dup(0), console.STREAMS.data, console.STREAMS.quiet
    given = os.open(stdin or os.devnull, os.O_RDONLY)
    out = os.open(shown, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        os.dup2(given, 0)
        console.STREAMS.data = out
        os.chdir(folder)
        yield
    finally:
        os.chdir(before[0])
        os.dup2(before[2], 0)
        sys.argv, console.STREAMS.data, console.STREAMS.quiet = before[1], before[3], before[4]
        for descriptor in (given, out, before[2]):
            os.close(descriptor)


def run_case(case: Case, folder: Path) -> Ran:
    """Run the command line of a case in its folder, with a summary where the command has one."""
    words = shlex.split(case.line)
    if "--summary" not in words and "--" not in words:
        words += ["--summary", SUMMARY]
    before = os.environ.copy()
    if (folder / "cache").is_dir():
        os.environ["CAPIVARA_CACHE"] = str(folder / "cache")
    try:
        return run(words, folder, folder / case.stdin if case.stdin else None)
    finally:
        os.environ.clear()
        os.environ.update(before)


def run_script(case: Case, folder: Path) -> Ran:
    """Run the script of a case in bash, without pipefail, as people do; ``capivara`` is this checkout's."""
    words = FRESH if "ulimit" in case.line or "&-" in case.line else CAPIVARA
    script = case.line.replace("capivara ", shlex.join(words) + " ")  # no function: a signal has to meet the program
    done = subprocess.run(
        ["bash", "-c", script], cwd=folder, capture_output=True, stdin=subprocess.DEVNULL, timeout=120
    )
    return Ran(done.returncode, done.stderr.decode("utf-8", "replace"), done.stdout, {})
