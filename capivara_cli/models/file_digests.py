"""The sha256 of the files of a saved model or adapter, stored in one of them and compared when it is loaded."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from capivara_cli.errors import CapivaraError
from capivara_cli.storage import cache
from capivara_cli.storage.files import replace_text

FILES = "files"
"""The key that maps file names to digests."""
_PART = 1 << 24  # bytes
_LARGE = 1 << 26  # bytes: the digests of larger files are cached


def sha256_of(path: Path) -> str:
    """The sha256 of a file; "" if it does not exist."""
    found = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while part := file.read(_PART):
                found.update(part)
    except FileNotFoundError:
        return ""
    return found.hexdigest()


def digests(folder: Path, patterns: Iterable[str]) -> dict[str, str]:
    """File name -> sha256, of the files of a folder whose names match one of the patterns."""
    found = sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()})
    return {path.name: sha256_of(path) for path in found}


def check(folder: Path, expected: Mapping[str, str], file: Path, hint: str) -> None:
    """Raise ``CapivaraError`` for a file that is not the one whose digest is stored in ``file``."""
    for name, digest in expected.items():
        path = folder / name
        if _known_sha256(path) != digest:
            raise CapivaraError(f"{path}: damaged or replaced: its checksum is not the one in {file.name}", hint)


def _known_sha256(path: Path) -> str:
    """The sha256 of a file; of a large one, cached by size and time, because a model is loaded often."""
    if not path.is_file() or (info := path.stat()).st_size <= _LARGE:
        return sha256_of(path)
    key = ["file", str(path.resolve()), info.st_size, info.st_mtime_ns, info.st_ino]
    stored = cache.folder() / "digests" / hashlib.sha256(json.dumps(key).encode()).hexdigest()[:24]
    with contextlib.suppress(OSError, UnicodeDecodeError):
        found = stored.read_text("utf-8")
        if len(found) == 64:
            return found
    found = sha256_of(path)
    with contextlib.suppress(OSError):  # without a cache it is only computed again
        replace_text(stored, found)
    return found
