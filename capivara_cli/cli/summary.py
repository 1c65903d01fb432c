"""The summary of a command: one line for people, JSON for programs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from capivara_cli import console
from capivara_cli.shards.sample import encode_json
from capivara_cli.storage.files import replace_text


def write_summary(summary: Mapping[str, Any], file: str, as_json: bool) -> None:
    """Write a summary as JSON to ``file``, unless that is empty, and with ``as_json`` to standard output."""
    text = encode_json(summary, indent=2).decode() + "\n"
    if file:
        replace_text(Path(file), text)
    if as_json:
        console.print_result(text)


def summary_line(name: str, summary: Mapping[str, Any]) -> str:
    """One line: samples read, written and dropped, with reasons; notes; shards that were up to date; time; energy."""
    parts = [f"read {summary['read']:,}"]
    if "written" in summary:
        parts.append(f"wrote {summary['written']:,}")
    dropped = summary.get("dropped", {})
    reasons = f" ({_counted(dropped)})" if dropped else ""
    parts.append(f"dropped {sum(dropped.values()):,}{reasons}")
    line = f"capivara {summary.get('command', name)}: {', '.join(parts)}"
    if notes := summary.get("notes"):
        line += f"; {_counted(notes)}"
    if summary.get("resumed_shards"):
        count = summary["resumed_shards"]
        line += f"; up to date ({count:,} shard{'s' * (count != 1)})"
    if summary.get("out", "-") != "-":
        line += f"; in {summary['out']}/"
    seconds = summary["seconds"]
    line += f"; {console.duration(seconds)}, {summary['read'] / max(seconds, 1e-9):,.0f} samples/s"
    if cost := summary.get("footprint"):
        line += f", {cost['kwh'] * 1000:.2g} Wh"
    return line


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{what}: {count:,}" for what, count in counts.items())
