"""``--dry-run``: estimates the time, memory, disk space and energy of a command without running it.

It counts the input, runs the real stages on up to 32 samples, and extrapolates. If something cannot be tried, the
estimate says that it is unknown.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any, BinaryIO

from capivara_cli import console
from capivara_cli.cli.dry_run import plans
from capivara_cli.cli.dry_run.rehearsal import Rehearsal
from capivara_cli.cli.outputs import check_outputs
from capivara_cli.cli.parameters import parse_command
from capivara_cli.cli.summary import write_summary
from capivara_cli.costs import carbon_intensity
from capivara_cli.pipeline.command import Invocation
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings
from capivara_cli.pipeline.stage import Stage, Step


class Rehearser:
    """Estimates a command line, or several in order; each starts from the planned result of the one before."""

    def __init__(self) -> None:
        self.rehearsal = Rehearsal()

    def perform(self, invocation: Invocation, *, data: BinaryIO | None = None, as_json: bool = False) -> dict[str, Any]:
        """Print the estimate of a command and return it as JSON. ``data`` is the stream that a tar would go to.

        Raises the errors that the command would raise before it begins.
        """
        settings = invocation.settings
        self.rehearsal.intensity = carbon_intensity.of(settings).grams
        self._rehearse(invocation, data)
        console.say(self.rehearsal.text())
        for remark in self.rehearsal.remarks:
            console.warn(remark)
        summary = self.rehearsal.to_json(invocation.command.name)
        write_summary(summary, settings.summary, as_json)
        return summary

    def line(self, words: Sequence[str], settings: Settings) -> dict[str, Any]:
        """Print and estimate one command line of a command that runs several; return the keys of its result."""
        console.say(f"$ capivara {shlex.join(words)}")
        return self._rehearse(parse_command(words, settings), None)

    def _rehearse(self, invocation: Invocation, data: BinaryIO | None) -> dict[str, Any]:
        check_outputs(invocation)
        command, inputs, options = invocation.command, invocation.inputs, invocation.options
        if isinstance(command, Stage):
            steps = [Step(command, options)]
            return plans.rehearse(steps, inputs, invocation.settings, self.rehearsal, streams=data is not None)
        if command.estimate is None:
            raise RuntimeError(f"{command.name} has no estimate, and no --dry-run")
        env = Env(invocation.settings, command.name)
        env.data = data
        env.perform = self.line
        return command.estimate(inputs, options, env, self.rehearsal)
