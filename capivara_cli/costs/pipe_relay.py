"""Passes cost records from each command of a pipe to the next one, in a file that is named after the pipe.

The tar cannot contain them: its head is written before the work is done, and nothing may follow its end. But both ends
of a pipe know its inode, and a reader sees the end of its input only after the writer has ended. So the writer leaves
its records in a file named after the inode, and the reader takes them from there. If the two ends have no common inode
(macOS), or another program is between the commands (``tee``, ``ssh``), no records are found; then set CAPIVARA_LEDGER.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import time
from collections.abc import Iterable
from pathlib import Path

from capivara_cli.storage import cache
from capivara_cli.storage.holders import machine

_STALE = 86400.0  # s: a file that is older than a day is deleted


def store_for_reader(text: str, descriptor: int) -> bool:
    """Store ``text`` for the reader of the pipe at a descriptor; return False if it is no pipe or storing fails.

    The text is appended: in ``(capivara a; capivara b) | capivara c`` two commands write to one pipe.
    """
    path = _path(os.fstat(descriptor))
    if path is None:
        return False
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "a", encoding="utf-8") as out:
            out.write(text)
        _tidy(path.parent)
    except OSError:  # a home that cannot be written to
        return False
    return True


def take_from_writers(inputs: Iterable[str]) -> str:
    """Take the texts that the writers of standard input, and of inputs that are pipes (``<(capivara …)``), stored."""
    found = ""
    for path in dict.fromkeys(filter(None, map(_path, _pipes(inputs)))):
        with contextlib.suppress(OSError):
            found += path.read_text("utf-8", "replace")
            path.unlink()
    return found


def reads_pipe() -> bool:
    """Whether standard input is a pipe."""
    with contextlib.suppress(OSError):
        return stat.S_ISFIFO(os.fstat(0).st_mode)
    return False


def _pipes(inputs: Iterable[str]) -> Iterable[os.stat_result]:
    with contextlib.suppress(OSError):  # standard input is closed
        yield os.fstat(0)
    for name in inputs:
        with contextlib.suppress(OSError, ValueError):
            yield Path(name).stat()


def _path(info: os.stat_result) -> Path | None:
    if not stat.S_ISFIFO(info.st_mode):
        return None
    boot = hashlib.sha256(machine().encode()).hexdigest()[:12]
    return cache.folder() / "pipes" / f"{boot}-{info.st_dev:x}-{info.st_ino}.jsonl"


def _tidy(folder: Path) -> None:
    for path in folder.glob("*.jsonl"):
        with contextlib.suppress(OSError):
            if time.time() - path.stat().st_mtime > _STALE:
                path.unlink()
