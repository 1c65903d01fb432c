"""A command ends a stream: it takes what its arguments name and returns a machine-readable summary.

A command file is an options dataclass and one function::

    @command("train", Options)
    def train(inputs: list[str], options: Options, env: Env) -> dict[str, Any]: ...
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings
from capivara_cli.pipeline.stage import Stage

Run = Callable[[list[str], Any, Env], dict[str, Any]]
Estimate = Callable[[list[str], Any, Env, Any], dict[str, Any]]


@dataclass(frozen=True)
class Command:
    """One subcommand that ends a stream. ``argument`` names its positional arguments in ``--help``.

    ``streams``: it writes a tar to standard output (``env.data``) unless ``--out`` names a folder.
    ``composed``: it runs other commands (``env.perform``), which are measured one by one.
    ``wraps``: it takes another command line after ``--``; the ``--`` stays in its inputs.
    ``estimate``: what ``--dry-run`` does instead: it checks the same and adds rows to a ``cli.dry_run.Rehearsal``.
    """

    name: str
    options: type
    run: Run
    argument: str = "INPUT"
    streams: bool = False
    composed: bool = False
    wraps: bool = False
    estimate: Estimate | None = None


def command(
    name: str, options: type, argument: str = "INPUT", *,
    streams: bool = False, composed: bool = False, wraps: bool = False, estimate: Estimate | None = None,
) -> Callable[[Run], Command]:  # fmt: skip
    """Make a function the command ``name``. What it returns is what ``--json`` and ``--summary`` write.

    Keys that mean something to every command: ``read``, ``written``, ``dropped``, ``notes`` (the summary line),
    ``out`` (a folder of shards) and ``run`` (a run folder), which get the footprint, ``cards`` (further run folders
    whose model card changes), and ``inputs``, whose footprints it is added to.
    """
    return lambda run: Command(name, options, run, argument, streams, composed, wraps, estimate)


@dataclass(frozen=True)
class Invocation:
    """One command line, understood."""

    command: Stage | Command
    inputs: list[str]
    options: Any
    settings: Settings
