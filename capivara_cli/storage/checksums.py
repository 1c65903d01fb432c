"""Checksums inside files, by which damage is found when they are read: in a JSON document, or after other content.

Programs that read the content of a torch file from its start to its index do not notice what follows.

They protect against damage and changes by accident, not against people who compute the checksum of what they changed.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

KEY = "checksum"
"""The key of a JSON document that has the checksum of all others."""
_MARK = b"\ncapivara, length and CRC-32:\n"
_END = len(_MARK) + 16  # bytes: the mark, then the length of the content and its CRC-32, little-endian


class DamagedFile(Exception):
    """A file that was cut off or changed since it was written. The message says which of the two."""


def with_checksum(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with its checksum as the last key."""
    content = {key: value for key, value in document.items() if key != KEY}
    return {**content, KEY: _checksum(content)}


def without_checksum(document: dict[str, Any]) -> dict[str, Any]:
    """The document without its checksum. Raises ``ValueError`` if it is not that of the other keys.

    A document without a checksum is accepted: people may edit a file if they remove the key.
    """
    content = {key: value for key, value in document.items() if key != KEY}
    if KEY in document and document[KEY] != _checksum(content):
        raise ValueError(f"its {KEY!r} is not that of its content, so the file was changed")
    return content


def _checksum(content: Mapping[str, Any]) -> str:
    """The sha256 of a document as it will be after it was written and read."""
    same = json.loads(json.dumps(content))
    return f"sha256:{hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()}"


def write_checked(out: BinaryIO, content: bytes) -> None:
    """Write the content of a file, then its length and checksum, for ``read_checked``."""
    out.write(content)
    out.write(_MARK + len(content).to_bytes(8, "little") + zlib.crc32(content).to_bytes(8, "little"))


def read_checked(path: Path) -> bytes:
    """The content of a file that ``write_checked`` wrote. Raises ``DamagedFile``, and ``FileNotFoundError``."""
    with open(path, "rb") as file:
        content = file.read(max(0, path.stat().st_size - _END))
        end = file.read()
    if len(end) < _END or not end.startswith(_MARK):
        raise DamagedFile("cut off, or not written by capivara")
    size, value = (int.from_bytes(end[start:][:8], "little") for start in (len(_MARK), len(_MARK) + 8))
    if len(content) != size:
        raise DamagedFile(f"it has {len(content):,} bytes, not {size:,}")
    if zlib.crc32(content) != value:
        raise DamagedFile("its content is not that of its checksum")
    return content
