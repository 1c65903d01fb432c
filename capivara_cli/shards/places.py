"""Where each sample lies in its shard, and one sample read back from there."""

from __future__ import annotations

import contextlib
import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, cast

from capivara_cli.errors import CapivaraError, TruncatedInput
from capivara_cli.shards.archive import (
    MAX_MEMBERS,
    MAX_NAME,
    MAX_SAMPLE,
    ShardReader,
    open_source,
    oversized,
    split_name,
)
from capivara_cli.shards.sample import Sample
from capivara_cli.shards.tar import END, TarReader
from capivara_cli.urls import public_url


@dataclass(frozen=True)
class Place:
    """The bytes ``start`` to ``end`` of the (decompressed) shard with this number: headers and members of a sample."""

    shard: int
    start: int
    end: int


class PlacedReader:
    """The samples of one stream, as ``ShardReader`` gives them, each with its place."""

    def __init__(self, stream: _Counted, name: str, shard: int) -> None:
        self._stream, self._name, self._shard = stream, name, shard
        self.duplicates = 0

    def __iter__(self) -> Iterator[tuple[Sample, Place]]:
        start = end = 0
        key: str | None = None
        members: dict[str, bytes] = {}
        doubled, room = False, MAX_SAMPLE
        for name, data in TarReader(cast(BinaryIO, self._stream), self._name):
            found, suffix = split_name(name)
            if found != key:
                if key is not None:
                    yield Sample(key, members), Place(self._shard, start, end)
                key, members, doubled, start = found, {}, False, end
                room = MAX_SAMPLE
            if suffix in members and not doubled:
                self.duplicates += 1
                doubled = True
            if not doubled:
                members[suffix] = data
                room -= len(data)
                if room < 0 or len(members) > MAX_MEMBERS or len(name) > MAX_NAME:
                    raise oversized(self._name, name, key)
            end = self._stream.position
        if key is not None:
            yield Sample(key, members), Place(self._shard, start, end)


class _Counted:
    """A stream that knows how far it was read; what was read also goes to ``copy``."""

    def __init__(self, stream: BinaryIO, copy: BinaryIO | None) -> None:
        self._stream, self._copy = stream, copy
        self.position = 0

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self.position += len(data)
        if self._copy is not None:
            self._copy.write(data)
        return data


@contextlib.contextmanager
def reading_places(source: str, shard: int, copy: BinaryIO | None = None) -> Iterator[PlacedReader]:
    """Open a shard by path, URL or ``-``; all that is read goes to ``copy`` too, for what cannot be read twice."""
    with _opened(source) as stream:
        yield PlacedReader(_Counted(stream, copy), _named(source), shard)


@contextlib.contextmanager
def _opened(source: str) -> Iterator[BinaryIO]:
    with open_source(source) as stream:
        try:
            yield stream
        except (EOFError, zlib.error) as error:
            raise TruncatedInput(f"{_named(source)}: the compressed stream is damaged or cut off: {error}") from error


def _named(source: str) -> str:
    return "standard input" if source == "-" else public_url(source)


def read_back(shard: str, place: Place, key: str) -> Sample:
    """The sample at a place, without what is before it (of a compressed shard, that is decompressed).

    Raises ``CapivaraError`` when another one is there now.
    """
    with _opened(shard) as stream:
        stream.seek(place.start)
        data = stream.read(place.end - place.start)
    for sample in ShardReader(io.BytesIO(data + END), _named(shard)):
        if sample.key == key:
            return sample
        break
    message = f"{_named(shard)}: {key!r} is not where it was"
    raise CapivaraError(message, "the shard changed while it was searched: try again")
