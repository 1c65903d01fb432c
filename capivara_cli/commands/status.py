"""Show the progress of a folder of shards: shards done, processes at work, time left.

The processes may run on this or on other machines. It only reads, from any machine that sees the folder.

Arguments:
    FOLDER: folders that a stage or run writes, or has written, with --out

Examples:
    capivara status shards-caption
    capivara status captioned translated
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from capivara_cli import console
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.pipeline.command import command
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import COSTS
from capivara_cli.shards.manifest import MANIFEST, Manifest, ShardEntry
from capivara_cli.storage.found_claims import FoundClaim, clock, read_claim

_RECENT_SHARDS = 50
"""The rate is computed over this many shards: the last that were finished."""


class ClaimRow(TypedDict):
    """A claim of a shard: who holds it, since how many seconds, and how many seconds ago it was last renewed."""

    shard: str
    host: str
    pid: int | None
    command: str
    seconds: float | None
    silent: float
    stale: bool


PassRow = TypedDict("PassRow", {"pass": str, "done": int, "of": int | None})
"""A pass before the last one: its name, the number of shards that are done, and the number of all shards."""


class FolderStatus(TypedDict):
    """The progress of one folder. ``rate``: samples per second; ``left``, ``shards``: numbers of shards."""

    folder: str
    plan: str
    shards: int | None
    done: int
    left: int | None
    read: int
    written: int
    dropped: dict[str, int]
    passes: list[PassRow]
    claims: list[ClaimRow]
    rate: float | None
    seconds_left: float | None


@dataclass(frozen=True)
class Options:
    """No options: the argument names the folder."""


@command("status", Options, "FOLDER", settings=COSTS)
def status(inputs: list[str], options: Options, env: Env) -> dict[str, Any]:
    """Report the progress of each folder, from its manifest, logs and claims."""
    if not inputs:
        raise UsageError("status: which folder?", "the one that --out named: capivara status shards-caption")
    found = [_status(Path(text)) for text in inputs]
    if not env.json:
        console.print_result("\n".join(_page(each) for each in found))
    return {"folders": found}


def _status(folder: Path) -> FolderStatus:
    manifest = Manifest.load(folder)
    if manifest is None:
        raise CapivaraError(
            f"{folder}: no such folder" if not folder.is_dir() else f"{folder}: no manifest.jsonl in this folder",
            "name a folder that a stage writes, or has written, with --out",
        )
    now = clock(folder)
    claims = [_claim(seen) for seen in _claims(folder)]
    done = manifest.done
    rate = _rate(folder, done, now)
    left = None if manifest.shards is None else max(0, manifest.shards - len(done))
    read = sum(entry.read or 0 for entry in done.values())
    return {
        "folder": str(folder),
        "plan": manifest.steps,
        "shards": manifest.shards,
        "done": len(done),
        "left": left,
        "read": read,
        "written": sum(entry.written or 0 for entry in done.values()),
        "dropped": dict(_dropped(done)),
        "passes": _passes(folder),
        "claims": claims,
        "rate": rate,
        "seconds_left": left * read / len(done) / rate if left and read and rate and any(_alive(claims)) else None,
    }


def _claims(folder: Path) -> list[FoundClaim]:
    paths = [*sorted(folder.glob(".*.claim")), *sorted(folder.glob(".corpus-*/.*.claim"))]
    return [seen for path in paths if (seen := read_claim(path)) is not None]


def _claim(seen: FoundClaim) -> ClaimRow:
    """A claim as JSON; an unreadable claim names no process."""
    holder = seen.holder
    return {
        "shard": seen.path.name[1:].removesuffix(".claim"),
        "host": holder.host if holder else "",
        "pid": holder.pid if holder else None,
        "command": holder.command if holder else "",
        "seconds": round(max(0.0, time.time() - holder.since), 1) if holder else None,
        "silent": round(max(0.0, seen.silent), 1),
        "stale": seen.stale,
    }


def _alive(claims: Sequence[ClaimRow]) -> list[ClaimRow]:
    return [claim for claim in claims if not claim["stale"]]


def _dropped(done: dict[str, ShardEntry]) -> Counter[str]:
    steps = [step for entry in done.values() for step in entry.steps or ()]
    return sum((Counter(step.dropped) for step in steps), Counter())


def _rate(folder: Path, done: dict[str, ShardEntry], now: float) -> float | None:
    """Samples read per second, over the last ``_RECENT_SHARDS`` finished shards; None if there are too few."""
    times = []
    for name, entry in done.items():
        path = folder / name
        if path.is_file():
            times.append((path.stat().st_mtime, entry.read or 0))
    first, *last = sorted(times)[-_RECENT_SHARDS:] or [(now, 0)]
    seconds = now - first[0]
    return round(sum(read for _, read in last) / seconds, 2) if last and seconds > 0 else None


def _passes(folder: Path) -> list[PassRow]:
    """The progress of the passes before the last one, in a plan with stages that must see all samples first."""
    labels = {MANIFEST: "shards", "surveys.jsonl": "surveys", "decisions.jsonl": "decisions"}
    found: list[PassRow] = []
    for inner in sorted(folder.glob(".corpus-*")):
        for file, label in labels.items():
            if (manifest := Manifest.load(inner, file)) is not None:
                name = f"{label} for {inner.name.removeprefix('.corpus-')}"
                found.append({"pass": name, "done": len(manifest.done), "of": manifest.shards})
    return found


def _page(found: FolderStatus) -> str:
    """The progress of one folder as lines for a terminal."""
    alive, shards = _alive(found["claims"]), found["shards"]
    stale = len(found["claims"]) - len(alive)
    total = _total(shards)
    lines = [
        f"{found['folder']}: {found['plan']}",
        f"  {found['done']:,}{total} shards done; read {found['read']:,}, wrote {found['written']:,}"
        f"{_reasons(found['dropped'])}",
    ]
    lines += [f"  {each['pass']}: {each['done']:,}{_total(each['of'])}" for each in found["passes"]]
    if found["left"] != 0:
        lines.append(f"  {len(alive):,} at work{f', {stale:,} claimed by processes that are gone' if stale else ''}")
        if found["seconds_left"] is not None:
            lines.append(f"  {found['rate']:,.1f} samples/s; {console.duration(found['seconds_left'])} left")
        if not alive:
            lines.append(f"  no process is at work: run the command that writes this folder again{_resumes(found)}")
    rows = [
        [
            claim["shard"],
            f"{claim['host']}:{claim['pid']}" if claim["host"] else "?",
            console.duration(claim["seconds"]) if claim["seconds"] is not None else "?",
            "gone" if claim["stale"] else f"{console.duration(claim['silent'])} ago",
            claim["command"][:60],
        ]
        for claim in found["claims"]
    ]
    if rows:
        lines.append(console.table(rows, ["shard", "process", "for", "seen", "command"], result=True))
    return console.printable("\n".join(lines)) + "\n"


def _resumes(found: FolderStatus) -> str:
    begun = found["done"] or any(each["done"] for each in found["passes"])
    return ", it resumes" if found["shards"] is not None and begun else ""


def _total(shards: int | None) -> str:
    return f" of {shards:,}" if shards is not None else " of ?"


def _reasons(dropped: dict[str, int]) -> str:
    if not dropped:
        return ""
    reasons = ", ".join(f"{reason}: {count:,}" for reason, count in dropped.items())
    return f", dropped {sum(dropped.values()):,} ({reasons})"
