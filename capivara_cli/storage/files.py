"""Atomic writes of files and folders, and removal of temporary files that killed processes left."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_BUFFER = 1 << 20
PIPE = "a named pipe"
_SPECIAL = (
    (stat.S_ISFIFO, PIPE),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
"""The error numbers of a write for which there is no space."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Write a file atomically: yields a temporary file beside it, then syncs and renames it. An error removes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_path(path)
    try:
        with named_in_errors(path), open(partial, "wb", buffering=_BUFFER) as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Write a folder atomically: yields a temporary folder beside it, then renames it. An error removes it."""
    with partial_folder(path) as partial:
        yield partial
        move_folder(partial, path)


@contextlib.contextmanager
def partial_folder(path: Path) -> Iterator[Path]:
    """Create a temporary folder beside a path, for ``move_folder``. An error removes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_path(path)
    partial.mkdir()
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def move_folder(partial: Path, path: Path) -> None:
    """Rename a folder to ``path``, and remove a folder that is there."""
    if path.is_dir():
        shutil.rmtree(path)
    partial.replace(path)


@contextlib.contextmanager
def named_in_errors(path: Path) -> Iterator[None]:
    """Add the file name to the error of a full disk inside: the error of a write has none."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL and error.filename is None:
            error.filename = str(path)
        raise


def partial_path(path: Path) -> Path:
    """The path of a new temporary file beside ``path``. Its name has the host and process id, for ``sweep``."""
    return path.with_name(f".{path.name}.partial-{_host()}-{os.getpid()}-{os.urandom(3).hex()}")


def replace_text(path: Path, text: str) -> None:
    """Write a small text file atomically; a device or a pipe is written to and stays what it is."""
    with open(path, "wb") if is_device(path) else replacing(path) as out:
        out.write(_encoded(text))


def is_device(path: Path) -> bool:
    """Whether a path is no file that could be replaced: ``/dev/null``, ``/dev/stderr``, a named pipe."""
    if not path.exists() or path.is_dir():
        return False
    top = path.absolute().parts[1:3]
    return not path.is_file() or (top[0] in ("dev", "proc") and top != ("dev", "shm"))


def special_kind(path: str | Path) -> str:
    """What a path is of which a read may never end: "a named pipe", "a socket", "a device".

    "" for files, folders, the null device, and paths that do not exist.
    """
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):  # also a name that is too long, or has a zero byte
        return ""
    if str(path) == os.devnull:
        return ""
    return next((name for is_kind, name in _SPECIAL if is_kind(mode)), "")


def check_writable(path: Path, *, replaced: bool) -> None:
    """Raise ``OSError`` unless a file can be written; nothing is left of the attempt, and nothing is changed.

    ``replaced``: whether a file that is there will be replaced, as by ``replace_text``, or appended to. Folders that
    are missing are no error if they can be made.
    """
    if path.is_dir() or (path.exists() and not replaced):
        os.close(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK))  # a pipe that nobody reads is an error, too
        return
    target = path.absolute() if replaced else path.resolve()
    folder = next(parent for parent in target.parents if parent.exists())
    trial = partial_path(folder / target.name)
    os.close(os.open(trial, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    trial.unlink()


def _encoded(text: str) -> bytes:
    """Encode as UTF-8. Lone surrogates, from file names in another encoding, are escaped as in JSON."""
    return text.encode("utf-8", "backslashreplace")


def sweep(folder: Path) -> None:
    """Remove the temporary files that killed processes of this machine left in a folder."""
    for partial in folder.glob(f".*.partial-{_host()}-*"):
        process = partial.name.rsplit("-", 2)[1]
        if process.isdigit() and _alive(int(process)):
            continue
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            partial.unlink(missing_ok=True)


def _host() -> str:
    return os.uname().nodename


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
