"""Records of what the commands of a pipe cost, handed from each to the next beside the pipe.

The head of a tar is written before the work is done, and nothing may follow its end. But both ends of a pipe know its
inode, and a reader sees the end of its input only when the writer has ended: so the writer leaves its records in a file
that is named after the pipe, and the reader takes them. Where pipes have no common inode (macOS), or something stands
between the two (``tee``, ``ssh``), nothing is found, and CAPIVARA_LEDGER is the way.
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
from capivara_cli.storage.claims import machine

_FORGOTTEN = 86400.0  # s: what nobody has taken by then nobody will


def hand_on(text: str, descriptor: int) -> bool:
    """Leave ``text`` for whoever reads the pipe at a descriptor; False when it is no pipe or there is no place.

    It is added to what is there: in ``(capivara a; capivara b) | capivara c`` two have written to one pipe.
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


def taken(inputs: Iterable[str]) -> str:
    """What the writers of standard input, and of inputs that are pipes (``<(capivara …)``), have left for us."""
    found = ""
    for path in dict.fromkeys(filter(None, map(_path, _pipes(inputs)))):
        with contextlib.suppress(OSError):
            found += path.read_text("utf-8")
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
            if time.time() - path.stat().st_mtime > _FORGOTTEN:
                path.unlink()
