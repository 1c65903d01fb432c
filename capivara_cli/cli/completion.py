"""Shell completion: commands, options and their values, by Typer's protocol; and the script that turns it on.

Only the file of the command on the line is imported. Where there is nothing to propose, the shell proposes files.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

from capivara_cli import registry
from capivara_cli.cli.proposals import items
from capivara_cli.errors import UsageError

PROGRAM = "capivara"
VARIABLE = "_CAPIVARA_COMPLETE"
SHELLS = ("bash", "zsh", "fish", "powershell", "pwsh")


def main(arguments: list[str]) -> None:
    """Answer the shell, or perform ``--install-completion [SHELL]`` or ``--show-completion [SHELL]``; then exit."""
    from capivara_cli.cli.app import guarded

    instruction = os.environ.get(VARIABLE)
    sys.exit(guarded((lambda: _set_up(arguments)) if instruction is None else (lambda: answer(instruction))))


def answer(instruction: str) -> None:
    """Print the proposals for the command line in the environment. Exits.

    ``instruction``: "complete_bash" and the like. Bash gives the line in COMP_WORDS and COMP_CWORD, the others in
    ``_TYPER_COMPLETE_ARGS``.
    """
    sys.modules.setdefault("rich", None)  # type: ignore[arg-type]  Typer would take all of it to read plain texts
    from typer import completion

    completion.completion_init()
    sys.exit(completion.shell_complete(_group(), {}, PROGRAM, VARIABLE, instruction))


def _set_up(arguments: Sequence[str]) -> None:
    from typer import completion

    from capivara_cli import console

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
    """A Typer group of all commands, each of which is imported when the line names it."""
    from typer.core import TyperGroup

    class Commands(TyperGroup):
        def list_commands(self, ctx: Any) -> list[str]:
            return [*registry.command_names()]

        def get_command(self, ctx: Any, name: str) -> Any:
            if name == "help":
                return _help_command()
            return _command(name) if name in registry.command_names() else None

        def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
            if incomplete.startswith("-"):
                return items(["--help", "--version", "--install-completion", "--show-completion"], incomplete)
            texts = {name: registry.first_line(folder, name) for name, folder in registry.command_names().items()}
            return items({**texts, "help": "Show the help of a command."}, incomplete)

    return Commands(name=PROGRAM, commands={}, add_help_option=False)


def _command(name: str) -> Any:
    import typer

    from capivara_cli.cli.application import application

    return typer.main.get_command(application(name, registry.load_command(name), lambda *given: None))


def _help_command() -> Any:
    """The command ``help``, whose argument is the name of a command."""
    import typer

    app = typer.Typer(add_completion=False)

    def complete(ctx: Any, param: Any, incomplete: str) -> list[Any]:
        return items(registry.command_names(), incomplete)

    def show(name: str = typer.Argument(shell_complete=complete)) -> None: ...

    show.__annotations__ = {"name": str, "return": None}
    app.command("help")(show)
    return typer.main.get_command(app)
