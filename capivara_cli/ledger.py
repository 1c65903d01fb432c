"""The costs of a chain of commands: each result carries the records of all that led to it."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from capivara_cli.energy import Footprint, relay, steps
from capivara_cli.energy.intensity import Intensity
from capivara_cli.errors import CapivaraError
from capivara_cli.files import naming, replace_text
from capivara_cli.sharing import Claims
from capivara_cli.urls import is_url

FOLDER_LEDGER = "footprint.jsonl"
RUN_LEDGER = "footprint.json"

Record = dict[str, Any]


def record(
    inputs: Sequence[str], summary: dict[str, Any], cost: Footprint, ledger: str = "", data: BinaryIO | None = None
) -> Record:
    """Write what a command cost beside its result, behind the records of its inputs; return its own record.

    A record has an ``id``, so that a chain with common ancestors counts nothing twice. A folder of shards keeps
    records in ``footprint.jsonl``, a run in ``footprint.json``, a pipe hands them on to the command that reads it
    (``data``); ``ledger`` names one more file to append to. A plan of several steps has a record for each, which are
    the ``steps`` of what is returned.
    """
    before = _records(relay.taken(inputs), "the pipe")
    own = _own(summary, cost)
    if relay.reads_pipe() and not before:
        own[0]["unknown_before"] = True
    ancestors = [each for folder in sorted({_folder(text) for text in inputs}) for each in read(folder)]
    _keep(summary, unique([*ancestors, *before, *own]), data)
    if ledger:
        _append(ledger, "".join(map(_line, own)))
    if len(own) == 1:
        return own[0]
    return {"id": own[0]["plan"], **cost.to_json(), "samples": own[0]["samples"], "steps": own}


def _own(summary: dict[str, Any], cost: Footprint) -> list[Record]:
    """The record of a command, or those of the steps of a plan, which have an id in common, ``plan``."""
    books = summary["steps"] if "written" in summary and "steps" in summary else []  # of train they are a number
    costs = cost.of_steps([each["step"] for each in books], steps.taken())
    if len(costs) == 1:
        return [{"id": uuid.uuid4().hex, **cost.to_json(), "samples": summary.get("read", summary.get("samples"))}]
    plan = uuid.uuid4().hex
    return [
        {"id": uuid.uuid4().hex, "plan": plan, **each.to_json(), "samples": book["read"]}
        for each, book in zip(costs, books, strict=True)
    ]


def _keep(summary: dict[str, Any], records: list[Record], data: BinaryIO | None) -> None:
    """Put records where a result is: a folder, a run, or the pipe that it has gone into."""
    out = summary.get("out", "-")
    if is_url(out):
        from capivara_cli.remote import listing, uploading

        place = listing.child(out, FOLDER_LEDGER)
        there = _records(listing.text_of(place), place)
        uploading.put_bytes(place, "".join(map(_line, unique([*there, *records]))).encode())
    elif out != "-":
        _join(Path(out), records)
    elif data is not None:
        relay.hand_on("".join(map(_line, records)), data.fileno())
    if summary.get("run"):
        path = Path(summary["run"]) / RUN_LEDGER
        together = {"records": unique([*read(path.parent), *records])}
        replace_text(path, json.dumps(together, indent=2, ensure_ascii=False) + "\n")


def _join(folder: Path, records: list[Record]) -> None:
    """Add records to a folder's, one process at a time: several may have made its shards, and end together."""
    claims = Claims(folder)
    try:
        with claims.waiting(FOLDER_LEDGER):
            replace_text(folder / FOLDER_LEDGER, "".join(map(_line, unique([*read(folder), *records]))))
    finally:
        claims.close()


def _append(path: str, lines: str) -> None:
    """In one piece: other commands append to the file at the same time."""
    with naming(Path(path)):
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(descriptor, lines.encode())
        finally:
            os.close(descriptor)


def read(path: Path) -> list[Record]:
    """The records of a folder of shards, a run folder or a ledger file; none when there are none."""
    candidates = [path / FOLDER_LEDGER, path / RUN_LEDGER] if path.is_dir() else [path]
    found: list[Record] = []
    for candidate in candidates:
        if candidate.is_file() and candidate.suffix in {".jsonl", ".json"}:
            found += _records(candidate.read_text("utf-8"), str(candidate))
    return found


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


def priced(entry: Record, where: Intensity) -> Record:
    """A record with the carbon intensity of another place: energy does not depend on it."""
    return {**entry, **where.entry, "co2e_g": entry["kwh"] * where.grams}


def sums(records: Sequence[Record]) -> tuple[list[Record], Record]:
    """One row per stage, in the order first seen, and their total: seconds, kWh, g CO2e, samples and FLOPs added up.

    The samples of the total are those that entered the chain: what its first stage with samples has read.
    """
    stages = dict.fromkeys(each["stage"] for each in records)
    rows = [_sum(name, [each for each in records if each["stage"] == name]) for name in stages]
    total = _sum("total", records)
    total["samples"] = next((row["samples"] for row in rows if row["samples"]), 0)
    return [_per_image(row) for row in rows], _per_image(total)


def _sum(name: str, records: Sequence[Record]) -> Record:
    summed = {key: sum(each[key] for each in records) for key in _SUMMED}
    sources = sorted({each["source"] for each in records})
    counted = {
        key: sum(each[key] for each in records if isinstance(each.get(key), int)) for key in ("samples", "flops")
    }
    return {"stage": name, "runs": len(records), **summed, **counted, "source": ", ".join(sources)}


def _per_image(row: Record) -> Record:
    """With the energy per 1,000 images, None where a stage sees none."""
    return {**row, "kwh_per_1000": row["kwh"] * 1000 / row["samples"] if row["samples"] else None}


_SUMMED = ("seconds", "cpu_seconds", "kwh_cpu", "kwh_gpu", "kwh_ram", "kwh", "co2e_g")


def _folder(text: str) -> Path:
    path = Path(text)
    return path if path.is_dir() else path.parent


def _line(entry: Record) -> str:
    return json.dumps(entry, ensure_ascii=False) + "\n"
