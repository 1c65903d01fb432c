"""The program: ``capivara``, or ``python -m capivara_cli``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence

from capivara_cli import __version__

COMPLETING = "_CAPIVARA_COMPLETE"
"""The variable by which the shell asks for completions."""
_COMPLETION = {"--install-completion", "--show-completion"}


def main() -> None:
    """Show the overview or the version, or hand over to the Typer app."""
    if _a_stream_is_closed():
        from capivara_cli import console  # its imports take as long as all the rest of --help

        console.open_closed_streams()
    arguments = sys.argv[1:]
    if arguments[:1] == ["help"]:
        arguments = [*arguments[1:2], "--help"]  # ``capivara help train`` is ``capivara train --help``
    if COMPLETING in os.environ or (arguments and arguments[0].partition("=")[0] in _COMPLETION):
        from capivara_cli.cli.completion import main as complete

        complete(arguments)
    elif not arguments or arguments[0] in {"-h", "--help"}:
        from capivara_cli.cli.overview import help_page

        _print(help_page())
    elif arguments[0] in {"-V", "--version"}:
        _print(f"capivara {__version__}\n")
    else:
        if sys.flags.optimize and sys.executable and arguments[0] != "footprint":  # which hands its variables on
            _start_again_unoptimized()
        from capivara_cli.cli.app import main as run

        run(arguments)


def _a_stream_is_closed() -> bool:
    try:
        for number in range(3):
            os.fstat(number)
    except OSError:
        return True
    return None in (sys.stdin, sys.stdout, sys.stderr)


def _start_again_unoptimized() -> None:
    """Replace this process by one without ``-O``, ``-OO`` and ``PYTHONOPTIMIZE``.

    Libraries need what these remove: transformers cannot be imported without docstrings, and Pillow tells damaged
    images by ``assert``.
    """
    os.environ.pop("PYTHONOPTIMIZE", None)
    os.execv(sys.executable, [sys.executable, *without_optimization(sys.orig_argv[1:])])


def without_optimization(words: Sequence[str]) -> Iterator[str]:
    """The words of a command line of Python without the flag ``-O``: ``-BOO -m x -O`` -> ``-B -m x -O``."""
    rest = iter(words)
    for word in rest:
        flags = word[1:] if word.startswith("-") and not word.startswith("--") else ""
        own = next((flags[:place] for place, flag in enumerate(flags) if flag in "mcWX"), flags)
        kept = own.replace("O", "") + flags[len(own) :]
        if not flags or kept:
            yield f"-{kept}" if flags else word
        takes = flags[len(own) : len(own) + 1]
        if takes in ("W", "X") and flags == own + takes:
            yield next(rest, "")
        elif takes in ("m", "c") or not word.startswith("-"):
            yield from rest


def _print(text: str) -> None:
    """Write to standard output; if that fails, exit with the message and code of every command."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        from capivara_cli import console
        from capivara_cli.cli.app import guarded  # imports Typer

        def fail(error: OSError = error) -> None:
            with console.writing_to_stdout():
                raise error

        sys.exit(guarded(fail))


if __name__ == "__main__":
    main()
