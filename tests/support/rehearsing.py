"""Command lines for the tests of ``--dry-run``: performed in this process, as they are and on trial."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from capivara_cli.cli.parameters import parse_command
from capivara_cli.cli.perform import perform
from capivara_cli.pipeline.options import Settings


def performed(line: str) -> dict[str, Any]:
    """What a command line returns."""
    return perform(parse_command(shlex.split(line), Settings(device="cpu", energy=False)))


def estimated(line: str) -> dict[str, Any]:
    return performed(f"{line} --dry-run")


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file and folder with its size and time."""
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(folder.rglob("*"))}


def column(summary: dict[str, Any], name: str) -> list[Any]:
    return [row[name] for row in summary["stages"]]
