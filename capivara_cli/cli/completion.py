"""Shell completion: commands, options and their values, by Typer's protocol; and the script that turns it on.

Only the file of the command on the line is imported. Where there is nothing to propose, the shell proposes files.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer import completion

from capivara_cli import console, registry
from capivara_cli.cli.app import guarded
from capivara_cli.cli.application import application
from capivara_cli.cli.proposals import of_argument
from capivara_cli.errors import UsageError

PROGRAM = "capivara"
VARIABLE = "_CAPIVARA_COMPLETE"
SHELLS = ("bash", "zsh", "fish", "powershell", "pwsh")


def main(arguments: list[str]) -> None:
    """Answer the shell, or perform ``--install-completion [SHELL]`` or ``--show-completion [SHELL]``; then exit."""
    instruction = os.environ.get(VARIABLE)
    sys.exit(guarded((lambda: _set_up(arguments)) if instruction is None else (lambda: answer(instruction))))


def answer(instruction: str) -> None:
    """Print the proposals for the command line in the environment. Exits.

    ``instruction``: "complete_bash" and the like. Bash gives the line in COMP_WORDS and COMP_CWORD, the others in
    ``_TYPER_COMPLETE_ARGS``.
    """
    # Typer would import all of rich to read plain texts. None in this place means: not installed.
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]
    completion.completion_init()
    sys.exit(completion.shell_complete(_group(), {}, PROGRAM, VARIABLE, instruction))


def _set_up(arguments: Sequence[str]) -> None:
    flag, _, shell = arguments[0].partition("=")
    shell = _shell(flag, shell or "".join(arguments[1:2]))
    if flag == "--show-completion":
        script = completion.get_completion_script(prog_name=PROGRAM, complete_var=VARIABLE, shell=shell)
        console.print_result(script + "\n")
    else:
        _, path = completion.install(shell=shell, prog_name=PROGRAM, complete_var=VARIABLE)
        console.say(f"completion for {shell} is in {path}; it works in new terminals")


def _shell(flag: str, name: str) -> str:
    """The shell that was named, or the one that started capivara. Raises ``UsageError`` if Typer does not know it."""
    if not name:
        import shellingham

        try:
            name = shellingham.detect_shell()[0]
        except shellingham.ShellDetectionFailure as error:
            raise UsageError(f"{flag}: which shell?", f"capivara {flag} bash, or {', '.join(SHELLS[1:])}") from error
    if name not in SHELLS:
        raise UsageError(f"{flag}: there is no completion for {name!r}", f"for {', '.join(SHELLS)} there is")
    return name


def _group() -> Any:
    """A Typer group of all commands. They are listed without being imported, except for the one that the line names."""
    from typer.core import TyperCommand, TyperGroup

    texts = {name: registry.first_line(folder, name) for name, folder in registry.command_names().items()}
    texts["help"] = "Show the help of a command."

    class Commands(TyperGroup):
        def list_commands(self, ctx: Any) -> list[str]:
            return [*texts]

        def get_command(self, ctx: Any, name: str) -> Any:
            return TyperCommand(name, short_help=texts[name]) if name in texts else None

        def resolve_command(self, ctx: Any, args: list[str]) -> Any:
            name = args[0]
            return (name, _command(name), args[1:]) if name in texts else (None, None, args[1:])

    app = typer.Typer(add_completion=False)
    app.callback(invoke_without_command=True)(_first_words)
    options = typer.main.get_command(app).params
    return Commands(name=PROGRAM, commands={}, params=options)


def _first_words(
    version: bool = typer.Option(False, "--version", "-V", help="show the version"),
    install_completion: bool = typer.Option(False, "--install-completion", help="complete in this shell"),
    show_completion: bool = typer.Option(False, "--show-completion", help="print the script that does so"),
) -> None:
    """The options of ``capivara`` itself."""


def _command(name: str) -> Any:
    """The Typer command with this name, from its file."""
    if name != "help":
        return typer.main.get_command(application(name, registry.load_command(name), lambda *given: None))

    def show(command: Annotated[str, typer.Argument(autocompletion=of_argument("COMMAND"))]) -> None:
        """The argument of ``capivara help``."""

    app = typer.Typer(add_completion=False)
    app.command("help")(show)
    return typer.main.get_command(app)
