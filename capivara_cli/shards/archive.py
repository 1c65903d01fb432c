"""Read and write shards: samples in tar files and tar streams."""

from __future__ import annotations

import contextlib
import io
import sys
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from io import BufferedReader
from typing import BinaryIO, cast

from capivara_cli import console
from capivara_cli.errors import CapivaraError, TruncatedInput
from capivara_cli.shards.adjacent import adjacent_only
from capivara_cli.shards.history import History, decode_history, encode_history
from capivara_cli.shards.names import SYSTEM_FOLDER, SYSTEM_SUFFIXES, is_system_file
from capivara_cli.shards.recorded import ContentCheck, Recorded, recorded
from capivara_cli.shards.sample import Sample
from capivara_cli.shards.tar import END, TarReader, TarWriter, shown
from capivara_cli.storage.digests import Hash, HashedStream
from capivara_cli.storage.files import PIPE, special_kind
from capivara_cli.urls import is_url, public_url

Stream = Iterator[Sample]

_BUFFER = 1 << 20
_LOCAL_BUFFER = 1 << 16  # fits a processor cache: a tenth faster than a buffer of 1 MiB

_SILENT_SECONDS = 10.0

MAX_SAMPLE = 2 << 30
MAX_MEMBERS = 10_000
"""The largest sample accepted, in bytes and members: a sample is in memory, and a tar may claim to be one sample."""
SYSTEM_FILE = "file of macOS or Windows"
MAX_NAME = 1 << 16
"""The longest member name accepted. File systems allow far less, and its header is under the limit of ``TarReader``."""


class ShardReader:
    """Iterates over the samples of one stream. ``history`` is read when the object is created.

    Consecutive members with the same key are one sample. The key ends at the first dot of the base name, as in
    WebDataset. If a member repeats a suffix of its sample, this member and the rest of the sample are ignored, and
    ``duplicates`` is increased: no reader could tell the two members apart. Files that macOS and Windows leave in tars
    (``._a.jpg``, ``.DS_Store``) are passed over, counted, and end no sample. Iteration raises ``CapivaraError`` for a
    sample that would not fit into memory, and for one whose members are not adjacent.

    ``start`` and ``end`` are the byte range of the last sample in the decompressed stream, headers included.
    ``read_sample`` reads a sample from its range. ``at_end`` is called when the whole stream has been read, before the
    last sample is yielded, and may raise an error.
    """

    def __init__(self, stream: BinaryIO, name: str, at_end: Callable[[], None] | None = None) -> None:
        self._tar = TarReader(stream, name)
        self._at_end = at_end
        self.name = name
        self.history = decode_history(self._tar.comment)
        self.duplicates = 0
        self.start = self.end = 0

    @property
    def ignored(self) -> Counter[str]:
        """The number of members that were passed over, by kind: links, folders, files of macOS and Windows."""
        return self._tar.ignored

    def __iter__(self) -> Stream:
        """The samples. Tars with our comment are neither checked for adjacent members nor for system files."""
        return self._samples() if self._tar.comment else adjacent_only(self._samples(), self.name)

    def _samples(self) -> Stream:
        key: str | None = None
        stem = "/"  # the names of this sample start with it; "/" while it is unknown, which no name starts with
        members: dict[str, bytes] = {}
        room = MAX_SAMPLE
        doubled = False
        start = end = 0
        foreign = not self._tar.comment
        for name, data in self._tar:
            if not name.startswith(stem) or "/" in (suffix := name[len(stem) :]):
                found, suffix = split_name(name)
                if foreign and (suffix in SYSTEM_SUFFIXES or SYSTEM_FOLDER in name) and is_system_file(name):
                    self.ignored[SYSTEM_FILE] += 1
                    continue
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
        if self._at_end is not None:
            self._at_end()
        if key is not None:
            self.start, self.end = start, end
            yield Sample(key, members)


def _oversized(source: str, name: str, key: str | None) -> CapivaraError:
    """The error for a sample that would not fit into memory, or for a member whose name is too long."""
    if len(name) > MAX_NAME:
        return CapivaraError(f"{source}: refused member {shown(name)}: its name has more than {MAX_NAME:,} characters")
    return CapivaraError(
        f"{source}: sample {shown(key or '')} has more than {MAX_MEMBERS:,} members or {MAX_SAMPLE >> 30} GiB",
        "members with the same name up to the first dot are one sample: rename members that are not",
    )


def split_name(name: str) -> tuple[str, str]:
    """``dir/a.b.txt`` -> (``dir/a``, ``b.txt``): the key ends at the first dot of the base name."""
    folder, slash, base = name.rpartition("/")
    stem, dot, suffix = base.partition(".")
    if not stem or not dot:  # ".hidden" and "README" have no suffix and stay in the output
        return name, ""
    return folder + slash + stem, suffix


class ShardWriter:
    """Writes samples to a binary stream, after the history of the steps that produced them, and adds to ``digest``."""

    def __init__(self, out: BinaryIO, history: History, digest: Hash | None = None) -> None:
        self._tar = TarWriter(out, encode_history(history), digest)
        self.written = 0

    def write(self, sample: Sample) -> None:
        for suffix, data in sample.members.items():
            self._tar.add(f"{sample.key}.{suffix}" if suffix else sample.key, data)
        self.written += 1

    def finish(self) -> None:
        self._tar.finish()


@contextlib.contextmanager
def open_shard(source: str, copy: BinaryIO | None = None, expected: Recorded | None = None) -> Iterator[ShardReader]:
    """Open a shard by path, URL or ``-`` (standard input) and read its history.

    All bytes that are read are also written to ``copy``, for a stream that cannot be read twice. If the shard is read
    to its end, its content is compared with ``expected``, by default with what the manifest beside it says. Raises
    ``DamagedShard`` if it differs, and ``CapivaraError`` if the shard cannot be opened, is damaged or is cut off.
    """
    expected = expected or (None if source == "-" else recorded(source))
    name = _source_name(source)
    if expected is None:
        with _open_checked(source) as stream:
            yield ShardReader(stream if copy is None else cast(BinaryIO, _CopiedStream(stream, copy)), name)
        return
    check = ContentCheck(source, expected)
    with _open_checked(source, check.digest) as stream, check.explaining(stream):
        content = stream if copy is None else cast(BinaryIO, _CopiedStream(stream, copy))
        yield ShardReader(content, name, check.at_end)


def read_sample(source: str, start: int, end: int, key: str) -> Sample:
    """Read one sample from its byte range in a shard. A compressed shard is decompressed up to the range.

    ``start`` and ``end`` are those of ``ShardReader``. Raises ``CapivaraError`` if the range now has another sample.
    """
    with _open_checked(source) as stream:
        stream.seek(start)
        data = stream.read(end - start)
    for sample in ShardReader(io.BytesIO(data + END), _source_name(source)):
        if sample.key == key:
            return sample
        break
    message = f"{_source_name(source)}: sample {key!r} has moved"
    raise CapivaraError(message, "the shard changed while it was searched: try again")


class _CopiedStream:
    """A stream that writes to ``copy`` what is read from it."""

    def __init__(self, stream: BinaryIO, copy: BinaryIO) -> None:
        self._stream, self._copy = stream, copy

    def read(self, size: int) -> bytes:
        data = self._stream.read(size)
        self._copy.write(data)
        return data


def _source_name(source: str) -> str:
    return "standard input" if source == "-" else public_url(source)


@contextlib.contextmanager
def _open_checked(source: str, digest: Hash | None = None) -> Iterator[BinaryIO]:
    """``open_source``; damaged compression raises ``TruncatedInput``."""
    with open_source(source, digest) as stream:
        try:
            yield stream
        except (EOFError, zlib.error) as error:
            raise TruncatedInput(
                f"{_source_name(source)}: the compressed stream is damaged or cut off: {error}"
            ) from error


@contextlib.contextmanager
def open_source(source: str, digest: Hash | None = None) -> Iterator[BinaryIO]:
    """Open a path, URL or ``-`` for reading and decompress gzip. Raises ``CapivaraError`` if a URL cannot be read.

    The bytes of a path or URL that are read are added to ``digest``, before they are decompressed.
    """
    if source == "-":
        enlarge_pipe(0)
        with open(0, "rb", buffering=_BUFFER, closefd=False) as stream:
            yield stream
    elif is_url(source):
        from capivara_cli.storage.remote.read import open_remote  # slow: imports the network libraries

        with open_remote(source) as remote, _decompressed(_hashed(remote, digest, _BUFFER)) as stream:
            yield stream
    else:
        with (
            _opened(source, buffering=0 if digest else _LOCAL_BUFFER) as file,
            _decompressed(_hashed(file, digest, _LOCAL_BUFFER)) as stream,
        ):
            yield stream


def _opened(source: str, buffering: int) -> BinaryIO:
    """Open a local file, or a pipe: after ten seconds without a command that writes to it, say what is waited for."""
    if special_kind(source) != PIPE:
        return cast(BinaryIO, open(source, "rb", buffering=buffering))
    text = f"{source}: waiting for a command that writes to this pipe"
    timer = threading.Timer(_SILENT_SECONDS, console.say, [text])
    timer.daemon = True
    timer.start()
    try:
        return cast(BinaryIO, open(source, "rb", buffering=buffering))
    finally:
        timer.cancel()


def _hashed(stream: BinaryIO, digest: Hash | None, buffer: int) -> BufferedReader:
    """The stream, whose bytes are added to ``digest`` if there is one."""
    if digest is None:
        return cast(BufferedReader, stream)
    return BufferedReader(HashedStream(stream, digest), buffer)


@contextlib.contextmanager
def _decompressed(file: BufferedReader) -> Iterator[BinaryIO]:
    """The file itself, or its decompressed content if it is gzip."""
    if file.peek(2)[:2] != b"\x1f\x8b":
        yield file
        return
    import gzip

    with gzip.open(file) as plain:
        yield cast(BinaryIO, plain)


def enlarge_pipe(descriptor: int) -> None:
    """Give a pipe a buffer of 1 MiB, which makes a chain of stages 1.2 to 3 times as fast. Only Linux supports it."""
    if sys.platform == "linux":
        import fcntl

        with contextlib.suppress(OSError):  # not a pipe, or the user's pipe quota is spent
            fcntl.fcntl(descriptor, 1031, _BUFFER)  # F_SETPIPE_SZ; some builds of Python lack the name
