"""The program: one Typer command per file in ``stages/`` and ``commands/``; the only place errors are printed.

Only the file of the command that was typed is imported; ``--help`` lists the others from their docstrings.
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, BinaryIO

import typer

from capivara_cli import __version__, console
from capivara_cli.command import Command
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.options import PACKAGE, command_names, load_command, plain_help, typer_function, with_version
from capivara_cli.stage import Env, Settings, Stage, Step, opt

BUG = 70
INTERRUPTED = 130
CLOSED_PIPE = 141
TERMINATED = 143
_OUT_OF_SPACE = "free some space and run the same command again: what is finished stays finished"


@dataclass(frozen=True)
class ForPrograms:
    """Options of the commands that write no tar to standard output."""

    json: bool = opt(False, "print a machine-readable summary to standard output")


class Terminated(BaseException):
    """SIGTERM, as an exception, so that unfinished files are removed on the way out."""


def main() -> None:
    """The entry point of ``capivara``."""
    arguments = sys.argv[1:]
    typed = next((word for word in arguments if not word.startswith("-")), "")
    sys.exit(guarded(lambda: application(typed)(arguments, prog_name="capivara")))


def application(typed: str = "") -> typer.Typer:
    """The Typer app; with a command's name, only that command is imported and built."""
    app = typer.Typer(
        name="capivara",
        help="Teach CLIP your language: images and captions in, a tuned model with its cost out.",
        epilog="Stages read and write shards: capivara caption shards/ | capivara translate --lang pt > pt.tar",
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )
    app.callback()(with_version(lambda: None))
    if typed:
        app.command(typed, help=_help(typed))(with_version(_function(load_command(typed))))
        return app
    for name in command_names():
        app.command(name, help=_help(name))(lambda: None)
    return app


def _help(name: str) -> str:
    """The docstring of a command's file, read without importing it; an unknown name has none."""
    path = PACKAGE / command_names().get(name, "") / f"{name}.py"
    return plain_help(ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "") if path.is_file() else ""


def _function(loaded: Stage | Command) -> Callable[..., None]:
    if isinstance(loaded, Stage):

        def call_stage(inputs: list[str], options: Any, settings: Settings) -> None:
            sys.exit(guarded(lambda: run_stage(loaded, inputs, options, settings)))

        return typer_function(loaded.options, call_stage, (Settings,))

    def call_command(inputs: list[str], options: Any, settings: Settings, programs: ForPrograms | None = None) -> None:
        sys.exit(guarded(lambda: run_command(loaded, inputs, options, settings, bool(programs and programs.json))))

    shared = (Settings,) if loaded.streams else (Settings, ForPrograms)
    return typer_function(loaded.options, call_command, shared, loaded.argument)


def run_stage(stage: Stage, inputs: list[str], options: Any, settings: Settings) -> None:
    """One stage as a command of its own: a plan of one step."""
    from capivara_cli import engine

    def work(env: Env) -> dict[str, Any]:
        return engine.run([Step(stage, options)], inputs, settings, env.data).summary()

    _account(stage.name, settings, work, streams=True, as_json=False)


def run_command(command: Command, inputs: list[str], options: Any, settings: Settings, as_json: bool) -> None:
    _account(
        command.name, settings, lambda env: command.run(inputs, options, env), streams=command.streams, as_json=as_json
    )


def _account(
    name: str, settings: Settings, work: Callable[[Env], dict[str, Any]], *, streams: bool, as_json: bool
) -> None:
    """Do the work with standard output kept for data, then say what it did and what it cost."""
    from capivara_cli import ledger
    from capivara_cli.energy import Meter
    from capivara_cli.shards import replace_text

    console.be_quiet(settings.quiet)
    standard_output = console.claim_stdout()
    env = Env(settings, name)
    env.json = as_json
    env.data = _data_stream(standard_output) if streams and not settings.out else None
    started = time.monotonic()
    with Meter(name, settings.country) as meter:
        summary = work(env)
        summary["seconds"] = round(time.monotonic() - started, 3)
        inputs = summary.pop("inputs", [])
        if settings.energy:
            summary["footprint"] = ledger.record(inputs, summary, meter.footprint(), settings.ledger)
    if "read" in summary:
        console.say(summary_line(name, summary))
    text = json.dumps({"command": name, **summary}, ensure_ascii=False, indent=2) + "\n"
    if settings.summary:
        replace_text(Path(settings.summary), text)
    if as_json:
        console.page(text)


def _data_stream(descriptor: int) -> BinaryIO | None:
    """Standard output as a binary stream, None on a terminal: a tar is never written to one."""
    if os.isatty(descriptor):
        return None
    from capivara_cli.shards import enlarge_pipe

    enlarge_pipe(descriptor)
    return open(descriptor, "wb", buffering=1 << 20, closefd=False)


def summary_line(name: str, summary: dict[str, Any]) -> str:
    """One line: read, wrote, dropped with reasons, what else was noticed, how long, how much energy."""
    parts = [f"read {summary['read']:,}"]
    if "written" in summary:
        parts.append(f"wrote {summary['written']:,}")
    dropped = summary.get("dropped", {})
    reasons = f" ({_counted(dropped)})" if dropped else ""
    parts.append(f"dropped {sum(dropped.values()):,}{reasons}")
    line = f"capivara {summary.get('command', name)}: {', '.join(parts)}"
    if notes := summary.get("notes"):
        line += f"; {_counted(notes)}"
    if summary.get("resumed_shards"):
        line += f"; {summary['resumed_shards']:,} shards were already done"
    if summary.get("out", "-") != "-":
        line += f"; in {summary['out']}/"
    seconds = summary["seconds"]
    line += f"; {console.duration(seconds)}, {summary['read'] / max(seconds, 1e-9):,.0f} samples/s"
    if cost := summary.get("footprint"):
        line += f", {cost['kwh'] * 1000:.2g} Wh"
    return line


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{what}: {count:,}" for what, count in counts.items())


def guarded(work: Callable[[], Any]) -> int:
    """Run, and turn whatever goes wrong into one message and an exit code."""
    with contextlib.suppress(ValueError):  # not the main thread, as in a test
        signal.signal(signal.SIGTERM, _terminate)
    try:
        work()
    except CapivaraError as error:
        console.error(error.message, error.hint or ("see: capivara --help" if isinstance(error, UsageError) else ""))
        return error.exit_code
    except KeyboardInterrupt:
        console.error("interrupted", "run the same command again: it goes on where it stopped")
        return INTERRUPTED
    except Terminated:
        console.error("terminated")
        return TERMINATED
    except BrokenPipeError:
        return CLOSED_PIPE  # whoever read us has seen enough
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        console.error(f"{where}{error.strerror or error}", _OUT_OF_SPACE if error.errno in _FULL else "")
        return 1
    except Exception:  # noqa: BLE001  the last resort: a bug is shown whole, with an exit code of its own
        import traceback

        console.error(
            f"this is a bug in capivara {__version__}; please report it with what follows", traceback.format_exc()
        )
        return BUG
    return 0


_FULL = {28, 122}  # ENOSPC, EDQUOT


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated
