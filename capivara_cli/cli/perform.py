"""Perform a command line: run it, print its summary line, and record its cost."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from capivara_cli import console
from capivara_cli.cli.outputs import check_outputs
from capivara_cli.cli.parameters import parse_command
from capivara_cli.cli.summary import steps_table, summary_line, write_summary
from capivara_cli.costs import carbon_intensity, ledger
from capivara_cli.costs.costs import Costs
from capivara_cli.errors import CapivaraError, resumable
from capivara_cli.pipeline import engine
from capivara_cli.pipeline.command import Command, Invocation
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings
from capivara_cli.pipeline.stage import Stage, Step
from capivara_cli.stages.filtering import histogram as scores
from capivara_cli.storage.files import check_writable
from capivara_cli.urls import is_url, public_url


def perform(
    invocation: Invocation, *, data: BinaryIO | None = None, as_json: bool = False, prints: bool = True
) -> dict[str, Any]:
    """Perform a command line, or estimate it (``--dry-run``); return its summary.

    ``data`` is the stream for a tar, None for a folder. ``as_json`` prints the summary to standard output; without
    ``prints`` nothing is printed there. Raises ``CapivaraError`` for a ledger or summary that cannot be written, and
    ``UsageError`` for one over an input, before the work.
    """
    check_outputs(invocation)
    _check_files(invocation.settings)
    if invocation.settings.dry_run:
        from capivara_cli.cli.dry_run import Rehearser  # a long import

        return Rehearser().perform(invocation, data=data, as_json=as_json)
    return Performer(prints).perform(invocation, data=data, as_json=as_json)


def _check_files(settings: Settings) -> None:
    """Raise ``CapivaraError`` if a file that is written after the work cannot be written."""
    ledger_file = settings.ledger if settings.energy else ""
    for option, file, replaced in (("--ledger", ledger_file, False), ("--summary", settings.summary, True)):
        if is_url(file):
            raise CapivaraError(f"{option} {public_url(file)}: is kept on this machine", "name a local file")
        try:
            if file:
                check_writable(Path(file), replaced=replaced)
        except OSError as error:
            variable = ", or change CAPIVARA_LEDGER" if option == "--ledger" else ""
            raise CapivaraError(
                f"{option} {file}: cannot be written: {error.strerror}", f"name a file in a folder of yours{variable}"
            ) from error


class Performer:
    """Performs one command line, and the command lines that it runs, in this process, and measures their costs.

    ``prints``: whether commands may print results to standard output.
    """

    def __init__(self, prints: bool = True) -> None:
        self.prints = prints
        self.costs = Costs()
        self._last = ""  # the last command that ``line`` has performed

    def perform(self, invocation: Invocation, *, data: BinaryIO | None = None, as_json: bool = False) -> dict[str, Any]:
        """Run a stage or command, print its summary line, record its cost, and return its summary.

        A command that runs other commands has no cost record: each of those has its own.
        """
        check_outputs(invocation)
        settings, name = invocation.settings, invocation.command.name
        started = time.monotonic()
        composed = isinstance(invocation.command, Command) and invocation.command.composed
        with (
            self.costs.meter(name, carbon_intensity.of(settings), tracked=settings.energy) as meter,
            self.costs.recorded(meter, settings.ledger, settings.energy and not composed) as record,
        ):
            summary = self._work(invocation, data, as_json)
            summary["seconds"] = round(time.monotonic() - started, 3)
            inputs, seconds = summary.pop("inputs", []), self.costs.steps.seconds()
            if record is not None:
                summary["footprint"] = record.finish(inputs, summary, data)
            elif not composed:
                self.costs.steps.take()
            cards = [Path(text) for text in summary.pop("cards", [])]
            for folder in [] if composed else dict.fromkeys([*ledger.run_folders(summary), *cards]):
                from capivara_cli.reports import card  # last, because the card contains the cost of its run

                card.write(folder)
        self._say(name, summary, seconds, settings.verbose)
        write_summary({"command": name, **summary}, settings.summary, as_json)
        return summary

    def _say(self, name: str, summary: dict[str, Any], seconds: Sequence[float], verbose: bool) -> None:
        """Print the summary for people, with the ``seconds`` of each step. What is meant only for it is removed."""
        histogram, up_to_date = scores.take(summary), summary.pop("up_to_date", False)
        if "read" in summary:
            console.say(summary_line(name, summary, verbose=verbose, up_to_date=up_to_date))
        if not up_to_date and (steps := steps_table(summary, seconds)):
            console.say(steps)
        if histogram:
            console.say(scores.sparkline(histogram))

    def _work(self, invocation: Invocation, data: BinaryIO | None, as_json: bool) -> dict[str, Any]:
        command, settings = invocation.command, invocation.settings
        if isinstance(command, Stage):
            steps = [Step(command, invocation.options)]
            return engine.run(steps, invocation.inputs, settings, data, self.costs).summary()
        env = self.env(settings, command.name)
        env.json = as_json or not self.prints
        env.data = data
        return command.run(invocation.inputs, invocation.options, env)

    def env(self, settings: Settings, name: str) -> Env:
        """The environment of a command; its ``perform`` runs other commands."""
        env = Env(settings, name, costs=self.costs)
        env.perform = self.line
        return env

    def line(self, words: Sequence[str], settings: Settings) -> dict[str, Any]:
        """Print one command line, and perform it with the shared settings, as if the user had typed it."""
        console.say(f"$ capivara {shlex.join(words)}")
        with resumable(lambda: f"the commands up to {self._last!r} are finished" if self._last else ""):
            found = self.perform(parse_command(words, settings))
        self._last = words[0]
        return found
