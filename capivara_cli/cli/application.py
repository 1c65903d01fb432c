"""The Typer app of one command: it parses a command line and calls the command."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer

from capivara_cli import console
from capivara_cli.cli import command_help
from capivara_cli.cli.parameters import TYPER_ERROR, typer_function, with_lists_joined, with_version, wrong_use
from capivara_cli.pipeline.command import Command, Invocation
from capivara_cli.pipeline.options import JsonOption, Settings
from capivara_cli.pipeline.stage import Stage

CONTEXT: dict[str, Any] = {"help_option_names": ["-h", "--help"]}
Run = Callable[[Invocation, bool, bool], None]
"""Performs a command line. The other arguments: it writes a tar to standard output, and it prints its summary there."""


def call(name: str, command: Stage | Command, words: list[str], run: Run) -> None:
    """Parse the ``words`` that follow the name of a command, and ``run`` it, unless they ask for help or the version.

    Raises ``UsageError`` for a wrong command line.
    """
    parsed: list[tuple[Invocation, bool, bool]] = []
    try:
        app = typer.main.get_command(application(name, command, lambda *given: parsed.append(given)))
        with console.writing_to_stdout():  # the help and the version
            app.main(_for_typer(words, command), prog_name=f"capivara {name}", standalone_mode=False)
    except TYPER_ERROR as error:
        raise wrong_use(name, error) from error
    for given in parsed:  # outside of Typer, which would turn Ctrl-C and closed pipes into errors of its own
        run(*given)


def application(name: str, command: Stage | Command, run: Run) -> typer.Typer:
    """The Typer app of a command, which calls ``run`` with the parsed command line."""

    class Helped(typer.core.TyperCommand):
        """The command with the help page of ``command_help``."""

        def format_help(self, ctx: Any, formatter: Any) -> None:
            formatter.write(command_help.page(name, command))

    app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    app.command(name, cls=Helped, context_settings=CONTEXT)(with_version(_function(command, run)))
    return app


def _function(command: Stage | Command, run: Run) -> Callable[..., None]:
    streams = not command_help.has_json(command)

    def call(inputs: list[str], options: Any, settings: Settings, programs: JsonOption | None = None) -> None:
        run(Invocation(command, inputs, options, settings), streams, bool(programs and programs.json))

    shared = (Settings,) if streams else (Settings, JsonOption)
    argument = "INPUT" if isinstance(command, Stage) else command.argument
    return typer_function(command.options, call, shared, argument, {*command.shared, "json"})


def _for_typer(words: list[str], command: Stage | Command) -> list[str]:
    """The words with each option once, see ``with_lists_joined``.

    ``--`` is doubled for a command that wraps another one: Typer drops the first ``--``.
    """
    words = with_lists_joined(words, command.options, Settings, JsonOption)
    if not (isinstance(command, Command) and command.wraps and "--" in words):
        return words
    place = words.index("--")
    return [*words[:place], "--", *words[place:]]
