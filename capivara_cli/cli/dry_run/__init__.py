"""``--dry-run``: what a command would take, in time, memory, disk and energy, without doing it.

A rate is that of this machine's own past runs, else measured now on a few samples, else assumed from the operations of
the model and the device; each says which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from capivara_cli import console
from capivara_cli.cli.dry_run import offline, plans
from capivara_cli.cli.dry_run.rehearsal import Rehearsal
from capivara_cli.costs import carbon_intensity
from capivara_cli.errors import UsageError
from capivara_cli.pipeline.command import Invocation
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings
from capivara_cli.pipeline.stage import Stage, Step
from capivara_cli.shards.sample import encode_json
from capivara_cli.storage.files import replace_text

_running: list[Rehearsal] = []
"""The rehearsal of a command that is made of commands, while it goes through them."""


def perform(invocation: Invocation, data: BinaryIO | None, as_json: bool) -> dict[str, Any]:
    """Say what the command would take, and return it; of a part of another command, what its result would be.

    ``data`` is the stream a tar would go to. Raises what the command would raise before it begins.
    """
    if _running:
        return _rehearse(invocation, _running[-1], data)
    settings = invocation.settings
    rehearsal = Rehearsal(carbon_intensity.of(settings).grams)
    _running.append(rehearsal)
    try:
        _rehearse(invocation, rehearsal, data)
    finally:
        _running.pop()
    console.say(rehearsal.text())
    for remark in rehearsal.remarks:
        console.warn(remark)
    summary = rehearsal.to_json(invocation.command.name)
    text = encode_json(summary, indent=2).decode() + "\n"
    if settings.summary:
        replace_text(Path(settings.summary), text)
    if as_json:
        console.page(text)
    return summary


def perform_lines(check: Callable[[], object], lines: Iterable[Sequence[str]], settings: Settings) -> None:
    """The parts of a command that is made of commands, each as if it had been typed."""
    from capivara_cli.cli.perform import perform_line  # which asks this module what to do

    offline.check(check, _running[-1])
    for words in lines:
        perform_line(words, settings)


def _rehearse(invocation: Invocation, rehearsal: Rehearsal, data: BinaryIO | None) -> dict[str, Any]:
    command, inputs, options = invocation.command, invocation.inputs, invocation.options
    if isinstance(command, Stage):
        steps = [Step(command, options)]
        return plans.rehearse(steps, inputs, invocation.settings, rehearsal, streams=data is not None)
    env = Env(invocation.settings, command.name)
    env.data = data
    if command.estimate is not None:
        return command.estimate(inputs, options, env, rehearsal)
    if command.composed:
        return command.run(inputs, options, env)
    raise UsageError(f"{command.name}: --dry-run is for what takes long: the stages, run, train, eval, adapt and demo")
