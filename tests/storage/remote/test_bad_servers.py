"""Shards from servers that are slow, silent, redirect in circles or break off: a limit, then one message."""

from __future__ import annotations

import random
import re
import socket
import ssl
import threading
from collections.abc import Iterator

import pytest
from support import bad_web
from support.bad_web import BadWeb, Connection, Request

from capivara_cli.errors import CapivaraError
from capivara_cli.shards.archive import open_source
from capivara_cli.storage import retry
from capivara_cli.storage.network_errors import error_line, is_final
from capivara_cli.storage.remote import read as remote_reading
from capivara_cli.storage.remote.read import StoredFile, contents

DATA = random.Random(0).randbytes(100_000)


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(retry, "LONGEST_WAIT", 0.002)
    monkeypatch.setenv("CAPIVARA_NETWORK_BYTES", "1000")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def short_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """For servers that are slow: others may take long on a busy machine."""
    monkeypatch.setenv("CAPIVARA_NETWORK_SECONDS", "0.3")


@pytest.fixture
def server() -> Iterator[BadWeb]:
    with bad_web.serving() as found:
        yield found


def refused(server: BadWeb) -> str:
    with pytest.raises(CapivaraError) as caught, open_source(f"{server.address}/a.tar?token=secret") as stream:
        stream.read()
    assert "secret" not in caught.value.message + caught.value.hint
    return caught.value.message.removeprefix(f"{server.address}/a.tar: ")


def after_version(reply: bad_web.Reply) -> bad_web.Reply:
    """Answer requests for the version, which ask for one byte, as is right; all others with ``reply``."""

    def replies(connection: Connection, request: Request) -> None:
        if "bytes=0-0\r\n" in request.head:
            connection.answer(b"x", "Content-Range: bytes 0-0/5000", status="206 Partial Content")
        else:
            reply(connection, request)

    return replies


@pytest.mark.usefixtures("short_limit")
@pytest.mark.parametrize("reply", [bad_web.slow_headers, bad_web.silence])
def test_a_server_that_does_not_answer_in_time(server: BadWeb, reply: bad_web.Reply) -> None:
    server.reply = reply
    assert refused(server) == "gave up after 3 tries: no answer in 0.3 s (CAPIVARA_NETWORK_SECONDS)"
    server.wait_until_asked(3)


@pytest.mark.usefixtures("short_limit")
@pytest.mark.parametrize("reply", [bad_web.slow_body, bad_web.silent_body])
def test_a_server_that_sends_too_little_in_time(server: BadWeb, reply: bad_web.Reply) -> None:
    server.reply = after_version(reply)
    message = refused(server)
    assert " of 5,000 bytes read, gave up after 3 tries: " in message
    assert message.endswith(" s: too slow (the least is 1,000 in 0.3 s: CAPIVARA_NETWORK_BYTES)")


def test_a_slow_server_that_becomes_fast_is_read(server: BadWeb, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPIVARA_NETWORK_SECONDS", "1")

    def reply(connection: Connection, request: Request) -> None:
        start = int(request.head.lower().partition("range: bytes=")[2].partition("-")[0] or 0)
        if request.number == 1:
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            connection.drip(DATA[:5000])
        elif "bytes=0-0" in request.head:
            connection.answer(DATA[:1], "Content-Range: bytes 0-0/100000", status="206 Partial Content")
        else:
            connection.answer(DATA[start:], f"Content-Range: bytes {start}-99999/100000", status="206 Partial Content")

    server.reply = reply
    with open_source(f"{server.address}/a.tar") as stream:
        assert stream.read() == DATA


def test_redirects_in_a_circle_are_followed_twenty_times_and_not_tried_again(server: BadWeb) -> None:
    server.reply = bad_web.circle
    assert refused(server) == "the server redirects more than 20 times"
    assert len(server.asked) == 21


def half(connection: Connection, request: Request) -> None:
    connection.answer(b"x" * 50, length=5000)


def half_and_a_reset(connection: Connection, request: Request) -> None:
    connection.send(bad_web.OK + b"Content-Length: 5000\r\n\r\n" + b"x" * 50)
    connection.reset()


@pytest.mark.parametrize(
    ("reply", "read", "why"),
    [
        (half, r"50 of 5,000", r"peer closed connection without sending complete message body"),
        (half_and_a_reset, r"\d+ of 5,000", r"reset by peer"),
        (bad_web.cut_chunks, r"20 of 5,000", r"incomplete chunked read"),
    ],
)
def test_a_body_that_breaks_off_again_and_again(server: BadWeb, reply: bad_web.Reply, read: str, why: str) -> None:
    server.reply = after_version(reply)
    assert re.match(rf"{read} bytes read, gave up after 8 tries: .*{why}", refused(server))


def test_a_body_longer_than_the_size_that_was_reported(server: BadWeb) -> None:
    def reply(connection: Connection, request: Request) -> None:
        connection.send(bad_web.OK + b"Transfer-Encoding: chunked\r\n\r\n2000\r\n" + b"x" * 0x2000 + b"\r\n0\r\n\r\n")

    server.reply = after_version(reply)
    assert refused(server) == "more bytes arrive than the 5,000 that were reported"


def test_what_is_no_web_server(server: BadWeb) -> None:
    server.reply = bad_web.no_http
    assert refused(server).startswith("gave up after 8 tries: ")


def test_a_host_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*address: object, **more: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(CapivaraError) as caught, open_source("http://no-such-host/a.tar"):
        pass
    assert caught.value.message == (
        "http://no-such-host/a.tar: gave up after 8 tries: the host cannot be found: Name or service not known"
    )


def test_a_certificate_that_is_not_accepted_is_an_error_at_once() -> None:
    bad = ssl.SSLCertVerificationError(1, "certificate verify failed")
    bad.verify_message = "self-signed certificate"
    try:
        raise ConnectionError("connect") from bad
    except ConnectionError as error:
        assert is_final(error)
        assert error_line(error) == "the certificate of the server is not accepted: self-signed certificate"


def test_a_wait_of_more_than_ten_seconds_is_said_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT", 6.0)
    monkeypatch.setattr(retry, "LONGEST_WAIT", 30.0)
    paused: list[float] = []

    def fail() -> None:
        raise ConnectionError("the cable is loose")

    with pytest.raises(retry.GivenUp):
        retry.Retry("http://host/a.tar", lambda: (OSError,), pause=paused.append).call(fail)
    assert len(paused) == 7
    assert capsys.readouterr().err == "warning: http://host/a.tar: the cable is loose; trying again (3 of 8)\n"


class _SlowStore:
    """A file system whose requests for more than ``most`` bytes are not answered in time."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.asked: list[int] = []
        self.waiting = threading.Event()

    def invalidate_cache(self) -> None:
        pass

    def info(self, path: str) -> dict[str, object]:
        return {"size": len(DATA), "type": "file"}

    def cat_file(self, path: str, start: int, end: int) -> bytes:
        self.asked.append(end - start)
        if end - start > self.most:
            self.waiting.wait(30)
        return DATA[start:end]


def slow_store(most: int, monkeypatch: pytest.MonkeyPatch) -> tuple[_SlowStore, StoredFile]:
    store = _SlowStore(most)
    monkeypatch.setattr(remote_reading, "filesystem", lambda url: (store, url))
    monkeypatch.setattr(remote_reading, "_FIRST_RANGE", 64_000)
    return store, StoredFile("s3://bucket/a.tar")


@pytest.mark.usefixtures("short_limit")
def test_an_object_store_that_is_slow_is_asked_for_less(monkeypatch: pytest.MonkeyPatch) -> None:
    store, file = slow_store(8000, monkeypatch)
    monkeypatch.setattr(remote_reading, "_RANGE", 64_000)
    monkeypatch.setattr(store, "most", 8000)
    first = next(contents("s3://bucket/a.tar", file))
    assert (store.asked, first) == ([64_000, 8000], DATA[:8000])
    store.waiting.set()


@pytest.mark.usefixtures("short_limit")
def test_an_object_store_that_sends_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    store, file = slow_store(0, monkeypatch)
    with pytest.raises(CapivaraError, match="0 of 100,000 bytes read, gave up after 3 tries: fewer than 1,000 byte"):
        b"".join(contents("s3://bucket/a.tar", file))
    store.waiting.set()
