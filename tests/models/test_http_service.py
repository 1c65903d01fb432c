"""A service over HTTP that is slow, silent or broken: a limit on each answer, tried again, then one message."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from threading import Event

import pytest
from support import bad_web
from support.bad_web import BadWeb, Connection, Request

from capivara_cli.errors import CapivaraError
from capivara_cli.models import http_service
from capivara_cli.models.http_service import Endpoint

ANSWER = json.dumps({"answer": 42}).encode()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[BadWeb]:
    with bad_web.serving() as found:
        yield found


class NoPause(Event):
    def wait(self, timeout: float | None = None) -> bool:
        return self.is_set()


def endpoint(address: str) -> Endpoint:
    made = Endpoint(address)
    made._failed = NoPause()
    return made


def refused(server: BadWeb) -> str:
    with pytest.raises(CapivaraError) as caught:
        endpoint(server.address).post("translate", {"q": "a dog"})
    return caught.value.message.removeprefix(f"{server.address}/translate: ")


@pytest.mark.parametrize("reply", [bad_web.slow_body, bad_web.slow_headers, bad_web.silence, bad_web.silent_body])
def test_an_answer_that_is_not_complete_in_time(
    server: BadWeb, reply: bad_web.Reply, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAPIVARA_SERVICE_SECONDS", "0.3")
    server.reply = reply
    assert refused(server) == "gave up after 3 tries: no complete answer in 0.3 s (CAPIVARA_SERVICE_SECONDS)"


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (bad_web.short_body, "peer closed connection without sending complete message body"),
        (bad_web.cut_chunks, "incomplete chunked read"),
        (bad_web.reset, "reset"),
        (bad_web.damaged_gzip, "Error -3 while decompressing"),
        (bad_web.no_http, "Server disconnected without sending a response"),
    ],
    ids=lambda each: getattr(each, "__name__", each),
)
def test_an_answer_that_breaks_off_is_asked_for_again_and_then_given_up(
    server: BadWeb, reply: bad_web.Reply, why: str
) -> None:
    server.reply = reply
    message = refused(server)
    assert message.startswith("gave up after 8 tries: ") and why in message
    assert len(server.asked) == 8


def test_what_breaks_off_twice_is_answered_in_the_end(server: BadWeb) -> None:
    replies: list[bad_web.Reply] = [bad_web.reset, bad_web.damaged_gzip]

    def reply(connection: Connection, request: Request) -> None:
        replies.pop(0)(connection, request) if replies else connection.answer(ANSWER)

    server.reply = reply
    assert endpoint(server.address).post("translate", {}) == {"answer": 42}


def test_a_redirect_is_not_followed(server: BadWeb) -> None:
    server.reply = bad_web.circle
    assert refused(server).startswith("HTTP 302")
    assert len(server.asked) == 1


@pytest.mark.parametrize("page", [b"<html>Sign in to the network</html>", b"[" * 100_000, b"\xff\xfe"])
def test_an_answer_that_is_not_json(server: BadWeb, page: bytes) -> None:
    server.reply = lambda connection, request: connection.answer(page)
    assert refused(server) == "the answer is not JSON"


def test_an_answer_without_end_is_not_kept_in_memory(server: BadWeb, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_service, "MAX_ANSWER", 1 << 20)
    server.reply = lambda connection, request: connection.answer(b" " * (3 << 20))
    assert refused(server) == "an answer of more than 1 MiB"


def test_a_certificate_that_is_not_accepted_is_not_tried_again(server: BadWeb, monkeypatch: pytest.MonkeyPatch) -> None:
    import httpx

    made, tried = endpoint(server.address), []

    def fail(*words: object, **more: object) -> None:
        tried.append(words)
        bad = ssl.SSLCertVerificationError(1, "certificate verify failed")
        bad.verify_message = "certificate has expired"
        raise httpx.ConnectError("[SSL]") from bad

    monkeypatch.setattr(made, "_posted", fail)
    with pytest.raises(CapivaraError, match="the certificate of the server is not accepted") as caught:
        made.post("translate", {})
    assert "SSL_CERT_FILE" in caught.value.hint
    assert len(tried) == 1


@pytest.mark.parametrize("url", ["http://", "http://[::1", "ftp://host", "host:80"])
def test_a_base_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(CapivaraError, match="not a URL"):
        Endpoint(url)
