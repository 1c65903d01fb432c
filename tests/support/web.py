"""A web server on loopback that fails in the ways web servers do, for tests of remote shards."""

from __future__ import annotations

import contextlib
import hashlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Web:
    """What it serves and how. ``drops``: after how many bytes each of the next answers breaks off; ``refusals``: the
    statuses of the next answers; ``lie``: what is added to Content-Length, and
    if it ``lies_twice`` to Content-Range. Requests for one byte (for the version)
    are answered well."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    tags: bool = True
    drops: list[int] = field(default_factory=list)
    refusals: list[int] = field(default_factory=list)
    lie: int = 0
    lies_twice: bool = False
    asked: list[tuple[str, str]] = field(default_factory=list)
    sent: int = 0
    later: list[bytes] = field(default_factory=list)  # what the file holds after each whole answer has begun


class _Handler(BaseHTTPRequestHandler):
    web: Web

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        web, path = self.web, self.path.partition("?")[0]
        wanted = self.headers.get("Range", "")
        web.asked.append((self.path, wanted))
        probing = wanted == "bytes=0-0"
        if web.refusals and not probing:
            self.send_response(web.refusals.pop(0))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if path not in web.files:
            self.send_error(403 if "secret" in self.path else 404, "no")
            return
        data = web.files[path]
        if not probing and web.later:
            web.files[path] = web.later.pop(0)
        self._answer(data, wanted, probing)

    def _answer(self, data: bytes, wanted: str, probing: bool) -> None:
        web = self.web
        tag = f'"{hashlib.md5(data).hexdigest()}"'
        span = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted)
        begins, ends = 0, len(data)
        if span and web.ranges and self.headers.get("If-Range", tag) == tag:
            begins = int(span[1])
            ends = int(span[2]) + 1 if span[2] else len(data)
            self.send_response(206 if begins < len(data) else 416)
            total = len(data) + (web.lie if web.lies_twice else 0)
            self.send_header("Content-Range", f"bytes {begins}-{ends - 1}/{total}")
        else:
            self.send_response(200)
        body = data[begins:ends]
        drop = web.drops.pop(0) if web.drops and not probing else len(body)
        if web.tags:
            self.send_header("ETag", tag)
        self.send_header("Content-Length", str(len(body) + web.lie))
        self.end_headers()
        with contextlib.suppress(OSError):
            for first in range(0, min(drop, len(body)), 4096):
                piece = body[first : min(first + 4096, drop)]
                self.wfile.write(piece)
                web.sent += len(piece)
        self.close_connection = True


@contextlib.contextmanager
def serving() -> Iterator[Web]:
    web = Web()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"web": web}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    web.address = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
