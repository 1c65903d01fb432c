"""A command: a function that takes inputs and options, and returns a summary as JSON. It writes no stream of samples.

A command file is an options dataclass and one function::

    @command("train", Options)
    def train(inputs: list[str], options: Options, env: Env) -> dict[str, Any]: ...
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings, offered
from capivara_cli.pipeline.stage import Stage

if TYPE_CHECKING:
    from capivara_cli.plugin_errors import Origin

Run = Callable[[list[str], Any, Env], dict[str, Any]]
Estimate = Callable[[list[str], Any, Env, Any], dict[str, Any]]


@dataclass(frozen=True)
class Command:
    """One command that is no stage. ``argument`` names its positional arguments in ``--help``.

    ``streams``: it writes a tar to standard output (``env.data``) unless ``--out`` names a folder.
    ``composed``: it runs other commands (``env.perform``), and the cost of each of them is recorded by itself.
    ``wraps``: it takes another command line after ``--``; the ``--`` stays in its inputs.
    ``estimate``: the function that ``--dry-run`` calls instead. It makes the same checks and adds rows to a
    ``cli.dry_run.rehearsal.Rehearsal``. ``settings``: the shared options that it reads; None for all of them.
    """

    name: str
    options: type
    run: Run
    argument: str = "INPUT"
    streams: bool = False
    composed: bool = False
    wraps: bool = False
    estimate: Estimate | None = None
    settings: tuple[str, ...] | None = None

    @property
    def shared(self) -> frozenset[str]:
        """The names of the shared options that the command has."""
        every = (each.name for each in fields(Settings) if each.name != "dry_run")
        return offered(every if self.settings is None else self.settings, rehearses=self.estimate is not None)

    def of_package(self, origin: Origin) -> Command:
        """This command as that of another package, whose faults raise ``PluginError``.

        Raises it here for another name than that of its entry point, and for options that cannot be options.
        """
        from capivara_cli.pipeline.added_stages import check_options_class, guarded_command

        if (self.name, origin.kind) != (origin.name, "commands"):
            raise origin.fault(
                f"leads to the command {self.name!r}; its group and name must be those of its entry point"
            )
        check_options_class(origin, self.options)
        return replace(self, run=guarded_command(self.run, origin))


def command(
    name: str, options: type, argument: str = "INPUT", *,
    streams: bool = False, composed: bool = False, wraps: bool = False, estimate: Estimate | None = None,
    settings: tuple[str, ...] | None = None,
) -> Callable[[Run], Command]:  # fmt: skip
    """Return a decorator that turns a function into the command ``name``.

    ``--json`` and ``--summary`` write the result of the function. These keys of it mean the same for every command.
    ``read``, ``written``, ``dropped`` and ``notes`` are shown in the summary line. ``out`` (a folder of shards) and
    ``run`` (a run folder) get the cost record of the command. ``inputs`` are folders whose cost records are copied
    beside it. ``cards`` are further run folders whose model card changes.
    """
    return lambda run: Command(name, options, run, argument, streams, composed, wraps, estimate, settings)


@dataclass(frozen=True)
class Invocation:
    """A parsed command line."""

    command: Stage | Command
    inputs: list[str]
    options: Any
    settings: Settings
