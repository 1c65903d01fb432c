"""Do what one command line asks, measured and accounted for: shared by the program and by commands made of commands."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from capivara_cli import console
from capivara_cli.cli.parameters import parse_command
from capivara_cli.costs import Meter, carbon_intensity, ledger, live_record
from capivara_cli.pipeline import engine
from capivara_cli.pipeline.command import Command, Invocation
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings
from capivara_cli.pipeline.stage import Stage, Step
from capivara_cli.shards.sample import encode_json
from capivara_cli.stages.filtering import histogram as scores
from capivara_cli.storage.files import replace_text


def perform(invocation: Invocation, *, data: BinaryIO | None = None, as_json: bool = False) -> dict[str, Any]:
    """Run a stage or command, say what it did and what it cost, and return its summary.

    ``data`` is the stream a tar goes to, None for a folder. A command made of commands is not measured itself: what
    it is made of is.
    """
    settings = invocation.settings
    if settings.dry_run:
        from capivara_cli.cli import dry_run  # whose trials and tables nothing else needs

        return dry_run.perform(invocation, data, as_json)
    started = time.monotonic()
    composed = isinstance(invocation.command, Command) and invocation.command.composed
    with (
        Meter(invocation.command.name, carbon_intensity.of(settings), tracked=settings.energy) as meter,
        live_record.measured(meter, settings.ledger, settings.energy and not composed) as work,
    ):
        summary = _work(invocation, data, as_json)
        summary["seconds"] = round(time.monotonic() - started, 3)
        inputs = summary.pop("inputs", [])
        if work is not None:
            summary["footprint"] = work.ended(inputs, summary, data)
        cards = [Path(text) for text in summary.pop("cards", [])]
        for folder in [] if composed else dict.fromkeys([*ledger.run_folders(summary), *cards]):
            from capivara_cli.reports import card  # last: a card contains what its run cost

            card.write(folder)
    histogram = scores.take(summary)
    if "read" in summary:
        console.say(summary_line(invocation.command.name, summary))
    if histogram:
        console.say(scores.sparkline(histogram))
    text = encode_json({"command": invocation.command.name, **summary}, indent=2).decode() + "\n"
    if settings.summary:
        replace_text(Path(settings.summary), text)
    if as_json:
        console.page(text)
    return summary


def _work(invocation: Invocation, data: BinaryIO | None, as_json: bool) -> dict[str, Any]:
    command, settings = invocation.command, invocation.settings
    if isinstance(command, Stage):
        return engine.run([Step(command, invocation.options)], invocation.inputs, settings, data).summary()
    env = Env(settings, command.name)
    env.json = as_json
    env.data = data
    return command.run(invocation.inputs, invocation.options, env)


def perform_line(words: Sequence[str], settings: Settings) -> dict[str, Any]:
    """Run one command line in this process as if it had been typed, with the shared settings given; show it first."""
    console.say(f"$ capivara {shlex.join(words)}")
    return perform(parse_command(words, settings))


def summary_line(name: str, summary: dict[str, Any]) -> str:
    """One line: read, wrote, dropped with reasons, what else was noticed, how long, how much energy."""
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
        line += f"; {summary['resumed_shards']:,} shards were already done"
    if summary.get("out", "-") != "-":
        line += f"; in {summary['out']}/"
    seconds = summary["seconds"]
    line += f"; {console.duration(seconds)}, {summary['read'] / max(seconds, 1e-9):,.0f} samples/s"
    if cost := summary.get("footprint"):
        line += f", {cost['kwh'] * 1000:.2g} Wh"
    return line


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{what}: {count:,}" for what, count in counts.items())
