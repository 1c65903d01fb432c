"""The costs of a chain of commands: each result carries the records of all that led to it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from capivara_cli import console
from capivara_cli.energy import Footprint
from capivara_cli.errors import CapivaraError
from capivara_cli.shards import replace_text
from capivara_cli.urls import is_url

FOLDER_LEDGER = "footprint.jsonl"
RUN_LEDGER = "footprint.json"

Record = dict[str, Any]


def record(inputs: Sequence[str], summary: dict[str, Any], cost: Footprint, ledger: str = "") -> Record:
    """Write what a command cost beside its result, behind the records of its inputs; return its own record.

    A record has an ``id``, so that a chain with common ancestors counts nothing twice. A folder of shards keeps
    records in ``footprint.jsonl``, a run in ``footprint.json``; ``ledger`` names one more file to append to.
    """
    own = {"id": uuid.uuid4().hex, **cost.to_json(), "samples": summary.get("read", summary.get("samples"))}
    ancestors = [each for folder in sorted({_folder(text) for text in inputs}) for each in read(folder)]
    if is_url(summary.get("out", "-")):
        from capivara_cli.remote import listing, uploading

        place = listing.child(summary["out"], FOLDER_LEDGER)
        before = _records(listing.text_of(place), place)
        uploading.put_bytes(place, "".join(_line(each) for each in unique([*before, *ancestors, own])).encode())
    elif summary.get("out", "-") != "-":
        path = Path(summary["out"]) / FOLDER_LEDGER
        replace_text(path, "".join(_line(each) for each in unique([*read(path.parent), *ancestors, own])))
    if summary.get("run"):
        path = Path(summary["run"]) / RUN_LEDGER
        records = unique([*read(path.parent), *ancestors, own])
        replace_text(path, json.dumps({"records": records}, indent=2, ensure_ascii=False) + "\n")
    if ledger:
        with open(ledger, "a", encoding="utf-8") as out:
            out.write(_line(own))
    return own


def read(path: Path) -> list[Record]:
    """The records of a folder of shards, a run folder or a ledger file; none when there are none."""
    candidates = [path / FOLDER_LEDGER, path / RUN_LEDGER] if path.is_dir() else [path]
    found: list[Record] = []
    for candidate in candidates:
        if candidate.is_file() and candidate.suffix in {".jsonl", ".json"}:
            found += _parse(candidate)
    return found


def _parse(path: Path) -> list[Record]:
    return _records(path.read_text("utf-8"), str(path))


def _records(text: str, name: str) -> list[Record]:
    try:
        entries = (
            json.loads(text)["records"] if name.endswith(".json") else [json.loads(each) for each in text.splitlines()]
        )
        return [_checked(entry) for entry in entries if isinstance(entry, dict) and "id" in entry]
    except (ValueError, KeyError, TypeError) as error:
        raise CapivaraError(f"{name}: not a ledger of footprints: {error}", "delete it to start a new one") from error


def _checked(entry: Record) -> Record:
    """A record as ``sums`` needs it; ``ValueError`` for one that lacks something."""
    needed = {"id": str, "stage": str, "source": str, **dict.fromkeys(_SUMMED, int | float)}
    for key, kind in needed.items():
        if not isinstance(entry.get(key), kind):
            raise ValueError(f"{key!r} of a record is {entry.get(key)!r}")
    return entry


def unique(records: Iterable[Record]) -> list[Record]:
    """Each record once, in the order first seen."""
    return list({each["id"]: each for each in records}.values())


def sums(records: Sequence[Record]) -> tuple[list[Record], Record]:
    """One row per stage, in the order first seen, and their total: seconds, kWh and g CO2e added up."""
    stages = dict.fromkeys(each["stage"] for each in records)
    return [_sum(name, [each for each in records if each["stage"] == name]) for name in stages], _sum("total", records)


def _sum(name: str, records: Sequence[Record]) -> Record:
    summed = {key: sum(each[key] for each in records) for key in _SUMMED}
    sources = sorted({each["source"] for each in records})
    return {"stage": name, "runs": len(records), **summed, "source": ", ".join(sources)}


_SUMMED = ("seconds", "cpu_seconds", "kwh_cpu", "kwh_gpu", "kwh_ram", "kwh", "co2e_g")


def table(rows: Sequence[Record]) -> str:
    """Sums as a table for people."""
    body = [
        [
            row["stage"],
            row["runs"],
            f"{row['seconds']:,.1f}",
            f"{row['cpu_seconds']:,.1f}",
            f"{row['kwh'] * 1000:.3f}",
            f"{row['co2e_g']:.3f}",
            row["source"],
        ]
        for row in rows
    ]
    return console.table(body, ["stage", "runs", "seconds", "CPU s", "Wh", "g CO2e", "power was"])


def _folder(text: str) -> Path:
    path = Path(text)
    return path if path.is_dir() else path.parent


def _line(entry: Record) -> str:
    return json.dumps(entry, ensure_ascii=False) + "\n"
