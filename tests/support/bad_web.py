"""A server on loopback that answers with raw bytes: slowly, in part, in circles, or not at all."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

OK = b"HTTP/1.1 200 OK\r\n"


@dataclass
class Request:
    """A request: its first line and headers, its path without the query, and its number, counted from 0."""

    head: str
    path: str
    number: int


@dataclass
class Connection:
    """The connection of one request, which is closed after the reply."""

    socket: socket.socket
    closing: threading.Event

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self, body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> None:
        """Send a whole answer; ``length`` is what Content-Length says if that is not true."""
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers]
        self.send("\r\n".join([*lines, "Connection: close", "", ""]).encode() + body)

    def redirect(self, to: str) -> None:
        self.answer(b"", f"Location: {to}", status="302 Found")

    def drip(self, data: bytes, pause: float = 0.01) -> None:
        """Send a byte at a time."""
        for number in range(len(data)):
            if self.closing.wait(pause):
                return
            self.send(data[number : number + 1])

    def be_silent(self) -> None:
        """Send nothing until the test ends, or the client goes."""
        self.socket.settimeout(0.05)
        while not self.closing.is_set():
            with contextlib.suppress(TimeoutError):
                if not self.socket.recv(1):
                    return

    def reset(self) -> None:
        """End the connection with a reset instead of a close."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


Reply = Callable[[Connection, Request], None]


@dataclass
class BadWeb:
    """``reply`` answers all requests; ``asked`` are those so far."""

    address: str
    reply: Reply = lambda connection, request: connection.answer(b"")
    asked: list[Request] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def wait_until_asked(self, count: int) -> None:
        """Wait until ``count`` requests have arrived: the thread that counts them may be late. No more may come."""
        deadline = time.monotonic() + 60
        while len(self.asked) < count and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(self.asked) == count

    def serve(self, taken: socket.socket) -> None:
        with taken, contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                data = taken.recv(65536)
                if not data:
                    return
                head += data
            head, _, body = head.partition(b"\r\n\r\n")
            text = head.decode("latin-1") + "\r\n"
            length = int(text.lower().partition("content-length: ")[2].partition("\r")[0] or 0)
            while len(body) < length:
                body += taken.recv(65536)
            with self._lock:
                request = Request(text, text.split(" ")[1].partition("?")[0], len(self.asked))
                self.asked.append(request)
            self.reply(Connection(taken, self.closing), request)


@contextlib.contextmanager
def serving(reply: Reply | None = None) -> Iterator[BadWeb]:
    """The server, while it runs."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        web = BadWeb(f"http://127.0.0.1:{listening.getsockname()[1]}")
        if reply is not None:
            web.reply = reply

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    taken, _ = listening.accept()
                    threading.Thread(target=web.serve, args=[taken], daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield web
        finally:
            web.closing.set()
            with contextlib.suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)


def slow_body(connection: Connection, request: Request) -> None:
    connection.send(OK + b"Content-Length: 5000\r\n\r\n")
    connection.drip(b"x" * 5000)


def slow_headers(connection: Connection, request: Request) -> None:
    connection.send(OK + b"X-Slow: ")
    connection.drip(b"x" * 5000)


def silence(connection: Connection, request: Request) -> None:
    connection.be_silent()


def silent_body(connection: Connection, request: Request) -> None:
    connection.send(OK + b"Content-Length: 5000\r\n\r\nabc")
    connection.be_silent()


def circle(connection: Connection, request: Request) -> None:
    connection.redirect(request.path)


def short_body(connection: Connection, request: Request) -> None:
    connection.answer(b"x" * 50, length=100)


def cut_chunks(connection: Connection, request: Request) -> None:
    connection.send(OK + b"Transfer-Encoding: chunked\r\n\r\n40\r\n" + b"x" * 20)


def reset(connection: Connection, request: Request) -> None:
    connection.send(OK + b"Content-Length: 100\r\n\r\n" + b"x" * 20)
    connection.reset()


def damaged_gzip(connection: Connection, request: Request) -> None:
    connection.answer(b"\x1f\x8b\x08\x00 no gzip at all", "Content-Encoding: gzip")


def no_http(connection: Connection, request: Request) -> None:
    connection.send(b"SSH-2.0-OpenSSH_9.6\r\n")
