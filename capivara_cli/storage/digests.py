"""Digests of files, computed from the bytes as they are written and read, so that no file is read for its digest alone.

xxh3 with 128 bits finds every kind of damage. It is not meant to resist somebody who forges a file. SHA-256 and CRC-32
take four to five times as long, which a stage that only copies samples would show.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

_CHUNK = 1 << 20


class Hash(Protocol):
    """A digest in progress."""

    def update(self, data: Any, /) -> object:
        """Add bytes."""

    def hexdigest(self) -> str:
        """The digest of all bytes so far."""


def new_hash() -> Hash:
    """A digest of no bytes."""
    import xxhash  # --help does not need it

    return cast("Hash", xxhash.xxh3_128())


def digest_text(digest: Hash) -> str:
    """A digest with the name of its algorithm, for a manifest."""
    return f"xxh3:{digest.hexdigest()}"


def digest_of_bytes(data: bytes) -> str:
    """The ``digest_text`` of some bytes."""
    digest = new_hash()
    digest.update(data)
    return digest_text(digest)


def digest_of_file(path: Path) -> str:
    """The ``digest_text`` of the content of a file. Raises ``OSError`` if it cannot be read."""
    digest = new_hash()
    with open(path, "rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest_text(digest)


class HashedStream(io.RawIOBase):
    """A stream that adds all bytes which are read from ``stream`` to a digest."""

    def __init__(self, stream: io.RawIOBase | BinaryIO, digest: Hash) -> None:
        self._stream, self._digest = stream, digest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer; return the number of bytes, 0 at the end."""
        count = cast("io.RawIOBase", self._stream).readinto(buffer) or 0
        self._digest.update(memoryview(buffer)[:count])
        return count
