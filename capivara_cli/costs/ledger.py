"""The costs of a chain of commands: each result has the cost records of all commands that led to it."""

from __future__ import annotations

import errno
import json
import math
import os
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, TypedDict, cast

from capivara_cli import console
from capivara_cli.costs import pipe_relay
from capivara_cli.costs.carbon_intensity import Intensity
from capivara_cli.costs.footprint import Footprint
from capivara_cli.costs.per_step import StepCost
from capivara_cli.errors import CapivaraError
from capivara_cli.storage import checksums
from capivara_cli.storage.claims import Claims
from capivara_cli.storage.files import named_in_errors, replace_text
from capivara_cli.storage.typed_json import from_json
from capivara_cli.urls import is_url

_READ_ONLY = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
FOLDER_LEDGER = "footprint.jsonl"
RUN_LEDGER = "footprint.json"


class LedgerRecord(TypedDict, total=False):
    """The cost of one command, or of one step of a plan: a line of ``footprint.jsonl``.

    The keys up to ``co2e_g`` are in every record; older versions did not write the others. A record is written back as
    it was read, other keys included.
    """

    id: str
    stage: str
    source: str
    seconds: float
    cpu_seconds: float
    kwh_cpu: float
    kwh_gpu: float
    kwh_ram: float
    kwh: float
    co2e_g: float
    intensity: float
    country: str
    intensity_source: str
    hardware: str
    device: str
    flops: int | None
    power: dict[str, str | None]
    watts: dict[str, float]
    plausible: bool | None
    samples: int | None
    plan: str
    """The same id for all steps of one plan."""
    unfinished: bool
    """The command was stopped or killed, or is still running."""
    unknown_before: bool
    """The command read a pipe whose writer left no record."""
    steps: list[LedgerRecord]


class CostSum(TypedDict):
    """Records added up: of one stage, or of all ("total"). ``kwh_per_1000``: energy per 1,000 samples."""

    stage: str
    runs: int
    seconds: float
    cpu_seconds: float
    kwh_cpu: float
    kwh_gpu: float
    kwh_ram: float
    kwh: float
    co2e_g: float
    samples: int
    flops: int
    source: str
    kwh_per_1000: float | None


@dataclass(frozen=True)
class OwnCost:
    """The cost of a finished command, the ``id`` of its record, and the cost of each step of its plan."""

    id: str
    cost: Footprint
    steps: Mapping[int, StepCost] = field(default_factory=dict)


def record(
    inputs: Sequence[str], summary: dict[str, Any], own: OwnCost, ledger: str = "", data: BinaryIO | None = None
) -> LedgerRecord:
    """Write the cost of a command beside its result, after the records of its inputs; return its own record.

    A folder of shards keeps records in ``footprint.jsonl`` and a run in ``footprint.json``; with a pipe (``data``) they
    are passed to the command that reads it; ``ledger`` names one more file to append to. Each record has an ``id``, so
    that a chain with common ancestors counts nothing twice. The steps of a plan and the runs of one training have a
    record each; these are the ``steps`` of the record that is returned.
    """
    before = _records(pipe_relay.take_from_writers(inputs).encode(), "the pipe")
    records = _own(own, summary)
    if pipe_relay.reads_pipe() and not before:
        records[0]["unknown_before"] = True
    ancestors = [each for folder in folders_of(inputs) for each in read(folder)]
    _keep(summary, [*ancestors, *before], records, data)
    if ledger:
        _append(ledger, "".join(map(_line, records)))
    if len(records) == 1:
        return records[0]
    whole = {"id": own.id, **own.cost.to_json(), "samples": records[0]["samples"], "steps": records}
    return cast(LedgerRecord, whole)


def check(folders: Iterable[Path | str]) -> None:
    """Raise ``CapivaraError`` if a folder, a path or URL, has a damaged ledger, to be called before the work."""
    for folder in dict.fromkeys(folders):
        _read_remote(folder) if isinstance(folder, str) and is_url(folder) else read(Path(folder))


def note(
    name: str, summary: dict[str, Any], cost: Footprint, patience: float, ledger: str = "", helped: bool = False
) -> None:
    """Write the cost of a command so far; ``record`` replaces it when the command ends.

    Until then the record is ``unfinished``, unless the command only ``helped`` another one, which writes the result. It
    is written only to existing folders of this machine, and skipped if others use the ledger for ``patience`` seconds.
    """
    marks = {} if helped else {"unfinished": True}
    own = cast(LedgerRecord, {"id": name, **cost.to_json(), "samples": summary.get("read"), **marks})
    for path in places(summary):
        if path.parent.is_dir():
            _join(path, [], [own], patience)
    if ledger:
        _append(ledger, _line(own))


def _own(own: OwnCost, summary: dict[str, Any]) -> list[LedgerRecord]:
    """The record of a command, or the records of its parts; these have the id of the command as ``plan``."""
    parts = _parts(summary)
    costs = own.cost.of_steps([stage for stage, _ in parts], own.steps)
    if len(costs) == 1:
        samples = summary.get("read", summary.get("samples"))
        return [cast(LedgerRecord, {"id": own.id, **own.cost.to_json(), "samples": samples})]
    return [
        cast(LedgerRecord, {"id": uuid.uuid4().hex, "plan": own.id, **each.to_json(), "samples": samples})
        for each, (_, samples) in zip(costs, parts, strict=True)
    ]


def _parts(summary: dict[str, Any]) -> list[tuple[str, int | None]]:
    """Stage and samples of each part of a command: of each step of a plan, or of each training run."""
    if "runs" in summary:
        return [("train", each["samples"]) for each in summary["runs"]]
    books = summary["steps"] if "written" in summary and "steps" in summary else []  # train's "steps" is a number
    return [(each["step"], each["read"]) for each in books]


def run_folders(summary: Mapping[str, Any]) -> list[Path]:
    """The run folders that a command has written to."""
    return [Path(each["run"]) for each in summary.get("runs", [summary]) if each.get("run")]


def places(summary: Mapping[str, Any]) -> list[Path]:
    """The ledgers beside the results of a command on this machine."""
    out = summary.get("out", "-")
    folders = [] if out == "-" or is_url(out) else [Path(out) / FOLDER_LEDGER]
    return [*folders, *(folder / RUN_LEDGER for folder in run_folders(summary))]


def _keep(summary: dict[str, Any], before: list[LedgerRecord], own: list[LedgerRecord], data: BinaryIO | None) -> None:
    """Write records beside the result: into a folder, a run folder, or for the reader of the pipe."""
    out = summary.get("out", "-")
    if is_url(out):
        from capivara_cli.storage.remote import upload

        place, there = _read_remote(out)
        upload.put_bytes(place, "".join(map(_line, unique([*before, *there, *own]))).encode())
    elif out == "-" and data is not None:
        pipe_relay.store_for_reader("".join(map(_line, unique([*before, *own]))), data.fileno())
    runs = run_folders(summary)
    for path in places(summary):
        mine = own if len(own) != len(runs) else [own[runs.index(path.parent)]]
        _join(path, before, mine)


def _join(path: Path, before: list[LedgerRecord], own: list[LedgerRecord], patience: float = float("inf")) -> None:
    """Add records to the ledger of a folder, one process at a time: several that filled it may end together."""
    claims = Claims(path.parent)
    try:
        with claims.waiting(path.name, patience) as claim:
            if claim is not None:
                replace_text(path, _text(unique([*before, *read(path), *own]), path.name))
    except OSError as error:
        if error.errno not in _READ_ONLY:
            raise
        console.say(f"{path}: cannot be written, so the cost of this command is not in it: {error.strerror}")
    finally:
        claims.close()


def _text(records: list[LedgerRecord], name: str) -> str:
    if name == RUN_LEDGER:
        return json.dumps(checksums.with_checksum({"records": records}), indent=2, ensure_ascii=False) + "\n"
    return "".join(map(_line, records))


def _append(path: str, lines: str) -> None:
    """Append lines in one write: other commands append to the file at the same time."""
    Path(path).resolve().parent.mkdir(parents=True, exist_ok=True)
    with named_in_errors(Path(path)):
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(descriptor, lines.encode())
        finally:
            os.close(descriptor)


def read(path: Path) -> list[LedgerRecord]:
    """The records of a folder of shards, a run folder or a ledger file; [] if it has none.

    Raises ``CapivaraError`` for a damaged ledger.
    """
    candidates = [path / FOLDER_LEDGER, path / RUN_LEDGER] if path.is_dir() else [path]
    found: list[LedgerRecord] = []
    for candidate in candidates:
        if candidate.is_file() and candidate.suffix in {".jsonl", ".json"}:
            found += _records(candidate.read_bytes(), str(candidate))
    return found


def _read_remote(folder: str) -> tuple[str, list[LedgerRecord]]:
    """The URL of the ledger of a remote folder of shards, and its records."""
    from capivara_cli.shards import remote_inputs  # imports network libraries

    place = remote_inputs.child(folder, FOLDER_LEDGER)
    return place, _records(remote_inputs.read_bytes(place) or b"", place)


def _records(data: bytes, name: str) -> list[LedgerRecord]:
    text = data.decode("utf-8", "replace")
    try:
        if name.endswith(".json"):
            document = json.loads(text)
            entries = document["records"]
        else:
            document, entries = {}, [json.loads(each) for each in text.splitlines()]
        if not isinstance(entries, list):
            raise ValueError("its records are no list")
        records = [_checked(entry) for entry in entries if isinstance(entry, dict) and "id" in entry]
        checksums.without_checksum(document)
        return records
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CapivaraError(f"{name}: not a ledger of footprints: {error}", "delete it to start a new one") from error


def _checked(entry: dict[str, Any]) -> LedgerRecord:
    """Return the record; raise ``ValueError`` if it lacks a key that ``sums`` needs, or has one of another type."""
    needed = {"id": str, "stage": str, "source": str, **dict.fromkeys(_SUMMED, int | float)}
    for key, kind in needed.items():
        if key not in entry:
            raise ValueError(f"{key!r} of a record is missing")
        if not isinstance(entry[key], kind):
            raise ValueError(f"{key!r} of a record is {entry[key]!r}")
    record = from_json(LedgerRecord, entry, "a record")
    for key in (*_SUMMED, "intensity", "samples", "flops"):
        number = entry.get(key) or 0
        if not (math.isfinite(number) and number >= 0):
            raise ValueError(f"{key!r} of a record is {number!r}")
    return record


def unique(records: Iterable[LedgerRecord]) -> list[LedgerRecord]:
    """Each record once: its last version, in the order of the first ones. Steps replace the record of their plan."""
    found = {each["id"]: each for each in records}
    plans = {each.get("plan") for each in found.values()}
    return [each for name, each in found.items() if name not in plans]


def with_intensity(entry: LedgerRecord, where: Intensity) -> LedgerRecord:
    """A record with the carbon intensity of another place: energy does not depend on it."""
    return cast(LedgerRecord, {**entry, **where.entry, "co2e_g": entry["kwh"] * where.grams})


def sums(records: Sequence[LedgerRecord]) -> tuple[list[CostSum], CostSum]:
    """One row per stage, in the order of their first records, and the total of all.

    The samples of the total are those that entered the chain: what its first stage with samples read.
    """
    stages = dict.fromkeys(each["stage"] for each in records)
    rows = [_sum(name, [each for each in records if each["stage"] == name]) for name in stages]
    samples = next((row["samples"] for row in rows if row["samples"]), 0)
    return rows, _sum("total", records, samples)


def _sum(name: str, records: Sequence[LedgerRecord], samples: int | None = None) -> CostSum:
    """Records added up; ``samples`` in place of their sum."""
    entries = [cast(dict[str, Any], each) for each in records]
    summed = {key: sum(each[key] for each in entries) for key in _SUMMED}
    for key in ("samples", "flops"):
        summed[key] = sum(each[key] for each in entries if isinstance(each.get(key), int))
    if samples is not None:
        summed["samples"] = samples
    per_1000 = summed["kwh"] * 1000 / summed["samples"] if summed["samples"] else None
    source = ", ".join(sorted({each["source"] for each in records}))
    row = {"stage": name, "runs": len(records), **summed, "source": source, "kwh_per_1000": per_1000}
    return cast(CostSum, row)


_SUMMED = ("seconds", "cpu_seconds", "kwh_cpu", "kwh_gpu", "kwh_ram", "kwh", "co2e_g")


def folders_of(inputs: Iterable[str]) -> list[Path]:
    """The folders of inputs, which may have a ledger."""
    return sorted({path if path.is_dir() else path.parent for path in map(Path, inputs)})


def _line(entry: LedgerRecord) -> str:
    return json.dumps(entry, ensure_ascii=False) + "\n"
