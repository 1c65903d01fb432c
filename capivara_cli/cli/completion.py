"""Shell completion: commands, options and their values, by Typer's protocol; and the script that turns it on.

Only the file of the command on the line is imported. Where there is nothing to propose, the shell proposes files.
"""

from __future__ import annotations

import functools
import glob
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import Field
from typing import Any

from capivara_cli import registry
from capivara_cli.errors import CapivaraError, UsageError

PROGRAM = "capivara"
VARIABLE = "_CAPIVARA_COMPLETE"
SHELLS = ("bash", "zsh", "fish", "powershell", "pwsh")
_DEVICES = ("auto", "cpu", "cuda", "cuda:0", "mps")
Proposals = Mapping[str, str]
"""What may be written in a place -> what it is, "" if that is not said."""


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
                return _items(["--help", "--version", "--install-completion", "--show-completion"], incomplete)
            texts = {name: registry.first_line(folder, name) for name, folder in registry.command_names().items()}
            return _items({**texts, "help": "Show the help of a command."}, incomplete)

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
        return _items(registry.command_names(), incomplete)

    def show(name: str = typer.Argument(shell_complete=complete)) -> None: ...

    show.__annotations__ = {"name": str, "return": None}
    app.command("help")(show)
    return typer.main.get_command(app)


def _items(words: Iterable[str], incomplete: str) -> list[Any]:
    from typer._click.shell_completion import CompletionItem

    texts = words if isinstance(words, Mapping) else dict.fromkeys(words, "")
    return [CompletionItem(word, help=text or None) for word, text in texts.items() if word.startswith(incomplete)]


def of_option(each: Field[Any]) -> Callable[[Any, Any, str], list[Any]] | None:
    """The completion of an option's value, for Typer; None if there is nothing to propose."""
    propose = _proposer(each)
    if propose is None:
        return None
    separator = getattr(each.metadata["kind"], "separator", "")
    return functools.partial(_complete, propose, separator if separator == "," else "")


def of_argument(argument: str) -> Callable[[Any, Any, str], list[Any]] | None:
    """The completion of the positional arguments that a command calls ``argument``."""
    propose = {
        "KIND [WORD]": _kinds,
        "TARGET": lambda: {**_evalsets(), **_runs()},
        "RUN": _runs,
        "RUN_OR_FOLDER | -- CMD": _runs,
    }.get(argument)
    return None if propose is None else functools.partial(_complete, propose, "")


def _complete(propose: Callable[[], Proposals], separator: str, ctx: Any, param: Any, incomplete: str) -> list[Any]:
    try:
        proposals = propose()
    except (CapivaraError, OSError):  # a broken plugin, or a folder that cannot be read: no proposals
        return []
    given, comma, _ = incomplete.rpartition(separator) if separator else ("", "", "")
    earlier = given.split(",")
    words = {f"{given}{comma}{word}": text for word, text in proposals.items() if word not in earlier}
    return _items(words, incomplete)


def _proposer(each: Field[Any]) -> Callable[[], Proposals] | None:
    """What may be the value of an option, by ``completes``, ``reads`` or ``kind`` of its field."""
    from capivara_cli.pipeline.option_kinds import Languages, Names

    what, reads, kind = each.metadata["completes"], each.metadata["reads"], each.metadata["kind"]
    known = {"devices": lambda: dict.fromkeys(_DEVICES, ""), "evalsets": _evalsets, "recipes": _recipes}
    if what in known:
        return known[what]
    if what in registry.KINDS or reads in registry.KINDS:
        return functools.partial(_plugins, what or reads)
    if what:
        return lambda: dict.fromkeys(what.split(","), "")
    if reads == "model" and each.name != "pretrained":
        return lambda: {"toy": "the small model that is part of capivara", **_runs()}
    if isinstance(kind, Languages):
        return functools.partial(_languages, kind.known, kind.any)
    if isinstance(kind, Names) and kind.known:
        words = (*kind.known, *("all",) * kind.all, *("none",) * kind.none)
        return lambda: dict.fromkeys(words, "")
    return None


def _languages(known: Sequence[str], word: str) -> Proposals:
    from capivara_cli import languages

    codes = {code: languages.get(code).name for code in known or languages.all_codes()}
    return {word: "", **codes} if word else codes


def _plugins(kind: str) -> Proposals:
    return {name: registry.describe(kind, name) for name in registry.names(kind)}


def _evalsets() -> Proposals:
    from capivara_cli.evaluation import catalogue

    return {name: catalogue.describe(name) for name in catalogue.names()} | dict.fromkeys(catalogue.groups(), "")


def _recipes() -> Proposals:
    return dict.fromkeys(registry.recipes(), "")


def _kinds() -> Proposals:
    from capivara_cli.commands.list import KINDS

    return dict.fromkeys(KINDS, "")


def _runs() -> Proposals:
    """The run folders here, in ``runs``, and below other folders."""
    return dict.fromkeys(_folders(("*/run.json", "*/*/run.json")), "run")


def _folders(patterns: Iterable[str]) -> Iterator[str]:
    for pattern in patterns:
        yield from sorted(os.path.dirname(path) for path in glob.glob(pattern))  # noqa: PTH120, PTH207  relative, as typed
