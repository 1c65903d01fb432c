"""Tar as a strict stream: every header verified, an end marker demanded on reading and earned on writing.

``tarfile`` and ``webdataset`` take a cut archive for a finished one, stamp the clock into what they write, and cost
ten times as much; a stream that is trusted between processes can afford none of that. Format: POSIX.1-2001 (pax).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import BinaryIO

from capivara_cli.errors import CapivaraError, TruncatedInput

BLOCK = 512
END = bytes(2 * BLOCK)
MAX_MEMBER = 1 << 30
"""Largest member accepted, in bytes: a header may lie, and what it announces is held in memory."""

_MAX_EXTENDED = 1 << 20  # pax records and GNU long names: a path and a comment, never more
_REGULAR = frozenset(b"0\x007")
_WITHOUT_BODY = frozenset(b"123456")
_KINDS = {"1": "hard link", "2": "symbolic link", "3": "device", "4": "device", "5": "directory", "6": "fifo"}


class TarReader:
    """The regular members of one stream, which may hold several tars one after another.

    ``comment`` is the ``comment`` of the leading pax global header (read at once, so that a writer downstream knows
    it before the first member); ``ignored`` counts members that are not regular files. Raises ``TruncatedInput`` when
    the stream ends before an end marker and ``CapivaraError`` when it is not a tar or names a path outside itself.
    """

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream = stream
        self._name = name
        self._offset = 0
        self._global: dict[bytes, bytes] = {}
        self.ignored: Counter[str] = Counter()
        self._pending: bytes | None = self._block(at_start=True)
        if self._pending[156:157] == b"g":
            self._global = self._records(self._checked_size(self._pending))
            self._pending = None

    @property
    def comment(self) -> str:
        return self._global.get(b"comment", b"").decode("utf-8", "replace")

    def __iter__(self) -> Iterator[tuple[str, bytes]]:
        while True:
            yield from self._archive()
            if not self._next_archive():
                return

    def _archive(self) -> Iterator[tuple[str, bytes]]:
        """The members up to the end marker of one tar."""
        extended: dict[bytes, bytes] = {}
        while True:
            header = self._pending or self._block()
            self._pending = None
            if header.count(0) == BLOCK:
                if self._block().count(0) != BLOCK:
                    raise self._broken("a lone zero block where the end marker should be")
                return
            size = self._checked_size(header)
            kind = header[156]
            if kind == 0x78:  # x: records for the next member
                extended.update(self._records(size))
            elif kind == 0x67:  # g: records for the rest of the stream; only the leading one means anything to us
                self._records(size)
            elif kind == 0x4C:  # L: GNU long name
                extended[b"path"] = self._body(size, _MAX_EXTENDED).rstrip(b"\0")
            elif kind == 0x4B:  # K: GNU long link target
                self._body(size, _MAX_EXTENDED)
            else:
                yield from self._member(header, extended, size)
                extended = {}

    def _member(self, header: bytes, extended: dict[bytes, bytes], size: int) -> Iterator[tuple[str, bytes]]:
        raw = extended.get(b"path")
        if raw is None:
            raw = header[:100].split(b"\0", 1)[0]
            prefix = header[345:500].split(b"\0", 1)[0] if header[257:263] == b"ustar\0" else b""
            raw = prefix + b"/" + raw if prefix else raw
        name = raw.decode("utf-8", "surrogateescape")
        kind = header[156]
        if kind in _WITHOUT_BODY:
            self.ignored[_KINDS[chr(kind)]] += 1
            return
        if b"size" in extended:
            size = self._decimal(extended[b"size"])
        data = self._body(size, MAX_MEMBER, name)
        if kind not in _REGULAR:
            self.ignored[f"member of type {chr(kind)!r}"] += 1
        elif name.endswith("/"):  # a directory, as tars before POSIX write it
            self.ignored["directory"] += 1
        elif name.startswith("/") or ".." in name.split("/") or "\0" in name or not name:
            raise CapivaraError(
                f"{self._name}: refused member {name!r}: it points outside the archive",
                "make the tar again with plain relative names",
            )
        else:
            yield name, data

    def _next_archive(self) -> bool:
        """Skip the padding after an end marker; True when another tar follows."""
        while block := self._stream.read(BLOCK):
            self._offset += len(block)
            if block.count(0) != len(block):
                if len(block) < BLOCK:
                    raise self._broken("bytes after the end marker that are no tar")
                self._pending = block
                return True
        return False

    def _block(self, at_start: bool = False) -> bytes:
        block = self._stream.read(BLOCK)
        self._offset += len(block)
        if len(block) == BLOCK:
            return block
        if at_start and not block:
            raise TruncatedInput(f"{self._name}: empty, not even an end marker", _UPSTREAM)
        raise TruncatedInput(f"{self._name}: cut off at byte {self._offset}, before the end marker", _UPSTREAM)

    def _body(self, size: int, limit: int, member: str = "header") -> bytes:
        if size > limit:
            raise CapivaraError(
                f"{self._name}: member {member!r} claims {size:,} bytes, more than the limit of {limit:,}"
            )
        padded = -(-size // BLOCK) * BLOCK
        data = self._stream.read(padded)
        self._offset += len(data)
        if len(data) < padded:
            raise TruncatedInput(f"{self._name}: cut off at byte {self._offset}, inside {member!r}", _UPSTREAM)
        return data[:size] if padded != size else data

    def _records(self, size: int) -> dict[bytes, bytes]:
        """Parse pax records: ``b"%d %s=%s\\n" % (length of the whole record, key, value)``."""
        data = self._body(size, _MAX_EXTENDED)
        records: dict[bytes, bytes] = {}
        while data.strip(b"\0"):
            digits, space, _ = data[:24].partition(b" ")
            length = self._decimal(digits) if space else 0
            record = data[len(digits) + 1 : length]
            key, equals, value = record.partition(b"=")
            if length > len(data) or not equals or not record.endswith(b"\n"):
                raise self._broken("a damaged pax header")
            records[key] = value[:-1]
            data = data[length:]
        return records

    def _checked_size(self, header: bytes) -> int:
        """Verify the checksum of a header and return the size it announces."""
        try:
            stored = int(header[148:156].split(b"\0", 1)[0].strip() or b"x", 8)
        except ValueError:
            stored = -1
        if sum(header) - sum(header[148:156]) + 256 != stored:
            raise self._broken("not a tar, or a damaged one (header checksum does not match)")
        field = header[124:136]
        if field[0] & 0x80:  # base-256, for what twelve octal digits cannot hold
            if field[0] != 0x80:
                raise self._broken("a member with a negative size")
            return int.from_bytes(field[1:], "big")
        try:
            return int(field.split(b"\0", 1)[0].strip() or b"0", 8)
        except ValueError:
            raise self._broken("a member whose size is not a number") from None

    def _decimal(self, digits: bytes) -> int:
        if not digits.isdigit() or len(digits) > 20:
            raise self._broken("a damaged pax header")
        return int(digits)

    def _broken(self, what: str) -> CapivaraError:
        return CapivaraError(f"{self._name}: {what}, at byte {max(0, self._offset - BLOCK)}")


_UPSTREAM = "whatever wrote it failed or was killed: look at its messages and run it again"


class TarWriter:
    """Writes members as plain ustar with mtime 0, uid 0 and mode 644: same members, same bytes.

    A name that ustar cannot hold gets a pax ``path`` record. Nothing closes the archive but ``finish``.
    """

    def __init__(self, out: BinaryIO, comment: str) -> None:
        self._write = out.write
        record = _pax_record(b"comment", comment.encode())
        self._write(_header(b"pax_global_header", len(record), b"g") + record + _padding(len(record)))

    def add(self, name: str, data: bytes) -> None:
        raw = name.encode("utf-8", "surrogateescape")
        head = b""
        if len(raw) > 100:
            record = _pax_record(b"path", raw)
            head = _header(b"pax_header", len(record), b"x") + record + _padding(len(record))
        self._write(head + _header(raw[:100], len(data), b"0"))
        self._write(data)
        self._write(_padding(len(data)))

    def finish(self) -> None:
        """Write the end marker: two zero blocks, and nothing after them."""
        self._write(END)


_OWNER = b"0000644\x000000000\x000000000\x00"
_TAIL = b"ustar\x0000".ljust(BLOCK - 257, b"\0")
_FIXED_SUM = sum(_OWNER) + sum(b"00000000000\0") + sum(_TAIL) + 8 * 0x20


def _header(name: bytes, size: int, kind: bytes) -> bytes:
    digits = b"%011o\0" % size
    total = sum(name) + sum(digits) + kind[0] + _FIXED_SUM
    return b"%b%b%b00000000000\0%06o\0 %b%b%b" % (
        name.ljust(100, b"\0"),
        _OWNER,
        digits,
        total,
        kind,
        bytes(100),
        _TAIL,
    )


def _padding(size: int) -> bytes:
    return bytes(-size % BLOCK)


def _pax_record(key: bytes, value: bytes) -> bytes:
    """One pax record; its length counts its own digits."""
    body = b" %b=%b\n" % (key, value)
    length = len(body) + len(str(len(body)))
    if len(str(length)) + len(body) != length:
        length += 1
    return b"%d%b" % (length, body)
