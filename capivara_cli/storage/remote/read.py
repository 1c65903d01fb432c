"""Remote files as streams: a broken connection is resumed where it broke, and a thread reads ahead."""

from __future__ import annotations

import contextlib
import io
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, cast

from capivara_cli.errors import CapivaraError
from capivara_cli.storage.remote.filesystems import (
    CONNECT_SECONDS,
    SILENCE_SECONDS,
    check_scheme,
    filesystem,
    on_the_web,
    patience,
    trouble,
)
from capivara_cli.storage.retry import HttpStatus, Interrupted
from capivara_cli.urls import public_url

AHEAD = 32 << 20
"""The most bytes of a remote file that are held in memory before they are read."""

_RANGE = 8 << 20  # what one request to an object store asks for
_TAGS = ("ETag", "etag", "md5Hash", "blob_id")
_TIMES = ("LastModified", "last_modified", "updated", "mtime", "created")


@dataclass(frozen=True)
class Version:
    """What tells the contents of a remote file from others: size in bytes, and the tag or time from the server."""

    size: int | None = None
    etag: str = ""
    modified: str = ""

    def differs(self, other: Version) -> bool:
        """Whether the contents must differ; where both have a tag, times are not compared."""
        if self.size is not None and other.size is not None and self.size != other.size:
            return True
        if self.etag and other.etag:
            return self.etag != other.etag
        return bool(self.modified and other.modified) and self.modified != other.modified

    def to_json(self) -> dict[str, Any]:
        known = {"size": self.size, "etag": self.etag, "modified": "" if self.etag else self.modified}
        return {key: value for key, value in known.items() if value not in {None, ""}}


class RemoteFile(Protocol):
    """A file that can be read from any byte on, while it is still the version ``known``."""

    def version(self) -> Version: ...

    def blocks(self, start: int, known: Version) -> Iterator[bytes]: ...


class WebFile:
    """A file of a web server, with or without range requests.

    fsspec's http file system is not used: it asks for the version with HEAD, which signed URLs refuse, sends no
    ``If-Range``, so that a file that changes is glued together from two versions, and cannot resume without ranges.
    """

    def __init__(self, url: str) -> None:
        import logging

        import httpx

        logging.getLogger("httpx").setLevel(logging.WARNING)  # it would log whole URLs, signatures and all
        # No compression on the way: positions in a resumed file are counted in its own bytes.
        headers = {"User-Agent": "capivara", "Accept-Encoding": "identity"}
        timeout = httpx.Timeout(SILENCE_SECONDS, connect=CONNECT_SECONDS)
        try:
            httpx.URL(url)
        except httpx.InvalidURL as error:
            raise CapivaraError(f"{public_url(url)}: not a URL: {type(error).__name__}") from None
        self._client = httpx.Client(headers=headers, timeout=timeout, follow_redirects=True)
        self._url = url

    def version(self) -> Version:
        """The version, from a request for one byte: a signed URL allows GET and refuses HEAD."""
        with self._client.stream("GET", self._url, headers={"Range": "bytes=0-0"}) as answer:
            if answer.status_code != 416:  # an empty file has no byte 0
                _check(answer)
            return _version_of(answer)

    def blocks(self, start: int, known: Version) -> Iterator[bytes]:
        headers = {}
        if start:
            headers["Range"] = f"bytes={start}-"
            if condition := known.modified if known.etag.startswith("W/") else known.etag or known.modified:
                headers["If-Range"] = condition
        with self._client.stream("GET", self._url, headers=headers) as answer:
            if answer.status_code == 416:
                raise Interrupted("the server does not have the rest")
            _check(answer)
            found = _version_of(answer)
            if known.etag and known.etag == found.etag and known.differs(found):
                raise Interrupted(f"the server says it is {known.size:,} bytes long, and then {found.size:,}")
            if known.differs(found):
                raise changed(self._url)
            begins = _content_range(answer)[0] or 0 if answer.status_code == 206 else 0
            if begins > start:
                raise Interrupted(f"the server answers with byte {begins} when asked for byte {start}")
            yield from _after(start - begins, answer.iter_raw())


def _check(answer: Any) -> None:
    if answer.status_code not in {200, 206}:
        raise HttpStatus.of(answer)


def _version_of(answer: Any) -> Version:
    size = _content_range(answer)[1] if answer.status_code in {206, 416} else _number(answer.headers, "Content-Length")
    return Version(size, answer.headers.get("ETag", ""), answer.headers.get("Last-Modified", ""))


def _content_range(answer: Any) -> tuple[int | None, int | None]:
    """``bytes 5-9/10`` -> (5, 10): the first byte of an answer and the size of the file; None for what is not given."""
    span, _, total = answer.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
    first = span.partition("-")[0]
    return int(first) if first.isdigit() else None, int(total) if total.isdigit() else None


def _number(headers: Any, name: str) -> int | None:
    text = headers.get(name, "")
    return int(text) if text.isdigit() else None


def _after(skip: int, blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The blocks without their first ``skip`` bytes, which a server without ranges sends again."""
    for block in blocks:
        if skip < len(block):
            yield block[skip:]
        skip = max(0, skip - len(block))


class StoredFile:
    """A file that fsspec reads: of an object store, the hub or a disk."""

    def __init__(self, url: str) -> None:
        self._files, self._path = filesystem(url)
        self._url = url

    def version(self) -> Version:
        self._files.invalidate_cache()
        info = self._files.info(self._path)
        if info.get("type") == "directory":
            raise IsADirectoryError("a folder, not a file")
        return version_in(info)

    def blocks(self, start: int, known: Version) -> Iterator[bytes]:
        if start and known.differs(self.version()):
            raise changed(self._url)
        size = known.size or 0
        for first in range(start, size, _RANGE):
            behind = min(first + _RANGE, size)
            block = self._files.cat_file(self._path, start=first, end=behind)
            if len(block) != behind - first:
                raise Interrupted(f"{len(block)} bytes came when {behind - first} were asked for")
            yield block


def version_in(info: dict[str, Any]) -> Version:
    """The version of a file in an fsspec listing."""
    tag = next((str(info[key]).strip('"') for key in _TAGS if info.get(key)), "")
    time = next((str(info[key]) for key in _TIMES if info.get(key)), "")
    return Version(info.get("size"), tag, time)


def changed(url: str) -> CapivaraError:
    return CapivaraError(f"{public_url(url)}: has changed while it was read", "run the same command again")


def remote_file(url: str) -> RemoteFile:
    check_scheme(url)
    return WebFile(url) if on_the_web(url) else StoredFile(url)


def version_of(url: str) -> Version:
    """The version of a remote file. Raises ``CapivaraError`` when there is none, or the server cannot be reached."""
    file = remote_file(url)
    return patience(url).over(file.version)


def identity_of(url: str) -> dict[str, Any]:
    """What tells a remote shard from others of the same name: its public URL, size, and tag or time."""
    return {"name": public_url(url), **version_of(url).to_json()}


def contents(url: str, file: RemoteFile, start: int = 0) -> Iterator[bytes]:
    """All bytes of a file from ``start`` on, over as many connections as that takes.

    Raises ``CapivaraError`` when the file changes meanwhile, and when several tries in a row bring no new byte.
    """
    retry = patience(url)
    known = retry.over(file.version)
    at = start
    while True:
        try:
            for block in file.blocks(at, known):
                at += len(block)
                retry.progress()
                yield block
            if known.size is None or at >= known.size:
                break
            raise Interrupted("the connection was closed")
        except trouble() as error:
            of = "" if known.size is None else f" of {known.size:,}"
            retry.wait_or_raise(error, f"{at:,}{of} bytes read")
    if known.differs(retry.over(file.version)):
        raise changed(url)


class Ahead:
    """Takes blocks from their source in a thread before they are needed, and holds at most ``limit`` bytes of them."""

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
        except BaseException as error:  # noqa: BLE001  raised where the blocks are read
            self._error = error
        finally:
            with self._moved:
                self._finished = True
                self._moved.notify_all()

    def take(self, buffer: Any) -> int:
        """Copy from the first block into a buffer; returns how many bytes, 0 at the end. Raises the source's error."""
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
        """Let the thread end after its present block, without waiting for it."""
        with self._moved:
            self._stopped = True
            self._waiting.clear()
            self._moved.notify_all()


class RemoteStream(io.RawIOBase):
    """A remote file that is read ahead from any position; ``blocks_from(position)`` gives its bytes from there on."""

    def __init__(self, blocks_from: Callable[[int], Iterator[bytes]], limit: int) -> None:
        self._blocks_from = blocks_from
        self._limit = limit
        self._position = 0
        self._ahead: Ahead | None = None

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
            self._let_go()
            self._position = target
        return target

    def readinto(self, buffer: Any) -> int:
        if self._ahead is None:
            self._ahead = Ahead(self._blocks_from(self._position), self._limit)
        count = self._ahead.take(buffer)
        self._position += count
        return count

    def _let_go(self) -> None:
        if self._ahead is not None:
            self._ahead.stop()
            self._ahead = None

    def close(self) -> None:
        self._let_go()
        super().close()


@contextlib.contextmanager
def opened(url: str, ahead: int | None = None) -> Iterator[io.BufferedReader]:
    """The bytes of a remote file, read ahead. Raises ``CapivaraError`` when they cannot be had."""
    file = remote_file(url)
    raw = RemoteStream(lambda start: contents(url, file, start), ahead or AHEAD)
    with cast("io.BufferedReader", io.BufferedReader(raw, 1 << 20)) as stream:
        yield stream
