"""Files that appear only when they are complete, and the temporaries that killed processes left."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_BUFFER = 1 << 20
FULL = (errno.ENOSPC, errno.EDQUOT)
"""The errors of a write that there is no room for."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Write a file all or nothing: a temporary beside it, fsync, rename. An error leaves nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_of(path)
    try:
        with naming(path), open(partial, "wb", buffering=_BUFFER) as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Write a folder all or nothing: a temporary beside it, then a rename; on any error nothing is left."""
    with partial_folder(path) as partial:
        yield partial
        move_folder(partial, path)


@contextlib.contextmanager
def partial_folder(path: Path) -> Iterator[Path]:
    """A temporary folder beside a path, for ``move_folder``; on any error it is removed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_of(path)
    partial.mkdir()
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def move_folder(partial: Path, path: Path) -> None:
    """Rename a folder, in place of the one that may be there."""
    if path.is_dir():
        shutil.rmtree(path)
    partial.replace(path)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name this file in the error of a full disk: the error of a write does not name its file."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL and error.filename is None:
            error.filename = str(path)
        raise


def partial_of(path: Path) -> Path:
    """A temporary beside a path. Its name says which process it belongs to, for ``sweep``."""
    return path.with_name(f".{path.name}.partial-{_host()}-{os.getpid()}-{os.urandom(3).hex()}")


def replace_text(path: Path, text: str) -> None:
    """Write a small text file all or nothing."""
    with replacing(path) as out:
        out.write(_encoded(text))


def _encoded(text: str) -> bytes:
    """UTF-8; characters that it cannot hold (of a file name in another encoding) are escaped, as in JSON."""
    return text.encode("utf-8", "backslashreplace")


def sweep(folder: Path) -> None:
    """Remove the temporaries that killed processes of this machine left in a folder."""
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
