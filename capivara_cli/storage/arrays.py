"""A folder of flat arrays: written once, then memory-mapped.

Each array is a file of its name. A JSON document beside them has under ``files`` the size and the CRC-32 of every file.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from capivara_cli.storage.files import replace_text

Kinds = Mapping[str, str]
"""The names of the arrays of a folder, and the dtype of each."""
_CHUNK = 1 << 24
_BUFFER = 1 << 20


class DamagedArrays(Exception):
    """A file of the folder is missing or damaged; the message names it."""


def local_marks(paths: Sequence[str]) -> list[list[Any]] | None:
    """[path, size, modification time] of each file: while these are equal, so is the content.

    None if one of the paths is a stream or a URL: its content may change unnoticed.
    """
    if any(path == "-" or "://" in path for path in paths):
        return None
    states = [(Path(path), Path(path).stat()) for path in paths]
    return [[str(path.resolve()), state.st_size, state.st_mtime_ns] for path, state in states]


def digest_of(made_from: Any) -> str:
    """A file name for whatever decides the content of a folder, given as JSON."""
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:24]


class ArrayWriter:
    """Appends to the arrays of a folder. Use it in a ``with`` statement."""

    def __init__(self, folder: Path, kinds: Kinds) -> None:
        self._kinds = kinds
        self._open = contextlib.ExitStack()
        self._files: dict[str, BinaryIO] = {
            name: self._open.enter_context((folder / name).open("wb", buffering=_BUFFER)) for name in kinds
        }
        self._checksums = {name: [0, 0] for name in kinds}

    def __enter__(self) -> ArrayWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def put(self, name: str, values: Any) -> None:
        """Append values to an array."""
        self.put_bytes(name, np.asarray(values, self._kinds[name]).tobytes())

    def put_word(self, name: str, bounds: str, word: bytes) -> None:
        """Append bytes to the array ``name``, and where they end to the array ``bounds``, see ``word_at``."""
        self.put_bytes(name, word)
        self.put(bounds, [self._checksums[name][0]])

    def put_bytes(self, name: str, data: bytes) -> None:
        """Append encoded values to an array."""
        self._files[name].write(data)
        size, value = self._checksums[name]
        self._checksums[name] = [size + len(data), zlib.crc32(data, value)]

    @property
    def files(self) -> dict[str, list[int]]:
        """The size and CRC-32 of every file so far."""
        return {name: list(each) for name, each in self._checksums.items()}


def word_at(data: np.ndarray, bounds: np.ndarray, place: int) -> str:
    """The word ``place`` of those that ``put_word`` wrote, if 0 was put into ``bounds`` before the first."""
    return data[bounds[place] : bounds[place + 1]].tobytes().decode("utf-8", "surrogateescape")


def write_document(path: Path, document: dict[str, Any]) -> None:
    """Write the JSON document of a folder, all or nothing."""
    replace_text(path, json.dumps(document, ensure_ascii=False, indent=2) + "\n")


def read_document(path: Path) -> dict[str, Any]:
    """The JSON document of a folder. Raises ``DamagedArrays`` if there is none."""
    try:
        document = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise DamagedArrays(path.name) from error
    if not isinstance(document, dict):
        raise DamagedArrays(path.name)
    return document


def map_arrays(folder: Path, kinds: Kinds, files: Any, *, verify: bool) -> dict[str, np.ndarray]:
    """The arrays of a folder, memory-mapped; ``files`` is what the document says of them.

    ``verify``: also compare checksums, which reads every file. Raises ``DamagedArrays`` if a file is not as described.
    """
    arrays = {}
    for name, kind in kinds.items():
        path = folder / name
        try:
            size, _ = expected = files[name]
            found = checksum(path) if verify else [path.stat().st_size, expected[1]]
        except (FileNotFoundError, KeyError, TypeError, ValueError) as error:
            raise DamagedArrays(name) from error
        if found != expected:
            raise DamagedArrays(name)
        arrays[name] = np.asarray(np.memmap(path, kind, "r")) if size else np.zeros(0, kind)
    return arrays


def checksum(path: Path) -> list[int]:
    """The size and the CRC-32 of a file."""
    size = value = 0
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            size += len(chunk)
            value = zlib.crc32(chunk, value)
    return [size, value]
