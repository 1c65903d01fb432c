"""The costs of a chain of commands: each result carries the records of all that led to it."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from capivara_cli.costs import Footprint, per_step, pipe_relay
from capivara_cli.costs.carbon_intensity import Intensity
from capivara_cli.errors import CapivaraError
from capivara_cli.storage.claims import Claims
from capivara_cli.storage.files import naming, replace_text
from capivara_cli.urls import is_url

FOLDER_LEDGER = "footprint.jsonl"
RUN_LEDGER = "footprint.json"

Record = dict[str, Any]


def record(
    inputs: Sequence[str], summary: dict[str, Any], cost: Footprint, ledger: str = "",
    data: BinaryIO | None = None, name: str = "",
) -> Record:  # fmt: skip
    """Write what a command cost beside its result, behind the records of its inputs; return its own record.

    A record has an ``id`` (``name``), so that a chain with common ancestors counts nothing twice. A folder of shards
    keeps records in ``footprint.jsonl``, a run in ``footprint.json``, a pipe hands them on to the command that reads
    it (``data``); ``ledger`` names one more file to append to. What has several parts, the steps of a plan or the runs
    of one training, has a record for each, which are the ``steps`` of what is returned.
    """
    before = _records(pipe_relay.taken(inputs), "the pipe")
    own = _own(name or uuid.uuid4().hex, summary, cost)
    if pipe_relay.reads_pipe() and not before:
        own[0]["unknown_before"] = True
    ancestors = [each for folder in sorted({_folder(text) for text in inputs}) for each in read(folder)]
    _keep(summary, [*ancestors, *before], own, data)
    if ledger:
        _append(ledger, "".join(map(_line, own)))
    if len(own) == 1:
        return own[0]
    return {"id": own[0]["plan"], **cost.to_json(), "samples": own[0]["samples"], "steps": own}


def note(
    name: str, summary: dict[str, Any], cost: Footprint, patience: float, ledger: str = "", helped: bool = False
) -> None:
    """Write what a command has cost so far, which ``record`` replaces when it ends; until then it is ``unfinished``,
    unless it has only ``helped`` another that has the result.

    Only into a folder of this machine that is there, and not when others keep its ledger for ``patience`` seconds.
    """
    own = {"id": name, **cost.to_json(), "samples": summary.get("read")} | ({} if helped else {"unfinished": True})
    for path in _places(summary):
        if path.parent.is_dir():
            _join(path, [], [own], patience)
    if ledger:
        _append(ledger, _line(own))


def _own(name: str, summary: dict[str, Any], cost: Footprint) -> list[Record]:
    """The record of a command, or those of its parts, which have an id in common, ``plan``."""
    parts = _parts(summary)
    costs = cost.of_steps([stage for stage, _ in parts], per_step.taken())
    if len(costs) == 1:
        return [{"id": name, **cost.to_json(), "samples": summary.get("read", summary.get("samples"))}]
    return [
        {"id": uuid.uuid4().hex, "plan": name, **each.to_json(), "samples": samples}
        for each, (_, samples) in zip(costs, parts, strict=True)
    ]


def _parts(summary: dict[str, Any]) -> list[tuple[str, int | None]]:
    """Stage and samples of what one command did one after the other: the steps of a plan, the runs of a training."""
    if "runs" in summary:
        return [("train", each["samples"]) for each in summary["runs"]]
    books = summary["steps"] if "written" in summary and "steps" in summary else []  # of train they are a number
    return [(each["step"], each["read"]) for each in books]


def run_folders(summary: dict[str, Any]) -> list[Path]:
    """The run folders that a command has filled, or added to."""
    return [Path(each["run"]) for each in summary.get("runs", [summary]) if each.get("run")]


def _places(summary: dict[str, Any]) -> list[Path]:
    """The ledgers beside the results of a command, as far as they are on this machine."""
    out = summary.get("out", "-")
    folders = [] if out == "-" or is_url(out) else [Path(out) / FOLDER_LEDGER]
    return [*folders, *(folder / RUN_LEDGER for folder in run_folders(summary))]


def _keep(summary: dict[str, Any], before: list[Record], own: list[Record], data: BinaryIO | None) -> None:
    """Put records where a result is: a folder, a run, or the pipe that it has gone into."""
    out = summary.get("out", "-")
    if is_url(out):
        from capivara_cli.shards import remote_inputs
        from capivara_cli.storage.remote import upload

        place = remote_inputs.child(out, FOLDER_LEDGER)
        there = _records(remote_inputs.text_of(place), place)
        upload.put_bytes(place, "".join(map(_line, unique([*before, *there, *own]))).encode())
    elif out == "-" and data is not None:
        pipe_relay.hand_on("".join(map(_line, unique([*before, *own]))), data.fileno())
    runs = run_folders(summary)
    for path in _places(summary):
        mine = own if len(own) != len(runs) else [own[runs.index(path.parent)]]
        _join(path, before, mine)


def _join(path: Path, before: list[Record], own: list[Record], patience: float = float("inf")) -> None:
    """Add records to a folder's, one process at a time: several may have made its result, and end together."""
    claims = Claims(path.parent)
    try:
        with claims.waiting(path.name, patience) as claim:
            if claim is not None:
                replace_text(path, _text(unique([*before, *read(path), *own]), path.name))
    finally:
        claims.close()


def _text(records: list[Record], name: str) -> str:
    if name == RUN_LEDGER:
        return json.dumps({"records": records}, indent=2, ensure_ascii=False) + "\n"
    return "".join(map(_line, records))


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
    """Each record once, as it was last seen, in the order first seen; those of a plan's steps replace the plan's."""
    found = {each["id"]: each for each in records}
    plans = {each.get("plan") for each in found.values()}
    return [each for name, each in found.items() if name not in plans]


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
