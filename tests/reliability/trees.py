"""What the files of a result are, to compare it with that of another run; and ways to damage one of them."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

COSTS = frozenset({"footprint.jsonl", "footprint.json"})
"""The ledgers: they have times, and records of every run."""

Damage = Callable[[Path], None]


def content(folder: Path, names: Iterable[str], scrub: Callable[[Path], bytes] = Path.read_bytes) -> dict[str, str]:
    """Name -> digest of every file of a result, hidden ones too; ``names`` are its files and folders."""
    found: dict[str, str] = {}
    for name in names:
        path = folder / name
        for each in sorted(path.rglob("*")) if path.is_dir() else [path] if path.is_file() else []:
            if each.is_file() and each.name not in COSTS:
                found[str(each.relative_to(folder))] = hashlib.sha256(scrub(each)).hexdigest()[:16]
    return found


def difference(found: dict[str, str], expected: dict[str, str]) -> str:
    """What differs, for a message; "" for equal results."""
    more, less = sorted(found.keys() - expected), sorted(expected.keys() - found)
    other = sorted(name for name in found.keys() & expected if found[name] != expected[name])
    parts = [("too many", more), ("missing", less), ("other bytes", other)]
    return "; ".join(f"{what}: {', '.join(names)}" for what, names in parts if names)


def copied(source: Path, target: Path) -> None:
    """Replace a folder by a copy of another one, with its times and links."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target, symlinks=True)


def dated(folder: Path) -> None:
    """Give each file a time that is the same whenever the folder is made."""
    for number, path in enumerate(sorted(folder.rglob("*")), start=1):
        if path.is_file():
            os.utime(path, (number * 1000, number * 1000))


def removed(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def cut(path: Path) -> None:
    """Take the last third of a file away, a byte at least."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) - max(1, len(data) // 3)])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def flipped(path: Path) -> None:
    """Change one bit in the middle of a file, not in the padding of a tar, and leave its size and time."""
    data, info = bytearray(path.read_bytes()), path.stat()
    half = len(data) // 2
    for place in (*range(half, len(data)), *range(half)):
        if data[place]:
            data[place] ^= 1
            break
    path.write_bytes(bytes(data))
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))


def garbage(path: Path) -> None:
    path.write_bytes(b"\x00garbage\xff\n" * 20)


DAMAGE: dict[str, Damage] = {
    "cut": cut,
    "emptied": emptied,
    "deleted": removed,
    "flipped": flipped,
    "garbage": garbage,
}
