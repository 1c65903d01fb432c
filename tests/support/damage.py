"""Damage to files, as disks, people and other programs do it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path


def flipped(data: bytes) -> bytes:
    """One bit in the middle is another."""
    place = len(data) // 2
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def _delete(path: Path) -> None:
    path.unlink()


def _rewrite(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        """The modification time stays, as after a copy that keeps times; the time of the change does not."""
        info = path.stat()
        path.write_bytes(change(path.read_bytes()))
        os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))

    return damage


DAMAGES: dict[str, Callable[[Path], None]] = {
    "flipped": _rewrite(flipped),
    "cut": _rewrite(lambda data: data[: len(data) // 2]),
    "emptied": _rewrite(lambda data: b""),
    "longer": _rewrite(lambda data: data + b"x"),
    "deleted": _delete,
}
"""What may happen to a file, by a word for it."""


def unnoticed(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Change the content of a file as a failing disk does: no time tells. The record of the folder gets a new time."""
    _rewrite(change)(path)
    os.utime(path.parent / "manifest.jsonl")
