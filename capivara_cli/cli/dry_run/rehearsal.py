"""What the commands of one ``--dry-run`` would take, added up: rows, folders that would be there, and remarks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from capivara_cli import console
from capivara_cli.cli.dry_run import offline
from capivara_cli.cli.dry_run.census import Census
from capivara_cli.cli.dry_run.machine import free_disk
from capivara_cli.costs.footprint import JOULES_PER_KWH
from capivara_cli.models.hub import NotHere
from capivara_cli.urls import is_url, public_url

SOURCES = {
    "past": "past run",
    "measured": "measured now",
    "assumed": "assumed",
    "done": "already done",
}


@dataclass(frozen=True)
class Row:
    """One stage: ``samples`` (or steps of training) that are left to do, ``captions`` there are afterwards.

    ``source``: past, measured, assumed or done; ``basis`` says on what that rests. In seconds, watts and bytes; of the
    seconds, ``start`` until the first sample.
    """

    stage: str
    samples: float
    captions: float
    seconds: float
    source: str
    basis: str
    watts: float
    memory: float = 0.0
    disk: float = 0.0
    done: float = 0.0
    start: float = 0.0

    @property
    def rate(self) -> float:
        """Samples, or steps, per second, once it has begun; 0 where that is not known apart."""
        return self.samples / busy if (busy := self.seconds - self.start) > 0 else 0.0

    @property
    def kwh(self) -> float:
        return self.seconds * self.watts / JOULES_PER_KWH


@dataclass
class Rehearsal:
    """``intensity``: g CO2e per kWh. ``made``, ``runs``: folders of shards and of runs that earlier commands would have
    made."""

    intensity: float = 0.0
    rows: list[Row] = field(default_factory=list)
    made: dict[str, Census] = field(default_factory=dict)
    runs: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    counts: dict[str, str] = field(default_factory=dict)
    known: dict[str, Any] = field(default_factory=dict)
    """What was found out once, for commands that need it again."""

    def planned(self, sources: Sequence[str]) -> Census | None:
        """What would be in folders that earlier commands fill; None where they are no such folders.

        Several are taken to be like the first.
        """
        parts = [self.made[source] for source in sources if source in self.made]
        return replace(parts[0], shards=tuple(count for part in parts for count in part.shards)) if parts else None

    def count(self, inputs: Sequence[str], census: Census) -> None:
        """Note what is in the inputs of a command, and how that is known."""
        name, shards = " ".join(map(public_url, inputs)), len(census.shards)
        self.counts[name] = (
            f"{name}: {census.samples:,.0f} samples in {shards:,} shard{'s' * (shards != 1)}, {size(census.size)}, "
            f"{sum(census.captions.values()) * census.samples:,.0f} captions; {census.described}"
        )

    def check(self, work: Callable[[], object]) -> None:
        """Do what a command checks before it begins; a model that has to be downloaded first is a remark, no error."""
        with offline.hub_offline():
            try:
                work()
            except NotHere as error:
                self.remark(offline.absence(error.message))

    def remark(self, text: str) -> None:
        if text not in self.remarks:
            self.remarks.append(text)

    def check_room(self, place: str, needed: float) -> None:
        """Remark on a disk that is too small."""
        if place in ("", "-") or is_url(place):
            return
        free = free_disk(place)
        if needed > free:
            self.remark(f"not enough room: {place} needs about {size(needed)}, and {size(free)} are free there")

    def check_memory(self, needed: float, free: float) -> None:
        if needed > free:
            self.remark(f"not enough memory: about {size(needed)} are needed, and {size(free)} are free")

    @property
    def total(self) -> Row:
        seconds = sum(row.seconds for row in self.rows)
        energy = sum(row.seconds * row.watts for row in self.rows)
        return Row(
            "total", 0, 0, seconds, "", "", energy / seconds if seconds else 0.0,
            max((row.memory for row in self.rows), default=0.0), sum(row.disk for row in self.rows),
        )  # fmt: skip

    def to_json(self, name: str) -> dict[str, Any]:
        """For programs: seconds, bytes, kWh, g CO2e."""
        return {
            "command": name,
            "dry_run": True,
            "stages": [self._entry(row) for row in self.rows],
            "total": {key: value for key, value in self._entry(self.total).items() if key in _TOTALS},
            "inputs": list(self.counts.values()),
            "remarks": self.remarks,
            "intensity": self.intensity,
        }

    def _entry(self, row: Row) -> dict[str, Any]:
        return {
            "stage": row.stage,
            "samples": round(row.samples),
            "captions": round(row.captions),
            "already_done": round(row.done),
            "samples_per_second": round(row.rate, 4),
            "source": row.source,
            "basis": row.basis,
            "seconds": round(row.seconds, 1),
            "memory_bytes": round(row.memory),
            "disk_bytes": round(row.disk),
            "kwh": row.kwh,
            "co2e_g": row.kwh * self.intensity,
        }

    def text(self) -> str:
        """For people: what is there, a table, where each rate comes from, remarks."""
        rows = [self._cells(row) for row in self.rows]
        if len(rows) > 1:
            rows.append(["total", "", "", "", "", *self._cells(self.total)[5:]])
        notes = [f"{row.stage}: {SOURCES[row.source]}: {row.basis}" for row in self.rows if row.basis]
        table = console.table(rows, _HEADER)
        return "\n".join([*self.counts.values(), "", table, "", *dict.fromkeys(notes)])

    def _cells(self, row: Row) -> list[str]:
        return [
            row.stage,
            f"{row.samples:,.0f}",
            f"{row.captions:,.0f}" if row.captions else "",
            f"{row.rate:,.3g}" if row.rate < 1000 else f"{row.rate:,.0f}",
            SOURCES.get(row.source, ""),
            console.duration(row.seconds),
            size(row.memory) if row.memory else "",
            size(row.disk) if row.disk else "",
            f"{row.kwh:.2g}" if row.kwh else "0",
            f"{row.kwh * self.intensity:.2g}" if row.kwh else "0",
        ]


_HEADER = ["stage", "samples", "captions then", "per s", "rate is", "time", "memory", "disk", "kWh", "g CO2e"]
_TOTALS = ("seconds", "memory_bytes", "disk_bytes", "kwh", "co2e_g")


def size(count: float) -> str:
    """``1.5e9`` -> "1.5 GB"."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:,.3g} {unit}"
    return f"{count:.0f} B"
