"""A command line: its help, or its command performed. Errors are printed here only.

Only the file of the command that was typed is imported.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any, BinaryIO

from capivara_cli import __version__, console
from capivara_cli.errors import CapivaraError, Terminated, UsageError, stored_before
from capivara_cli.registry import load_command
from capivara_cli.storage.files import DISK_FULL
from capivara_cli.urls import without_secrets

if TYPE_CHECKING:
    from capivara_cli.pipeline.command import Invocation

BUG = 70
INTERRUPTED = 130
CLOSED_PIPE = 141
TERMINATED = 143
_OUT_OF_SPACE = "free some space and run the same command again"
_HINTS: dict[type[BaseException], str] = {
    NotADirectoryError: "there is a file where a folder is needed: name another one",
    IsADirectoryError: "there is a folder where a file is needed: name another one",
    PermissionError: "you may not read or write there: name another place, or change its permissions",
}


def main(arguments: list[str]) -> None:
    """Run one command line and exit."""
    # OpenMP threads that spin while they wait take processor time from other programs and from the threads that they
    # wait for: on two busy cores a training step took 4 to 15 times as long. benchmarks/waiting_threads.py measures it.
    # Libraries read this when they are loaded; programs that we start inherit it.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # torch's large tensors in huge pages: 5 % of a training step
    atexit.register(_end)  # registered first, so it runs last
    sys.exit(guarded(lambda: _answer(arguments)))


def _answer(arguments: list[str]) -> None:
    """Perform a command line. A bare ``COMMAND --help`` is answered without Typer, which takes half of the time."""
    name = arguments[0]
    if arguments[1:] in (["--help"], ["-h"]):
        from capivara_cli.cli import command_help

        console.print_result(command_help.page(name, load_command(name)))
    else:
        from capivara_cli.cli.application import call

        call(name, load_command(name), arguments[1:], _run)


def _end() -> None:
    """Skip the last garbage collection: with half a million objects of torch it takes a second or two.

    triton 3.9 and newer print a line for each object that is left, so standard error is closed.
    """
    gc.freeze()
    if "triton" in sys.modules:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _run(invocation: Invocation, streams: bool, as_json: bool) -> None:
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
    except KeyboardInterrupt as stop:
        console.error("interrupted", stored_before(stop))
        return INTERRUPTED
    except Terminated as stop:
        console.error("terminated", stored_before(stop))
        return TERMINATED
    except BrokenPipeError:
        return CLOSED_PIPE  # the reader of our output has stopped reading
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        full = f"{_OUT_OF_SPACE}\n{stored_before(error)}".rstrip() if error.errno in DISK_FULL else ""
        hint = full or _HINTS.get(type(error), "")
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
