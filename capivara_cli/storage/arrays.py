"""A folder of flat arrays: written once, then memory-mapped.

Each array is a file with the name of the array. A JSON document in the folder has the size and CRC-32 of every file,
and a checksum of its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import zlib
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from capivara_cli.storage.checksums import KEY, with_checksum, without_checksum
from capivara_cli.storage.files import replace_text

Dtypes = Mapping[str, str]
"""The dtype of each array of a folder, by name."""
_CHUNK = 1 << 24
_BUFFER = 1 << 20


class DamagedArrays(Exception):
    """A file of the folder is missing or damaged. The message is its name."""


def file_states(paths: Sequence[str]) -> list[list[str | int]] | None:
    """[path, size, modification time] of each file. If they are equal later, the content is taken to be unchanged.

    None if one of the paths is a stream or a URL, because its content may change unnoticed.
    """
    if any(path == "-" or "://" in path for path in paths):
        return None
    states = [(Path(path), Path(path).stat()) for path in paths]
    return [[str(path.resolve()), state.st_size, state.st_mtime_ns] for path, state in states]


def digest_of(sources: object) -> str:
    """A folder name from everything that decides the content of the folder, given as a JSON value."""
    return hashlib.sha256(json.dumps(sources, sort_keys=True).encode()).hexdigest()[:24]


class ArrayWriter:
    """Appends to the arrays of a folder. Use it in a ``with`` statement."""

    def __init__(self, folder: Path, dtypes: Dtypes) -> None:
        self._dtypes = dtypes
        self._open = contextlib.ExitStack()
        self._files: dict[str, BinaryIO] = {
            name: self._open.enter_context((folder / name).open("wb", buffering=_BUFFER)) for name in dtypes
        }
        self._checksums = {name: [0, 0] for name in dtypes}

    def __enter__(self) -> ArrayWriter:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def put(self, name: str, values: Any) -> None:
        """Append values to an array, converted to its dtype."""
        self.put_bytes(name, np.asarray(values, self._dtypes[name]).tobytes())

    def put_string(self, name: str, bounds: str, text: bytes) -> None:
        """Append a UTF-8 string to the array ``name``, and its end to the array ``bounds``. See ``string_at``."""
        self.put_bytes(name, text)
        self.put(bounds, [self._checksums[name][0]])

    def put_bytes(self, name: str, data: bytes) -> None:
        """Append the bytes of values that already have the dtype of the array."""
        self._files[name].write(data)
        size, value = self._checksums[name]
        self._checksums[name] = [size + len(data), zlib.crc32(data, value)]

    @property
    def files(self) -> dict[str, list[int]]:
        """File name -> [size, CRC-32], so far."""
        return {name: list(each) for name, each in self._checksums.items()}


def string_at(data: np.ndarray, bounds: np.ndarray, index: int) -> str:
    """String number ``index`` of those that ``put_string`` wrote. The first value of ``bounds`` must be 0."""
    return data[bounds[index] : bounds[index + 1]].tobytes().decode("utf-8", "surrogateescape")


def write_document(path: Path, document: Mapping[str, object]) -> None:
    """Write the JSON document of a folder, with its checksum, atomically."""
    replace_text(path, json.dumps(with_checksum(document), ensure_ascii=False, indent=2) + "\n")


def read_document(path: Path) -> dict[str, Any]:
    """The JSON document of a folder. Raises ``DamagedArrays`` if there is none, or another than was written."""
    try:
        document = json.loads(path.read_bytes())
        if not isinstance(document, dict) or KEY not in document:
            raise DamagedArrays(path.name)
        return without_checksum(document)
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise DamagedArrays(path.name) from error


def map_arrays(folder: Path, dtypes: Dtypes, files: Any, *, unverified: Collection[str] = ()) -> dict[str, np.ndarray]:
    """The arrays of a folder, one-dimensional and memory-mapped, after a comparison of sizes and checksums.

    ``files`` is ``ArrayWriter.files`` as stored in the document. Of the arrays ``unverified`` only the size is
    compared, because a checksum reads the whole file. Raises ``DamagedArrays`` if a file does not match.
    """
    arrays = {}
    for name, dtype in dtypes.items():
        path = folder / name
        try:
            size, value = expected = files[name]
            found = [path.stat().st_size, value]
            if found == expected and name not in unverified:
                found = checksum(path)
        except (FileNotFoundError, KeyError, TypeError, ValueError) as error:
            raise DamagedArrays(name) from error
        if found != expected:
            raise DamagedArrays(name)
        arrays[name] = np.asarray(np.memmap(path, dtype, "r")) if size else np.zeros(0, dtype)
    return arrays


def checksum(path: Path) -> list[int]:
    """[size, CRC-32] of a file."""
    size = value = 0
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            size += len(chunk)
            value = zlib.crc32(chunk, value)
    return [size, value]
