"""A strict reader and writer of tar streams: every header is verified, and a tar is complete only with its end marker.

``tarfile`` and ``webdataset`` accept a truncated archive as complete, write the current time into headers, and take
nine times as long. Format: POSIX.1-2001 (pax).
"""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from typing import BinaryIO
from zlib import adler32

from capivara_cli.errors import CapivaraError, TruncatedInput
from capivara_cli.storage.digests import Hash

BLOCK = 512
END = bytes(2 * BLOCK)
MAX_MEMBER = 1 << 30
"""Largest member accepted, in bytes: a member is read into memory, and its header may be wrong."""

_MAX_EXTENDED = 1 << 20  # bytes of pax records or of a GNU long name: enough for a path or a comment
_REGULAR = frozenset(b"0\x007")
_WITHOUT_BODY = frozenset(b"123456")
_EXTENDING = frozenset(b"xXgLK")
_KINDS = {"1": "hard link", "2": "symbolic link", "3": "device", "4": "device", "5": "directory", "6": "fifo"}


class TarReader:
    """Iterates over the regular members of one stream, as (name, bytes). The stream may have several tars in a row.

    ``comment`` is the comment in the leading pax global header. It is read when the object is created, so that a writer
    has it before the first member. ``ignored`` counts the members that are not regular files, by kind. ``offset`` is
    the number of bytes read. When a member is yielded, the stream is at the end of its padding.

    Raises ``TruncatedInput`` if the stream ends before an end marker, and ``CapivaraError`` if it is not a tar, has a
    path outside the archive, or could be read in two ways.
    """

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._read = stream.read
        self._name = name
        self.offset = BLOCK
        self._global: dict[bytes, bytes] = {}
        self.ignored: Counter[str] = Counter()
        first = self._rest(b"", BLOCK)
        if not first:
            raise TruncatedInput(f"{name}: empty, not even an end marker", _UPSTREAM)
        if len(first) < BLOCK:
            raise self._cut("before the end marker")
        self._pending: bytes | None = first
        if first[156] == 0x67:
            self._global = self._records_for_all(self._checked_size(first, first.count(0)))
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
            zeros = header.count(0)
            if zeros == BLOCK:
                self._end(extended)
                return
            size = self._checked_size(header, zeros)
            kind = header[156]
            if kind in _EXTENDING:
                extended |= self._extension(kind, size)
                continue
            name = self._name_of(header, extended)
            if extended:
                self._check_size(extended, size, name)
                extended = {}
            if kind not in _REGULAR or name.endswith("/"):
                self._skip(kind, size, name)
                continue
            if not name or name[0] == "/" or ".." in name or "\0" in name:
                self._check_name(name)
            yield name, self._body(size, MAX_MEMBER, name)

    def _skip(self, kind: int, size: int, name: str) -> None:
        """Skip and count a member that is not a regular file."""
        if kind in _WITHOUT_BODY:
            self.ignored[_KINDS[chr(kind)]] += 1
            return
        if kind == 0x53:
            raise self._sparse(name)
        self._body(size, MAX_MEMBER, name)
        # tars before POSIX store a directory as a regular file whose name ends with "/"
        self.ignored["directory" if kind in _REGULAR else f"member of type {chr(kind)!r}"] += 1

    def _end(self, extended: dict[bytes, bytes]) -> None:
        """Check the second block of an end marker, and that no header waits for its member."""
        if self._block().count(0) != BLOCK:
            raise self._broken("a lone zero block where the end marker should be")
        if extended:
            raise self._broken("a pax header or long name without the member it is for")

    def _name_of(self, header: bytes, extended: dict[bytes, bytes]) -> str:
        raw = extended.get(b"path")
        if raw is None:
            end = header.find(0, 0, 100)
            raw = header[:end] if end >= 0 else header[:100]
            if header[345] and header[257:263] == b"ustar\0":
                raw = header[345:500].split(b"\0", 1)[0] + b"/" + raw
        return raw.decode("utf-8", "surrogateescape")

    def _check_name(self, name: str) -> None:
        if not name or "\0" in name:
            what = "it has no name" if not name else "there is a zero byte in its name"
        elif name[0] == "/" or ".." in name.replace("\\", "/").split("/"):
            what = "it points outside the archive"
        else:
            return
        raise CapivaraError(
            f"{self._name}: refused member {shown(name)}: {what}", "make the tar again with plain relative names"
        )

    def _check_size(self, extended: dict[bytes, bytes], size: int, name: str) -> None:
        """Refuse two different sizes: readers would disagree, which can hide members from one of them."""
        if b"sparse" in extended:
            raise self._sparse(name)
        if b"size" in extended and self._decimal(extended[b"size"]) != size:
            raise self._broken(f"member {shown(name)} has different sizes in its pax header and its tar header")

    def _next_archive(self) -> bool:
        """Skip the padding after an end marker. True if another tar follows."""
        while block := self._read(BLOCK):
            self.offset += BLOCK
            if len(block) < BLOCK:
                block = self._rest(block, BLOCK)
            if block.count(0) != len(block):
                if len(block) < BLOCK:
                    raise self._broken("bytes after the end marker that are not a tar")
                self._pending = block
                return True
        return False

    def _block(self) -> bytes:
        block = self._read(BLOCK)
        self.offset += BLOCK
        if len(block) < BLOCK and len(block := self._rest(block, BLOCK)) < BLOCK:
            raise self._cut("before the end marker")
        return block

    def _body(self, size: int, limit: int, member: str) -> bytes:
        """The contents of a member. Its padding is read too and may have any bytes."""
        if size > limit:
            raise CapivaraError(
                f"{self._name}: member {shown(member)} claims {size:,} bytes, more than the limit of {limit:,}"
            )
        data = self._read(size)
        self.offset += size
        if len(data) < size and len(data := self._rest(data, size)) < size:
            raise self._cut(f"inside {shown(member)}")
        if padding := -size % BLOCK:
            skipped = self._read(padding)
            self.offset += padding
            if len(skipped) < padding and len(self._rest(skipped, padding)) < padding:
                raise self._cut(f"inside {shown(member)}")
        return data

    def _rest(self, data: bytes, size: int) -> bytes:
        """Read on until there are ``size`` bytes or the stream ends: a pipe may return fewer bytes than requested."""
        parts = [data]
        have = len(data)
        while have < size and (more := self._read(size - have)):
            parts.append(more)
            have += len(more)
        self.offset -= size - have
        return b"".join(parts)

    def _cut(self, where: str) -> TruncatedInput:
        return TruncatedInput(f"{self._name}: cut off at byte {self.offset}, {where}", _UPSTREAM)

    def _extension(self, kind: int, size: int) -> dict[bytes, bytes]:
        """What a pax or GNU header says about the next member: ``path``, ``size`` and ``sparse``."""
        if kind == 0x67:  # g: only the one at the start of the stream is used
            self._records_for_all(size)
            return {}
        data = self._body(size, _MAX_EXTENDED, "header")
        if kind == 0x4B:  # K: the target of a link
            return {}
        if kind == 0x4C:  # L: a long name
            return {b"path": data.rstrip(b"\0")}
        records = self._records(data)
        return {key: records[key] for key in _OF_MEMBERS & records.keys()}

    def _records_for_all(self, size: int) -> dict[bytes, bytes]:
        records = self._records(self._body(size, _MAX_EXTENDED, "header"))
        if _OF_MEMBERS & records.keys():
            raise self._broken("a global pax header that sets the name, size or holes of every member")
        return records

    def _records(self, data: bytes) -> dict[bytes, bytes]:
        """Parse pax records: ``b"%d %s=%s\\n" % (length of the whole record, key, value)``.

        All records about holes in a member (GNU.sparse.…) become one record, ``sparse``.
        """
        records: dict[bytes, bytes] = {}
        start, end = 0, len(data.rstrip(b"\0"))
        while start < end:
            digits, space, _ = data[start : start + 24].partition(b" ")
            stop = start + (self._decimal(digits) if space else 0)
            key, equals, value = data[start + len(digits) + 1 : stop].partition(b"=")
            if stop > len(data) or not key or not equals or not value.endswith(b"\n"):
                raise self._broken("a damaged pax header")
            records[b"sparse" if key.startswith(b"GNU.sparse.") else key] = value[:-1]
            start = stop
        return records

    def _checked_size(self, header: bytes, zeros: int) -> int:
        """Verify the checksum of a header that has this many zero bytes, and return the size in it."""
        # The low half of Adler-32 is 1 + the sum of all bytes mod 65521: with half of them zero, 1 + the sum itself.
        total = (adler32(header) & 0xFFFF) - 1 if zeros >= BLOCK // 2 else sum(header)
        if total != _announced_sum(header[148:156]):
            raise self._broken("not a tar, or a damaged one (header checksum does not match)")
        digits = header[124:135]
        try:
            return int(digits, 8) if digits.isdigit() and not header[135] else self._odd_size(header[124:136])
        except ValueError:
            raise self._broken("a member whose size is not a number") from None

    def _odd_size(self, field: bytes) -> int:
        """A size that is not eleven octal digits and a zero byte. Raises ``ValueError`` if it is not a number."""
        if field[0] & 0x80:  # base 256, for sizes that octal digits cannot express
            if field[0] != 0x80:
                raise self._broken("a member with a negative size")
            return int.from_bytes(field[1:], "big")
        return _octal(field.split(b"\0", 1)[0].strip(b" ") or b"0")

    def _decimal(self, digits: bytes) -> int:
        if not digits.isdigit() or len(digits) > 20:
            raise self._broken("a damaged pax header")
        return int(digits)

    def _broken(self, what: str) -> CapivaraError:
        return CapivaraError(f"{self._name}: {what}, at byte {max(0, self.offset - BLOCK)}")

    def _sparse(self, name: str) -> CapivaraError:
        return CapivaraError(
            f"{self._name}: refused member {shown(name)}: it is stored with holes (GNU sparse)",
            "make the tar again without --sparse",
        )


_UPSTREAM = "the command that wrote it failed or was killed: read its messages and run it again"
_OF_MEMBERS = frozenset({b"path", b"size", b"sparse"})


def shown(name: str) -> str:
    """An untrusted name for a message: quoted, control characters escaped, at most 120 characters."""
    quoted = repr(name if len(name) <= 240 else name[:120] + name[-120:])
    return quoted if len(quoted) <= 120 else f"{quoted[:80]}…{quoted[-39:]}"


@lru_cache(1 << 12)
def _announced_sum(field: bytes) -> int:
    """The sum of all bytes of a header according to its checksum field; -1 if the field is not a number."""
    try:
        return _octal(field.split(b"\0", 1)[0].strip(b" ")) + sum(field) - 8 * 0x20
    except ValueError:
        return -1


def _octal(digits: bytes) -> int:
    if not digits.isdigit():  # int() would accept signs, underscores and 0o
        raise ValueError
    return int(digits, 8)


class TarWriter:
    """Writes members as plain ustar with mtime 0, uid 0 and mode 644: equal members give equal bytes.

    A name that is too long for ustar gets a pax ``path`` record. Members are written in groups. ``finish`` writes the
    last group and the end marker; without it the archive is incomplete. All bytes are added to ``digest``.
    """

    def __init__(self, out: BinaryIO, comment: str, digest: Hash | None = None) -> None:
        self._out = out
        self._digest = digest
        self._waiting: list[bytes] = []
        self._size = 0
        self._padding = b""
        record = _pax_record(b"comment", comment.encode())
        head = _header(b"pax_global_header", len(record), b"g") + record + bytes(-len(record) % BLOCK)
        if digest is not None:
            digest.update(head)
        out.write(head)

    def add(self, name: str, data: bytes) -> None:
        raw = name.encode("utf-8", "surrogateescape")
        size = len(data)
        head = _header(raw[:100], size, b"0")
        if len(raw) > 100:
            record = _pax_record(b"path", raw)
            head = _header(b"pax_header", len(record), b"x") + record + bytes(-len(record) % BLOCK) + head
        head = self._padding + head
        self._waiting += (head, data)
        if self._digest is not None:  # now, and not with the group: a copied member is still in the processor's cache
            self._digest.update(head)
            self._digest.update(data)
        self._padding = _ZEROS[-size % BLOCK]
        self._size += size + 2 * BLOCK
        if self._size >= _TOGETHER:
            self._write()

    def finish(self) -> None:
        """Write the remaining members and the end marker: two zero blocks."""
        self._waiting.append(self._padding + END)
        if self._digest is not None:
            self._digest.update(self._waiting[-1])
        self._write()

    def _write(self) -> None:
        """Write the waiting members. For a file or pipe ``writev`` avoids a copy, which saves a tenth of the time."""
        out, parts = self._out, self._waiting
        self._waiting, self._size = [], 0
        if isinstance(out, io.BufferedWriter) and isinstance(out.raw, io.FileIO):
            out.flush()
            written = os.writev(out.fileno(), parts)
            if written == sum(map(len, parts)):
                return
            out.write(b"".join(parts)[written:])
        else:
            out.write(b"".join(parts))


_TOGETHER = 1 << 19  # bytes, with two blocks per member: at most the 1,024 parts that one ``writev`` accepts
_ZEROS = [bytes(count) for count in range(BLOCK)]
_OWNER = b"0000644\x000000000\x000000000\x00"
_MTIME = b"00000000000\0"
_TAIL = bytes(100) + b"ustar\x0000".ljust(BLOCK - 257, b"\0")
_FIXED_SUM = sum(_MTIME) + sum(_TAIL) + 8 * 0x20


def _header(name: bytes, size: int, kind: bytes) -> bytes:
    """A ustar header; ``name`` is at most 100 bytes."""
    varies = b"%b%b%b%011o\0" % (name, _ZEROS[100 - len(name)], _OWNER, size)
    total = (adler32(varies) & 0xFFFF) - 1 + kind[0] + _FIXED_SUM  # see TarReader._checked_size
    return b"%b%b%06o\0 %b%b" % (varies, _MTIME, total, kind, _TAIL)


def _pax_record(key: bytes, value: bytes) -> bytes:
    """One pax record. Its length includes the digits of the length."""
    body = b" %b=%b\n" % (key, value)
    length = len(body) + len(str(len(body)))
    if len(str(length)) + len(body) != length:
        length += 1
    return b"%d%b" % (length, body)
