"""Sum what results cost, or measure any command: capivara footprint runs/pt   ·   capivara footprint -- CMD

Folders of shards and runs carry the records of all that led to them; what they share is counted once.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capivara_cli import console, ledger
from capivara_cli.command import command
from capivara_cli.energy import Meter, intensity
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.stage import Env


@dataclass(frozen=True)
class Options:
    """None but the shared ones: ``--country`` re-prices all records, energy does not depend on it."""


@command("footprint", Options, "RUN_OR_FOLDER | -- CMD")
def footprint(inputs: list[str], options: Options, env: Env) -> dict[str, Any]:
    """A table of seconds, kWh and g CO2e per stage of all results named; without any, of ``runs/*``."""
    if "--" in sys.argv and inputs:
        return _measure(inputs, env)
    paths = [Path(text) for text in inputs] or sorted(Path("runs").glob("*"))
    if not paths:
        raise UsageError(
            "footprint: of what?", "capivara footprint runs/NAME shards-caption/   or   capivara footprint -- CMD"
        )
    records = ledger.unique(each for path in paths for each in _records(path))
    stages, total = ledger.sums(records)
    if env.settings.country:
        grams = intensity(env.settings.country.upper())
        for each in (*stages, total):
            each["co2e_g"] = each["kwh"] * grams
    if not env.json:
        console.page(ledger.table([*stages, total]) + "\n")
    return {"stages": stages, "total": total, "records": records}


def _records(path: Path) -> list[ledger.Record]:
    if not path.exists():
        raise CapivaraError(f"{path}: no such file or folder")
    records = ledger.read(path)
    if not records:
        raise CapivaraError(
            f"{path}: holds no footprint",
            "commands write one beside their result unless --no-energy; in a pipe, set CAPIVARA_LEDGER=costs.jsonl "
            "and sum that file",
        )
    return records


def _measure(words: list[str], env: Env) -> dict[str, Any]:
    """Run any command, its streams untouched, and say what it cost; its exit code is ours."""
    with Meter(words[0], env.settings.country) as meter:
        try:
            code = subprocess.run(words, stdout=console.claim_stdout()).returncode
        except FileNotFoundError as error:
            raise CapivaraError(f"{words[0]}: no such command") from error
        cost = meter.footprint()
    console.say(f"capivara footprint: {' '.join(words)}: {console.duration(cost.seconds)}, {cost}")
    if code:
        raise SystemExit(code if code > 0 else 128 - code)
    return {"measured": words, "exit_code": code, **cost.to_json()}
