"""The Typer app: one command per file in ``stages/`` and ``commands/``. Errors are printed here only.

Only the file of the command that was typed is imported.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import signal
import stat
import sys
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any, BinaryIO

import typer

from capivara_cli import __version__, console
from capivara_cli.cli.parameters import plain_help, typer_function, with_lists_joined, with_version
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.pipeline.command import Command, Invocation
from capivara_cli.pipeline.options import Settings, opt
from capivara_cli.pipeline.stage import Stage
from capivara_cli.registry import command_docstring, command_kind, load_command
from capivara_cli.storage.files import DISK_FULL
from capivara_cli.urls import without_secrets

BUG = 70
INTERRUPTED = 130
CLOSED_PIPE = 141
TERMINATED = 143
_CONTEXT: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
_OUT_OF_SPACE = "free some space and run the same command again: finished work is kept"
_HINTS: dict[type[BaseException], str] = {
    NotADirectoryError: "there is a file where a folder is needed: name another one",
    IsADirectoryError: "there is a folder where a file is needed: name another one",
    PermissionError: "you may not read or write there: name another place, or change its permissions",
}


@dataclass(frozen=True)
class JsonOption:
    """The option of commands that write no tar to standard output."""

    json: bool = opt(False, "print a machine-readable summary to standard output")


class Terminated(BaseException):
    """SIGTERM, as an exception, so that unfinished files are removed on the way out."""


def main(arguments: list[str]) -> None:
    """Run one command line and exit."""
    if _in_a_pipe(arguments[0]):
        # OpenMP threads that spin while they wait take processor time from the other commands of a pipe: on two busy
        # cores a training step took 4 to 13 times as long. On an idle machine, spinning is a fifth faster.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # torch's large tensors in huge pages: 5 % of a training step
    atexit.register(_end)  # registered first, so it runs last
    sys.exit(guarded(lambda: _typer(arguments)))


def _typer(arguments: list[str]) -> None:
    """Let Typer parse a command line and call its command.

    A bare ``COMMAND --help`` is answered without parsing: Typer would import pydantic, which takes half of the time.
    """
    app = application(arguments[0])
    if arguments[1:] in (["--help"], ["-h"]) and command_kind(arguments[0]):
        group: Any = typer.main.get_command(app)
        parent = typer.Context(group, info_name="capivara", **_CONTEXT)
        command = group.get_command(parent, arguments[0])
        console.print_result(command.get_help(typer.Context(command, info_name=arguments[0], parent=parent)) + "\n")
    else:
        with console.writing_to_stdout():  # the help and the version; errors of a command do not come this far
            app(_for_typer(arguments), prog_name="capivara")


def _for_typer(arguments: list[str]) -> list[str]:
    """The arguments with each option once, see ``with_lists_joined``.

    ``--`` is doubled for a command that wraps another one: Typer drops the first ``--``.
    """
    command = load_command(arguments[0])
    arguments = [arguments[0], *with_lists_joined(arguments[1:], command.options, Settings, JsonOption)]
    if not (isinstance(command, Command) and command.wraps and "--" in arguments):
        return arguments
    place = arguments.index("--")
    return [*arguments[:place], "--", *arguments[place:]]


def _end() -> None:
    """Skip the last garbage collection: with half a million objects of torch it takes a second or two.

    triton 3.9 and newer print a line for each object that is left, so standard error is closed.
    """
    gc.freeze()
    if "triton" in sys.modules:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _in_a_pipe(name: str) -> bool:
    """Whether the command is part of a shell pipe, whose other commands work at the same time."""
    with contextlib.suppress(OSError):  # standard input is closed
        return stat.S_ISFIFO(os.fstat(0).st_mode) or (
            command_kind(name) == "stages" and stat.S_ISFIFO(os.fstat(1).st_mode)
        )
    return False


def application(name: str) -> typer.Typer:
    """The Typer app with the one command that was typed."""
    app = typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings=_CONTEXT,
    )
    app.callback()(lambda: None)
    app.command(name, help=_help(name))(with_version(_function(load_command(name))))
    return app


def _help(name: str) -> str:
    """The docstring of a command's file, read without importing it; "" for an unknown name.

    The example at the end of its first line gets a line of its own, which Typer does not wrap.
    """
    first, _, rest = plain_help(command_docstring(name)).partition("\n")
    summary, mark, example = first.partition(": capivara ")
    return f"{summary}:\n\n\b\n  capivara {example}\n{rest}" if mark else f"{first}\n{rest}"


def _function(loaded: Stage | Command) -> Callable[..., None]:
    if isinstance(loaded, Stage):

        def call_stage(inputs: list[str], options: Any, settings: Settings) -> None:
            sys.exit(guarded(lambda: _run(Invocation(loaded, inputs, options, settings), streams=True)))

        return typer_function(loaded.options, call_stage, (Settings,))

    def call_command(inputs: list[str], options: Any, settings: Settings, programs: JsonOption | None = None) -> None:
        as_json = bool(programs and programs.json)
        invocation = Invocation(loaded, inputs, options, settings)
        sys.exit(guarded(lambda: _run(invocation, streams=loaded.streams, as_json=as_json)))

    shared = (Settings,) if loaded.streams else (Settings, JsonOption)
    return typer_function(loaded.options, call_command, shared, loaded.argument)


def _run(invocation: Invocation, *, streams: bool, as_json: bool = False) -> None:
    """Perform a command line, with standard output reserved for data."""
    from capivara_cli.cli.perform import perform  # imports the engine and the meters, which --help saves

    console.be_quiet(invocation.settings.quiet)
    standard_output = console.claim_stdout()
    data = _data_stream(standard_output) if streams and not invocation.settings.out else None
    perform(invocation, data=data, as_json=as_json)


def _data_stream(descriptor: int) -> BinaryIO | None:
    """Standard output as a binary stream; None for a terminal, because no tar is written there.

    Raises ``UsageError`` if it is closed.
    """
    if os.isatty(descriptor):
        return None
    if not console.is_writable(descriptor):
        raise UsageError("standard output is closed", "name a folder for the result: --out DIR")
    from capivara_cli.shards.archive import enlarge_pipe

    enlarge_pipe(descriptor)
    return open(descriptor, "wb", buffering=1 << 20, closefd=False)


def guarded(work: Callable[[], Any]) -> int:
    """Run ``work`` and return the exit code; every exception becomes one message."""
    with contextlib.suppress(ValueError):  # not the main thread, as in a test
        signal.signal(signal.SIGTERM, _terminate)
    try:
        work()
    except CapivaraError as error:
        console.error(error.message, error.hint or ("see: capivara --help" if isinstance(error, UsageError) else ""))
        return error.exit_code
    except KeyboardInterrupt:
        console.error("interrupted", "run the same command again to resume")
        return INTERRUPTED
    except Terminated:
        console.error("terminated")
        return TERMINATED
    except BrokenPipeError:
        return CLOSED_PIPE  # the reader of our output has stopped reading
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        hint = _OUT_OF_SPACE if error.errno in DISK_FULL else _HINTS.get(type(error), "")
        console.error(f"{where}{error.strerror or error}", hint)
        return 1
    except Exception:  # noqa: BLE001  a bug: its traceback is shown, and it has its own exit code
        import traceback

        console.error(
            f"this is a bug in capivara {__version__}; please report it with what follows",
            without_secrets(traceback.format_exc()),
        )
        return BUG
    return 0


def _terminate(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # a second one does not interrupt the removal of unfinished files
    raise Terminated
