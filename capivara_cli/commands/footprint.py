"""Sum what results cost, or measure any command: capivara footprint runs/pt   ·   capivara footprint -- CMD

Folders of shards and runs hold the records of all commands that led to them; a record that several hold is counted
once. Below the sum stand the figures that the CAPIVARA paper reports of its training, with their errors.
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
    """``--country``, ``--region`` and ``--intensity`` re-price all records: energy does not depend on them."""

    format: Literal["text", "md", "csv"] = opt("text", "of the table: for people, Markdown, or a spreadsheet")


@command("footprint", Options, "RUN_OR_FOLDER | -- CMD", composed=True, wraps=True)
def footprint(inputs: list[str], options: Options, env: Env) -> dict[str, Any]:
    """Print seconds, kWh and g CO2e per stage, of the results named or else of ``runs/*``; or measure a command."""
    if "--" in inputs:
        return _measure(inputs, env)
    paths = [Path(text) for text in inputs] or sorted(Path("runs").glob("*"))
    if not paths:
        raise UsageError(
            "footprint: of what?", "capivara footprint runs/NAME shards-caption/   or   capivara footprint -- CMD"
        )
    records = _records(paths)
    settings = env.settings
    if settings.country or settings.region or settings.intensity:
        records = [ledger.priced(each, carbon_intensity.of(settings)) for each in records]
    stages, total = ledger.sums(records)
    if not env.json:
        console.page(pages.page([*stages, total], records, options.format))
    return {"stages": stages, "total": total, "records": records}


def _records(paths: Sequence[Path]) -> list[ledger.LedgerRecord]:
    """The records of all paths, each once. In a folder without records, its folders are read (``runs/pt-data/``)."""
    found: dict[Path, list[ledger.LedgerRecord]] = {}
    for path in paths:
        if not path.exists():
            raise CapivaraError(f"{path}: no such file or folder")
        folders = sorted(each for each in path.iterdir() if each.is_dir()) if path.is_dir() else []
        found[path] = ledger.read(path) or [record for each in folders for record in ledger.read(each)]
    without = [str(path) for path, records in found.items() if not records]
    if len(without) == len(found):
        raise CapivaraError(
            f"{without[0]}: holds no footprint",
            "commands write one beside their result unless --no-energy is given; if results go to standard output, set "
            "CAPIVARA_LEDGER=costs.jsonl and sum that file",
        )
    if without:
        console.warn(f"without a footprint: {', '.join(without)}")
    return ledger.unique(record for records in found.values() for record in records)


def _measure(inputs: list[str], env: Env) -> dict[str, Any]:
    """Run the command after ``--``, its streams untouched; print what it and all its children cost.

    Leaves with the exit code of the command if that is not 0.
    """
    place = inputs.index("--")
    words = inputs[place + 1 :]
    if place or not words:
        raise UsageError("footprint: either results, or -- and one command", "capivara footprint -- sleep 5")
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
