"""The estimate of one ``--dry-run``: its rows, the folders that commands would make, and remarks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from capivara_cli import console
from capivara_cli.cli.dry_run import offline
from capivara_cli.cli.dry_run.census import Census
from capivara_cli.cli.dry_run.machine import free_disk
from capivara_cli.costs.footprint import JOULES_PER_KWH
from capivara_cli.models.hub import MissingFiles
from capivara_cli.urls import is_url, public_url

SOURCES = {"measured": "measured now", "done": "already done", "unknown": "not known"}


@dataclass(frozen=True)
class EstimateRow:
    """The estimate for one stage.

    ``samples``: those (or the steps of training) still to do. ``captions``: their number after the stage. ``source``:
    measured, done or unknown; ``basis`` explains it. ``start``: the part of ``seconds`` before the first sample.
    ``memory``, ``disk``: bytes. ``watts``: the mean power. None means unknown.
    """

    stage: str
    samples: float | None
    captions: float | None
    seconds: float | None
    source: str
    basis: str
    watts: float = 0.0
    memory: float | None = None
    disk: float | None = None
    done: float = 0.0
    start: float = 0.0

    @property
    def rate(self) -> float | None:
        """Samples, or steps, per second once it has started."""
        if self.seconds is None or self.samples is None or self.seconds <= self.start:
            return None
        return self.samples / (self.seconds - self.start)

    @property
    def kwh(self) -> float | None:
        return None if self.seconds is None else self.seconds * self.watts / JOULES_PER_KWH


def unknown(stage: str, samples: float | None, why: str, done: float = 0.0) -> EstimateRow:
    """A row for a stage that could not be measured, for the reason ``why``."""
    return EstimateRow(stage, samples, None, None, "unknown", why, done=done)


@dataclass
class Rehearsal:
    """The estimate of the commands of one ``--dry-run``. ``intensity``: g CO2e per kWh.

    ``outputs``: the census of each folder of shards that earlier commands would write; ``runs``: the run folders that
    they would write. ``known``: results of trials, for commands that need them again.
    """

    intensity: float = 0.0
    rows: list[EstimateRow] = field(default_factory=list)
    outputs: dict[str, Census] = field(default_factory=dict)
    runs: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    counts: dict[str, str] = field(default_factory=dict)
    known: dict[str, Any] = field(default_factory=dict)

    def planned(self, sources: Sequence[str]) -> Census | None:
        """The census of folders that earlier commands would fill; None if the sources are no such folders.

        Of several folders, all samples count as being like those of the first.
        """
        parts = [self.outputs[source] for source in sources if source in self.outputs]
        if unknown_part := next((part for part in parts if not part.known), None):
            return unknown_part
        return replace(parts[0], shards=tuple(count for part in parts for count in part.shards)) if parts else None

    def count(self, inputs: Sequence[str], census: Census) -> None:
        """Note the size of the inputs of a command, and how it was counted."""
        name, shards = " ".join(map(public_url, inputs)), len(census.shards)
        if not census.known:
            self.counts[name] = f"{name}: {census.described}"
            return
        self.counts[name] = (
            f"{name}: {census.samples:,.0f} samples in {shards:,} shard{'s' * (shards != 1)}, "
            f"{console.size(census.size)}, {sum(census.captions.values()) * census.samples:,.0f} captions; "
            f"{census.described}"
        )

    def check(self, work: Callable[[], object]) -> None:
        """Run a check of a command. If a model must be downloaded first, that is a remark, not an error."""
        with offline.hub_offline():
            try:
                work()
            except MissingFiles as error:
                self.remark(offline.missing_remark(error.message))

    def remark(self, text: str) -> None:
        if text not in self.remarks:
            self.remarks.append(text)

    def check_room(self, place: str, needed: float) -> None:
        """Remark on a disk that is too small."""
        if place in ("", "-") or is_url(place):
            return
        free = free_disk(place)
        if needed > free:
            self.remark(
                f"not enough room: {place} needs about {console.size(needed)}, and {console.size(free)} are free there"
            )

    def check_memory(self, needed: float, free: float) -> None:
        """Remark on a machine or GPU with too little free memory."""
        if needed > free:
            self.remark(
                f"not enough memory: about {console.size(needed)} are needed, and {console.size(free)} are free"
            )

    @property
    def unknown(self) -> list[str]:
        """The stages of unknown time, which are not in the total."""
        return [row.stage for row in self.rows if row.seconds is None]

    @property
    def total(self) -> EstimateRow:
        """The sum of all known values; for memory the maximum."""
        known = [row for row in self.rows if row.seconds is not None]
        seconds = sum(row.seconds or 0.0 for row in known)
        joules = sum((row.seconds or 0.0) * row.watts for row in known)
        memory = [row.memory for row in self.rows if row.memory is not None]
        disk = [row.disk for row in self.rows if row.disk is not None]
        return EstimateRow(
            "total", None, None, seconds if known else None, "", "", joules / seconds if seconds else 0.0,
            max(memory) if memory else None, sum(disk) if disk else None,
        )  # fmt: skip

    def to_json(self, name: str) -> dict[str, Any]:
        """The estimate as JSON: seconds, bytes, kWh, g CO2e; null for unknown values."""
        return {
            "command": name,
            "dry_run": True,
            "stages": [self._entry(row) for row in self.rows],
            "total": {key: value for key, value in self._entry(self.total).items() if key in _TOTALS},
            "unknown": self.unknown,
            "inputs": list(self.counts.values()),
            "remarks": self.remarks,
            "intensity": self.intensity,
        }

    def _entry(self, row: EstimateRow) -> dict[str, Any]:
        return {
            "stage": row.stage,
            "samples": _rounded(row.samples),
            "captions": _rounded(row.captions),
            "already_done": round(row.done),
            "samples_per_second": _rounded(row.rate, 4),
            "source": row.source,
            "basis": row.basis,
            "seconds": _rounded(row.seconds, 1),
            "memory_bytes": _rounded(row.memory),
            "disk_bytes": _rounded(row.disk),
            "kwh": row.kwh,
            "co2e_g": None if row.kwh is None else row.kwh * self.intensity,
        }

    def text(self) -> str:
        """The estimate as text: the inputs, a table, the basis of each rate, and what the total lacks."""
        rows = [self._cells(row) for row in self.rows]
        if len(rows) > 1:
            rows.append(["total", "", "", *self._cells(self.total)[3:]])
        notes = [_basis(row) for row in self.rows if row.basis]
        if self.unknown and len(rows) > 1:
            notes.append(f"the total lacks {', '.join(dict.fromkeys(self.unknown))}")
        known = [index for index in range(len(_HEADER)) if any(row[index] for row in rows)]
        table = console.table([[row[index] for index in known] for row in rows], [_HEADER[index] for index in known])
        return "\n".join([*self.counts.values(), "", table, "", *dict.fromkeys(notes)])

    def _cells(self, row: EstimateRow) -> list[str]:
        grams = None if row.kwh is None else row.kwh * self.intensity
        return [
            row.stage,
            "" if row.samples is None else f"{row.samples:,.0f}",
            f"{row.captions:,.0f}" if row.captions else "",
            "?" if row.seconds is None else _about(row.seconds),
            "" if row.memory is None else console.size(row.memory),
            "" if row.disk is None else console.size(row.disk),
            "" if row.kwh is None else _in_units(row.kwh * 1000, "Wh", "kWh"),
            "" if grams is None else _in_units(grams, "g", "kg"),
        ]


def _basis(row: EstimateRow) -> str:
    rate = f"{row.rate:,.3g} per s" if row.rate and row.rate < 1000 else f"{row.rate:,.0f} per s" if row.rate else ""
    return f"{row.stage}: {SOURCES[row.source]}: {row.basis}{f', {rate}' if rate else ''}"


def _about(seconds: float) -> str:
    """An estimated time, which is not more precise than its two largest units: ``7300`` -> "2 h 2 min"."""
    if seconds < 1:
        return "< 1 s" if seconds else "0 s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def _in_units(amount: float, small: str, large: str) -> str:
    """An estimated amount with two digits: ``1234`` Wh -> "1.2 kWh"; below a hundredth "< 0.01 Wh"."""
    if amount >= 1000:
        amount, small = amount / 1000, large
    return f"< 0.01 {small}" if 0 < amount < 0.01 else f"{float(f'{amount:.2g}'):,g} {small}"


_HEADER = ["step", "samples", "captions", "time", "memory", "disk", "energy", "CO2e"]
_TOTALS = ("seconds", "memory_bytes", "disk_bytes", "kwh", "co2e_g")


def _rounded(value: float | None, digits: int | None = None) -> float | None:
    return None if value is None else round(value, digits)
