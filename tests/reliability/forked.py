"""A command line in a process that this one forks: no import is repeated, and no cache is shared with another run.

The process may kill itself before its n-th change of the file system, which is the same one in every run.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shlex
import signal
import sys
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reliability.running import ENVIRONMENT, UNSET
from support import huge_pages

LIMIT = 90.0
"""Seconds after which a command counts as one that waits for ever."""
_CHANGES = frozenset({"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate"})
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass(frozen=True)
class Ended:
    """``code``: the exit code, or minus the signal that ended the process; ``said``: its standard error."""

    code: int
    said: str
    shown: bytes


def run(line: str, folder: Path, kill_at: int = 0, kill_before: str = "", stdin: str = "") -> Ended:
    """Run ``capivara LINE`` in a folder, with the cache ``cache`` in it; ``{here}`` in the line is the folder.

    ``stdin``: a file in the folder. With ``kill_at`` N the process kills itself before its N-th change of the file
    system, with ``kill_before`` before it gives a file a name that ends like this. Raises ``TimeoutError`` for a command that does not end.
    """
    said, shown = folder.parent / f"{folder.name}.stderr", folder.parent / f"{folder.name}.stdout"
    words = shlex.split(line.replace("{here}", str(folder)))
    learned = folder.parent / "modules"
    _import(learned)
    huge_pages.collapse()
    child = os.fork()
    if not child:
        _be_the_command(words, folder, stdin, (said, shown), _Killer(folder, kill_at, kill_before), learned)
    status = _waited_for(child, line)
    text = said.read_bytes().decode("utf-8", "replace").replace(f"{folder}/", "").replace(str(folder), ".")
    return Ended(os.waitstatus_to_exitcode(status), text, shown.read_bytes())


def preload() -> None:
    """Import what commands that load a model take seconds to import."""
    for name in ("torch", "open_clip", "transformers", "peft", "ctranslate2", "matplotlib.figure", "safetensors.torch"):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def _import(learned: Path) -> None:
    """Import what the last command had to import, so that the next fork has it."""
    names = learned.read_text().split() if learned.is_file() else ["capivara_cli.__main__", "capivara_cli.cli.perform"]
    learned.unlink(missing_ok=True)
    for name in names:
        if name not in sys.modules:
            with contextlib.suppress(Exception):
                importlib.import_module(name)


def _waited_for(child: int, line: str) -> int:
    until = time.monotonic() + LIMIT
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise TimeoutError(f"capivara {line}: has not ended after {LIMIT:.0f} s")


def _be_the_command(
    words: list[str], folder: Path, stdin: str, streams: tuple[Path, Path], killer: _Killer, learned: Path
) -> None:
    """In the fork: be ``capivara WORDS``, and end as it ends."""
    import atexit
    import threading

    code, known = 70, set(sys.modules)
    try:
        atexit._clear()
        warnings.simplefilter("ignore")
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.chdir(folder)
        _redirect(stdin, *streams)
        os.environ.update(ENVIRONMENT, CAPIVARA_CACHE=str(folder / "cache"))
        for name in UNSET:
            os.environ.pop(name, None)
        if killer.active:
            sys.addaudithook(killer)
        code = _main(words)
        if found := [name for name in sys.modules if name not in known]:
            learned.write_text("\n".join(found))
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:  # noqa: BLE001  as the interpreter shows it
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


def _redirect(stdin: str, said: Path, shown: Path) -> None:
    for number, path, flags in (
        (0, stdin or os.devnull, os.O_RDONLY),
        (1, shown, os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        (2, said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    ):
        os.dup2(os.open(path, flags), number)
    sys.stdin, sys.stdout = (os.fdopen(number, mode, closefd=False) for number, mode in ((0, "r"), (1, "w")))
    sys.stderr = os.fdopen(2, "w", buffering=1, errors="backslashreplace", closefd=False)


def _main(words: list[str]) -> int:
    from capivara_cli import __main__

    sys.argv = ["capivara", *words]
    try:
        __main__.main()
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    return 0


class _Killer:
    """An audit hook that kills the process before one of its changes of files below a folder."""

    def __init__(self, folder: Path, kill_at: int, kill_before: str) -> None:
        self._folder, self._left, self._name = f"{folder}/", kill_at, kill_before
        self.active = bool(kill_at or kill_before)

    def __call__(self, event: str, given: tuple[Any, ...]) -> None:
        if event == "os.rename" and self._name and os.path.abspath(os.fspath(given[1])).endswith(self._name):
            os.kill(os.getpid(), signal.SIGKILL)
        changes = event in _CHANGES or (event == "open" and isinstance(given[2], int) and given[2] & _WRITES)
        if changes and isinstance(given[0], (str, os.PathLike)):
            self._left -= os.path.abspath(os.fspath(given[0])).startswith(self._folder)
            if self._left == 0 and not self._name:
                os.kill(os.getpid(), signal.SIGKILL)
