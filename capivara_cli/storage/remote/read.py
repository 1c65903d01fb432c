"""Remote files as streams. A broken connection is resumed, and a thread reads ahead."""

from __future__ import annotations

import contextlib
import io
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, TypedDict, cast

from capivara_cli.errors import CapivaraError
from capivara_cli.storage.network import SECONDS_VARIABLE, NetworkLimits, Pace, TooSlow, answered
from capivara_cli.storage.network_errors import network_errors, retry_for
from capivara_cli.storage.remote.filesystems import check_scheme, filesystem, is_http
from capivara_cli.storage.remote.web import client, opened
from capivara_cli.storage.retry import HttpStatus, Interrupted
from capivara_cli.urls import public_url

if TYPE_CHECKING:
    import httpx

READ_AHEAD = 32 << 20
"""The maximum number of bytes of a remote file in memory that are not read yet."""

_FIRST_RANGE = 1 << 20  # bytes of the first request to an object store, while its speed is not known
_RANGE = 8 << 20  # bytes of the largest one
_TAGS = ("ETag", "etag", "md5Hash", "blob_id")
_TIMES = ("LastModified", "last_modified", "updated", "mtime", "created")


class VersionFields(TypedDict, total=False):
    """A ``Version`` in JSON."""

    size: int
    etag: str
    modified: str


@dataclass(frozen=True)
class Version:
    """The version of a remote file: its size in bytes, and the tag or modification time from the server.

    ``time`` is when it was last written, in seconds of the server's clock; None if a listing does not say.
    """

    size: int | None = None
    etag: str = ""
    modified: str = ""
    time: float | None = field(default=None, compare=False)

    def differs(self, other: Version) -> bool:
        """Whether the contents must differ. If both have a tag, times are not compared."""
        if self.size is not None and other.size is not None and self.size != other.size:
            return True
        if self.etag and other.etag:
            return self.etag != other.etag
        return bool(self.modified and other.modified) and self.modified != other.modified

    def to_json(self) -> VersionFields:
        """The known fields; the modification time only if there is no tag."""
        known = {"size": self.size, "etag": self.etag, "modified": "" if self.etag else self.modified}
        return cast("VersionFields", {key: value for key, value in known.items() if value not in {None, ""}})


class RemoteFile(Protocol):
    """A remote file that can be read from any position."""

    def version(self) -> Version: ...

    def blocks(self, start: int, known: Version, pace: Pace) -> Iterator[bytes]:
        """The bytes from ``start`` to the end.

        Raises ``CapivaraError`` if the file is not the version ``known``, ``TooSlow`` if ``pace`` says so.
        """
        ...


class WebFile:
    """A file on a web server that may or may not support range requests.

    The HTTP file system of fsspec has three faults. It asks for the version with HEAD, which signed URLs refuse. It
    sends no ``If-Range``, so it can join the parts of two versions of a file. It cannot resume without range requests.
    """

    def __init__(self, url: str) -> None:
        self._limits = NetworkLimits.from_environment()
        self._client = client(url, self._limits)
        self._url = url

    def version(self) -> Version:
        """The version, from a request for one byte, because a signed URL allows GET and refuses HEAD."""
        with opened(self._client, self._url, Pace(self._limits), {"Range": "bytes=0-0"}) as answer:
            if answer.status_code != 416:  # an empty file has no byte 0
                _check(answer)
            return _version_of(answer)

    def blocks(self, start: int, known: Version, pace: Pace) -> Iterator[bytes]:
        headers = {}
        if start:
            headers["Range"] = f"bytes={start}-"
            if condition := known.modified if known.etag.startswith("W/") else known.etag or known.modified:
                headers["If-Range"] = condition
        with opened(self._client, self._url, pace, headers) as answer:
            if answer.status_code == 416:
                raise Interrupted("the server does not have the rest")
            _check(answer)
            found = _version_of(answer)
            if known.etag and known.etag == found.etag and known.differs(found):
                raise Interrupted(f"the server reported {known.size:,} bytes first and {found.size:,} later")
            if known.differs(found):
                raise changed_error(self._url)
            first = _content_range(answer)[0] or 0 if answer.status_code == 206 else 0
            if first > start:
                raise Interrupted(f"byte {start} was requested, but the answer starts at byte {first}")
            yield from _without_first(start - first, pace.watched(answer.iter_raw()))


def _check(answer: httpx.Response) -> None:
    if answer.status_code not in {200, 206}:
        raise HttpStatus.of(answer)


def _version_of(answer: httpx.Response) -> Version:
    size = _content_range(answer)[1] if answer.status_code in {206, 416} else _number(answer.headers, "Content-Length")
    return Version(size, answer.headers.get("ETag", ""), answer.headers.get("Last-Modified", ""))


def _content_range(answer: httpx.Response) -> tuple[int | None, int | None]:
    """``bytes 5-9/10`` -> (5, 10): the first byte of a response and the size of the file; None if unknown."""
    span, _, total = answer.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
    first = span.partition("-")[0]
    return int(first) if first.isdigit() else None, int(total) if total.isdigit() else None


def _number(headers: Mapping[str, str], name: str) -> int | None:
    text = headers.get(name, "")
    return int(text) if text.isdigit() else None


def _without_first(skip: int, blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The blocks without the first ``skip`` bytes, which a server without range requests sends again."""
    for block in blocks:
        if skip < len(block):
            yield block[skip:]
        skip = max(0, skip - len(block))


class StoredFile:
    """A file that fsspec reads: in an object store, on the hub or on a disk."""

    def __init__(self, url: str) -> None:
        self._files, self._path = filesystem(url)
        self._url = url
        self._limits = NetworkLimits.from_environment()
        self._request = _FIRST_RANGE

    def version(self) -> Version:
        self._files.invalidate_cache()
        limits = self._limits
        info = answered(lambda: self._files.info(self._path), limits.seconds, limits.no_answer())
        if info.get("type") == "directory":
            raise IsADirectoryError("a folder, not a file")
        return version_in(info)

    def blocks(self, start: int, known: Version, pace: Pace) -> Iterator[bytes]:
        if start and known.differs(self.version()):
            raise changed_error(self._url)
        size = known.size or 0
        while start < size:
            with pace.waiting():
                block = self._range(start, min(start + min(self._request, _RANGE), size))
            yield from pace.watched(iter([block]))
            start += len(block)

    def _range(self, start: int, end: int) -> bytes:
        """The bytes of a range. The next one is as large as can arrive in a third of the longest wait."""
        limits, began = self._limits, time.monotonic()
        late = TooSlow(f"fewer than {end - start:,} bytes in {limits.seconds:g} s: too slow ({SECONDS_VARIABLE})")
        try:
            block = answered(lambda: self._files.cat_file(self._path, start=start, end=end), limits.seconds, late)
        except TooSlow:
            self._request = max(limits.least, self._request // 8)
            raise
        if len(block) != end - start:
            raise Interrupted(f"{len(block)} of {end - start} requested bytes arrived")
        rate = len(block) / max(time.monotonic() - began, 0.001)
        self._request = max(limits.least, int(rate * limits.seconds / 3))
        return bytes(block)


def version_in(info: Mapping[str, object]) -> Version:
    """The version of a file in an fsspec listing."""
    tag = next((str(info[key]).strip('"') for key in _TAGS if info.get(key)), "")
    time = next((str(info[key]) for key in _TIMES if info.get(key)), "")
    times = [seconds for key in _TIMES if (seconds := _seconds(info.get(key))) is not None]
    return Version(cast("int | None", info.get("size")), tag, time, max(times, default=None))


def _seconds(time: object) -> float | None:
    """A time in a listing in seconds; None if it is not known."""
    if isinstance(time, str):
        with contextlib.suppress(ValueError):
            time = datetime.fromisoformat(time.replace("Z", "+00:00"))
    if isinstance(time, datetime):
        return time.timestamp()
    return float(time) if isinstance(time, int | float) else None


def changed_error(url: str) -> CapivaraError:
    """The error for a file that changed during the download."""
    return CapivaraError(f"{public_url(url)}: changed while it was read", "run the same command again")


def remote_file(url: str) -> RemoteFile:
    """The file of a URL, not opened yet. Raises ``CapivaraError`` if this kind of URL cannot be read."""
    check_scheme(url)
    return WebFile(url) if is_http(url) else StoredFile(url)


def version_of(url: str) -> Version:
    """The version of a remote file. Raises ``CapivaraError`` if there is no file or the server cannot be reached."""
    file = remote_file(url)
    return retry_for(url).call(file.version)


def contents(url: str, file: RemoteFile, start: int = 0) -> Iterator[bytes]:
    """All bytes of a file from ``start`` on, over as many connections as necessary.

    Raises ``CapivaraError`` if the file changes meanwhile, or if several tries in a row bring no new byte or too few.
    """
    retry, pace = retry_for(url), Pace(NetworkLimits.from_environment())
    known = retry.call(file.version)
    position = start
    while True:
        try:
            for block in file.blocks(position, known, pace):
                position += len(block)
                if known.size is not None and position > known.size:
                    raise CapivaraError(
                        f"{public_url(url)}: more bytes arrive than the {known.size:,} that were reported"
                    )
                if not pace.too_slow:
                    retry.progress()
                yield block
            if known.size is None or position >= known.size:
                break
            raise Interrupted("the connection was closed")
        except network_errors() as error:
            of = "" if known.size is None else f" of {known.size:,}"
            retry.wait_or_raise(error, f"{position:,}{of} bytes read")
    if known.differs(retry.call(file.version)):
        raise changed_error(url)


class ReadAhead:
    """Fetches blocks in a thread before they are needed. At most ``limit`` bytes wait in memory."""

    def __init__(self, blocks: Iterator[bytes], limit: int) -> None:
        self._blocks = blocks
        self._limit = limit
        self._waiting: deque[memoryview] = deque()
        self._held = 0
        self._finished = False
        self._stopped = False
        self._error: BaseException | None = None
        self._moved = threading.Condition()
        threading.Thread(target=self._fetch, name="capivara-read-ahead", daemon=True).start()

    def _fetch(self) -> None:
        try:
            for block in self._blocks:
                with self._moved:
                    while self._held and self._held + len(block) > self._limit and not self._stopped:
                        self._moved.wait()
                    if self._stopped:
                        return
                    self._waiting.append(memoryview(block))
                    self._held += len(block)
                    self._moved.notify_all()
        except BaseException as error:  # noqa: BLE001  ``take`` raises it
            self._error = error
        finally:
            with self._moved:
                self._finished = True
                self._moved.notify_all()

    def take(self, buffer: Any) -> int:
        """Copy from the first block into a buffer. Returns their number, 0 at the end. Raises download errors."""
        with self._moved:
            while not self._waiting and not self._finished:
                self._moved.wait()
            if not self._waiting:
                if self._error is not None:
                    raise self._error
                return 0
            first = self._waiting[0]
            count = min(len(first), len(buffer))
            buffer[:count] = first[:count]
            if count == len(first):
                self._waiting.popleft()
            else:
                self._waiting[0] = first[count:]
            self._held -= count
            self._moved.notify_all()
            return count

    def stop(self) -> None:
        """Make the thread end after its present block, without waiting for it."""
        with self._moved:
            self._stopped = True
            self._waiting.clear()
            self._moved.notify_all()


class RemoteStream(io.RawIOBase):
    """A seekable stream of a remote file, with read-ahead. ``blocks_from(position)`` yields the bytes from there on."""

    def __init__(self, blocks_from: Callable[[int], Iterator[bytes]], limit: int) -> None:
        self._blocks_from = blocks_from
        self._limit = limit
        self._position = 0
        self._ahead: ReadAhead | None = None

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END:
            raise io.UnsupportedOperation("a remote file cannot be read from its end")
        target = offset + (self._position if whence == io.SEEK_CUR else 0)
        if target != self._position:
            self._stop_reading()
            self._position = target
        return target

    def readinto(self, buffer: Any) -> int:
        if self._ahead is None:
            self._ahead = ReadAhead(self._blocks_from(self._position), self._limit)
        count = self._ahead.take(buffer)
        self._position += count
        return count

    def _stop_reading(self) -> None:
        if self._ahead is not None:
            self._ahead.stop()
            self._ahead = None

    def close(self) -> None:
        self._stop_reading()
        super().close()


@contextlib.contextmanager
def open_remote(url: str, ahead: int | None = None) -> Iterator[io.BufferedReader]:
    """Open a remote file, with a read-ahead of ``ahead`` bytes. Raises ``CapivaraError`` if it cannot be read."""
    file = remote_file(url)
    raw = RemoteStream(lambda start: contents(url, file, start), ahead or READ_AHEAD)
    with cast("io.BufferedReader", io.BufferedReader(raw, 1 << 20)) as stream:
        yield stream
