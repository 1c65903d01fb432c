"""The summary of a command: a short line and, of a plan, a table of its steps for people; JSON for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from capivara_cli import console
from capivara_cli.shards.sample import encode_json
from capivara_cli.storage.files import replace_text

_SHOWN = 3  # reasons, and notes, in a line without --verbose


def write_summary(summary: Mapping[str, Any], file: str, as_json: bool) -> None:
    """Write a summary as JSON to ``file``, unless that is empty, and with ``as_json`` to standard output."""
    text = encode_json(summary, indent=2).decode() + "\n"
    if file:
        replace_text(Path(file), text)
    if as_json:
        console.print_result(text)


def summary_line(name: str, summary: Mapping[str, Any], *, verbose: bool = False, up_to_date: bool = False) -> str:
    """One line: samples read, written and dropped, with the most frequent reasons and notes; the result; the time.

    ``verbose`` adds all reasons and notes, the speed and the energy. ``up_to_date``: there was nothing to do.
    """
    parts = ["up to date" + _shards(summary)] if up_to_date else _counts(summary, verbose)
    if summary.get("out", "-") != "-":
        parts.append(f"in {summary['out']}/")
    seconds = summary["seconds"]
    speed = f", {summary['read'] / max(seconds, 1e-9):,.0f} samples/s" if verbose and not up_to_date else ""
    cost = summary.get("footprint") if verbose else None
    energy = f", {cost['kwh'] * 1000:.2g} Wh" if cost else ""
    parts.append(f"{console.duration(seconds)}{speed}{energy}")
    return f"capivara {summary.get('command', name)}: {'; '.join(parts)}"


def _counts(summary: Mapping[str, Any], verbose: bool) -> list[str]:
    """The parts of the line about samples. The reasons of a plan are in its table."""
    counts = [f"read {summary['read']:,}"]
    if "written" in summary:
        counts.append(f"wrote {summary['written']:,}")
    dropped = summary.get("dropped", {})
    reasons = f" ({_listed(dropped, 0 if verbose else _SHOWN)})" if dropped and not _is_plan(summary) else ""
    counts.append(f"dropped {sum(dropped.values()):,}{reasons}")
    parts = [", ".join(counts)]
    if notes := summary.get("notes"):
        parts.append(_listed(notes, 0 if verbose else _SHOWN))
    if summary.get("resumed_shards"):
        parts.append("up to date" + _shards(summary))
    return parts


def _shards(summary: Mapping[str, Any]) -> str:
    count = summary.get("resumed_shards")
    return f" ({count:,} shard{'s' * (count != 1)})" if count else ""


def _is_plan(summary: Mapping[str, Any]) -> bool:
    steps = summary.get("steps")  # of a training, their number
    return isinstance(steps, Sequence) and len(steps) > 1


def steps_table(summary: Mapping[str, Any], seconds: Sequence[float]) -> str:
    """The table of a plan's steps: what each read, wrote and dropped, why, and its ``seconds``; "" for one step."""
    if not _is_plan(summary):
        return ""
    timed = len(seconds) == len(summary["steps"])
    rows = [
        [
            each["step"],
            f"{each['read']:,}",
            f"{each['written']:,}",
            f"{sum(each['dropped'].values()):,}",
            *[f"{seconds[number]:,.1f}" if timed else ""] * timed,
            _listed(each["dropped"], 0),
        ]
        for number, each in enumerate(summary["steps"])
    ]
    return console.table(rows, ["step", "read", "wrote", "dropped", *["seconds"] * timed, "why"])


def _listed(counts: Mapping[str, int], most: int) -> str:
    """``{"torn": 7}`` -> "torn: 7". Of more than ``most`` (0: all), the most frequent, and how many others."""
    shown = list(counts.items())
    others: list[tuple[str, int]] = []
    if most and len(shown) > most:
        ordered = Counter(counts).most_common()
        shown, others = ordered[:most], ordered[most:]
    texts = [f"{what}: {count:,}" for what, count in shown]
    if others:
        texts.append(f"{len(others):,} more with --verbose: {sum(count for _, count in others):,}")
    return ", ".join(texts)
