"""Add up the time, energy and CO2e of results, or measure a command.

Every folder of shards and every run has the records of all commands that led to it. A record that several folders have
is counted once.

Arguments:
    RUN_OR_FOLDER: run folders, folders of shards, or ledgers; without any, all in runs/
    -- CMD: a command to run and to measure, of any program

Examples:
    capivara footprint runs/pt
    capivara footprint runs/pt --country BRA --format md
    capivara footprint -- sleep 1
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from capivara_cli import console
from capivara_cli.costs import carbon_intensity, ledger
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.pipeline.command import command
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import opt
from capivara_cli.reports import footprint as pages


@dataclass(frozen=True)
class Options:
    """``--country``, ``--region`` and ``--intensity`` compute the CO2e of all records anew from their energy."""

    format: Literal["text", "md", "csv"] = opt("text", "form of the table; csv has no notes")
    paper: bool = opt(False, "also print the CAPIVARA paper's table, with its errors marked")

    def check(self) -> None:
        """Raise ``UsageError`` for ``--paper`` in a CSV file, which has one table."""
        if self.paper and self.format == "csv":
            raise UsageError("--paper: a CSV file has one table", "--format md or text")


@command(
    "footprint",
    Options,
    "RUN_OR_FOLDER | -- CMD",
    composed=True,
    wraps=True,
    settings=("country", "region", "intensity"),
)
def footprint(inputs: list[str], options: Options, env: Env) -> dict[str, Any]:
    """Print seconds, kWh and g CO2e per stage of the named results [default: ``runs/*``], or measure a command."""
    options.check()
    if "--" in inputs:
        return _measure(inputs, env)
    paths = [Path(text) for text in inputs] or sorted(Path("runs").glob("*"))
    if not paths:
        raise UsageError(
            "footprint: which results?", "capivara footprint runs/NAME   or   capivara footprint -- COMMAND"
        )
    records = _records(paths)
    settings = env.settings
    if settings.country or settings.region or settings.intensity:
        records = [ledger.with_intensity(each, carbon_intensity.of(settings)) for each in records]
    stages, total = ledger.sums(records)
    if not env.json:
        console.print_result(pages.page([*stages, total], records, options.format, paper=options.paper))
    return {"stages": stages, "total": total, "records": records}


def _records(paths: Sequence[Path]) -> list[ledger.LedgerRecord]:
    """The records of all paths, each once.

    For a folder without records, those of its subfolders are taken (``runs/pt-data/``). Raises ``CapivaraError`` for a
    path that does not exist, and when no path has records.
    """
    found: dict[Path, list[ledger.LedgerRecord]] = {}
    for path in paths:
        if not path.exists():
            raise CapivaraError(f"{path}: no such file or folder")
        subfolders = sorted(each for each in path.iterdir() if each.is_dir()) if path.is_dir() else []
        found[path] = ledger.read(path) or [record for each in subfolders for record in ledger.read(each)]
    without = [str(path) for path, records in found.items() if not records]
    if len(without) == len(found):
        raise CapivaraError(
            f"{without[0]}: no footprint in it",
            "commands write one beside their result, unless --no-energy is given; for results on standard output, set "
            "CAPIVARA_LEDGER=costs.jsonl and name that file here",
        )
    if without:
        console.warn(f"without a footprint: {', '.join(without)}")
    return ledger.unique(record for records in found.values() for record in records)


def _measure(inputs: list[str], env: Env) -> dict[str, Any]:
    """Run the command after ``--`` with its own streams, and print what it and its child processes cost.

    Exits with the exit code of the command if that is not 0.
    """
    place = inputs.index("--")
    words = inputs[place + 1 :]
    if place or not words:
        raise UsageError("footprint takes either results, or -- and a command", "capivara footprint -- sleep 5")
    with env.costs.meter(words[0], carbon_intensity.of(env.settings), now=True) as meter:
        try:
            code = subprocess.run(words, stdout=console.claim_stdout()).returncode
        except FileNotFoundError as error:
            raise CapivaraError(f"{words[0]}: no such command") from error
        cost = meter.footprint()
    console.say(f"capivara footprint: {' '.join(words)}: {console.duration(cost.seconds)}, {cost}")
    if code:
        raise SystemExit(code if code > 0 else 128 - code)
    return {"measured": words, "exit_code": code, **cost.to_json()}
