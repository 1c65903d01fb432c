"""Shards: samples in tar files and streams, and what a folder of them holds."""

from __future__ import annotations

import contextlib
import io
import sys
import zlib
from collections import Counter
from collections.abc import Iterator
from io import BufferedReader
from typing import BinaryIO, cast

from capivara_cli.errors import CapivaraError, TruncatedInput
from capivara_cli.shards.history import History, decode_history, encode_history
from capivara_cli.shards.sample import Sample
from capivara_cli.shards.tar import END, TarReader, TarWriter, shown
from capivara_cli.urls import is_url, public_url

Stream = Iterator[Sample]


_BUFFER = 1 << 20


_LOCAL_BUFFER = 1 << 16  # what fits a cache is read a tenth faster than a mebibyte


MAX_SAMPLE = 2 << 30


MAX_MEMBERS = 10_000
"""The largest sample accepted, in bytes and members: it is held in memory, and a tar may call all it has one sample."""


MAX_NAME = 1 << 16
"""The longest name of a member accepted: much more than a file system takes, less than our own header of it."""


class ShardReader:
    """The samples of one stream; ``history`` is known at once, ``notes`` counts what was passed over.

    Consecutive members with the same key are one sample; the key ends at the first dot of the base name, as in
    WebDataset. A member that repeats a suffix of its own sample cannot be told from the first one by any reader:
    it and what follows under that key is kept out and counted as "duplicate key". Raises ``CapivaraError`` for a
    sample that would not fit into memory.

    ``start`` and ``end`` are the bytes of the sample that was yielded last, in the (decompressed) stream: the headers
    and contents of its members. ``read_back`` reads it from there.
    """

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._tar = TarReader(stream, name)
        self.name = name
        self.history = decode_history(self._tar.comment)
        self.duplicates = 0
        self.start = self.end = 0

    @property
    def ignored(self) -> Counter[str]:
        """Members that are not regular files, by kind."""
        return self._tar.ignored

    def __iter__(self) -> Stream:
        key: str | None = None
        stem = "/"  # what the names of this sample start with, as far as is known: no name starts with a slash
        members: dict[str, bytes] = {}
        room = MAX_SAMPLE
        doubled = False
        start = end = 0
        for name, data in self._tar:
            if not name.startswith(stem) or "/" in (suffix := name[len(stem) :]):
                found, suffix = split_name(name)
                if found != key:
                    if key is not None:
                        self.start, self.end = start, end
                        yield Sample(key, members)
                    key, members, room, doubled, start = found, {}, MAX_SAMPLE, False, end
                stem = f"{found}." if suffix else "/"
            if suffix in members and not doubled:
                self.duplicates += 1
                doubled = True
            if not doubled:
                members[suffix] = data
                room -= len(data)
                if room < 0 or len(members) > MAX_MEMBERS or len(name) > MAX_NAME:
                    raise _oversized(self.name, name, key)
            end = self._tar.offset
        if key is not None:
            self.start, self.end = start, end
            yield Sample(key, members)


def _oversized(source: str, name: str, key: str | None) -> CapivaraError:
    """What is said of a sample that would not fit into memory, or of a member whose name is too long."""
    if len(name) > MAX_NAME:
        return CapivaraError(f"{source}: refused member {shown(name)}: its name has more than {MAX_NAME:,} letters")
    return CapivaraError(
        f"{source}: sample {shown(key or '')} has more than {MAX_MEMBERS:,} members or {MAX_SAMPLE >> 30} GiB",
        "members with the same name up to the first dot are one sample: rename them where they are not",
    )


def split_name(name: str) -> tuple[str, str]:
    """``dir/a.b.txt`` -> (``dir/a``, ``b.txt``): the key ends at the first dot of the base name."""
    folder, slash, base = name.rpartition("/")
    stem, dot, suffix = base.partition(".")
    if not stem or not dot:  # ".hidden" and "README": no suffix, and still not lost
        return name, ""
    return folder + slash + stem, suffix


class ShardWriter:
    """Writes samples to a binary stream, led by the history of the steps that made them."""

    def __init__(self, out: BinaryIO, history: History) -> None:
        self._tar = TarWriter(out, encode_history(history))
        self.written = 0

    def write(self, sample: Sample) -> None:
        for suffix, data in sample.members.items():
            self._tar.add(f"{sample.key}.{suffix}" if suffix else sample.key, data)
        self.written += 1

    def finish(self) -> None:
        self._tar.finish()


@contextlib.contextmanager
def reading(source: str, copy: BinaryIO | None = None) -> Iterator[ShardReader]:
    """Open a shard by path, URL or ``-`` (standard input) and read its head.

    What is read is also written to ``copy``, for a stream that cannot be read twice.
    """
    with _opened(source) as stream:
        yield ShardReader(stream if copy is None else cast(BinaryIO, _Copied(stream, copy)), _shown(source))


def read_back(source: str, start: int, end: int, key: str) -> Sample:
    """Read one sample from its bytes in a shard; of a compressed shard, what is before them is decompressed.

    ``start`` and ``end`` are those of ``ShardReader``. Raises ``CapivaraError`` if another sample is there now.
    """
    with _opened(source) as stream:
        stream.seek(start)
        data = stream.read(end - start)
    for sample in ShardReader(io.BytesIO(data + END), _shown(source)):
        if sample.key == key:
            return sample
        break
    message = f"{_shown(source)}: {key!r} is not where it was"
    raise CapivaraError(message, "the shard changed while it was searched: try again")


class _Copied:
    """A stream whose bytes are written to ``copy`` as they are read."""

    def __init__(self, stream: BinaryIO, copy: BinaryIO) -> None:
        self._stream, self._copy = stream, copy

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._copy.write(data)
        return data


def _shown(source: str) -> str:
    return "standard input" if source == "-" else public_url(source)


@contextlib.contextmanager
def _opened(source: str) -> Iterator[BinaryIO]:
    """``open_source``, where damage of the compression is ``TruncatedInput``."""
    with open_source(source) as stream:
        try:
            yield stream
        except (EOFError, zlib.error) as error:
            raise TruncatedInput(f"{_shown(source)}: the compressed stream is damaged or cut off: {error}") from error


@contextlib.contextmanager
def open_source(source: str) -> Iterator[BinaryIO]:
    """Bytes of a path, URL or ``-``; gzip is undone. Raises ``CapivaraError`` when it cannot be opened."""
    if source == "-":
        enlarge_pipe(0)
        with open(0, "rb", buffering=_BUFFER, closefd=False) as stream:
            yield stream
    elif is_url(source):
        from capivara_cli.storage.remote.read import opened  # the network's libraries, for those who need them

        with opened(source) as remote, _unpacked(remote) as stream:
            yield stream
    else:
        with cast(BufferedReader, open(source, "rb", buffering=_LOCAL_BUFFER)) as file, _unpacked(file) as stream:
            yield stream


@contextlib.contextmanager
def _unpacked(file: BufferedReader) -> Iterator[BinaryIO]:
    """The same bytes, or what gzip made them from."""
    if file.peek(2)[:2] != b"\x1f\x8b":
        yield file
        return
    import gzip

    with gzip.open(file) as plain:
        yield cast(BinaryIO, plain)


def enlarge_pipe(descriptor: int) -> None:
    """Give a pipe a 1 MiB buffer: worth 1.2 to 3 times the speed of a chain of stages (Linux; elsewhere a no-op)."""
    if sys.platform == "linux":
        import fcntl

        with contextlib.suppress(OSError):  # not a pipe, or the user's pipe quota is spent
            fcntl.fcntl(descriptor, 1031, _BUFFER)  # F_SETPIPE_SZ, a name only since Python 3.10 on some builds
