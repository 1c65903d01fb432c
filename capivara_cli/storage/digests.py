"""Digests of files, computed from the bytes as they are written and read, so that no file is read for its digest alone.

xxh3 with 128 bits finds every kind of damage. It is not meant to resist somebody who forges a file. It takes a tenth of
the time of SHA-256 and CRC-32, which a stage that only copies samples would show, if the bytes are in the processor's
cache: so they are hashed where they are read and written.
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
    with open(path, "rb", buffering=0) as file:
        return digest_of_stream(file)


def digest_of_stream(stream: io.RawIOBase | BinaryIO) -> str:
    """The ``digest_text`` of the rest of a stream. Raises ``OSError`` if it cannot be read."""
    digest = new_hash()
    while chunk := stream.read(_CHUNK):
        digest.update(chunk)
    return digest_text(digest)


class HashedStream(io.RawIOBase):
    """A stream that adds all bytes which are read from ``stream`` to a digest."""

    def __init__(self, stream: io.RawIOBase | BinaryIO, digest: Hash) -> None:
        self._readinto, self._update = cast("io.RawIOBase", stream).readinto, digest.update

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer; return the number of bytes, 0 at the end."""
        count = self._readinto(buffer) or 0
        self._update(buffer if count == len(buffer) else memoryview(buffer)[:count])
        return count
