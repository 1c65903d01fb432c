"""Images that a table names by URL, from servers that are slow, broken or busy: a reason each, and the rest goes on."""

from __future__ import annotations

import gzip
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from support import bad_web
from support.bad_web import BadWeb, Connection, Request
from support.made import jpeg
from support.packed import pack

from capivara_cli.errors import BadSample
from capivara_cli.stages.importers._downloads import Downloads
from capivara_cli.storage import retry
from capivara_cli.storage.remote.web import Pages

IMAGE = jpeg()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.001)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[BadWeb]:
    with bad_web.serving() as found:
        yield found


def reason(server: BadWeb) -> str:
    with pytest.raises(BadSample) as caught:
        Downloads().get(f"{server.address}/a.jpg")
    return caught.value.reason


@pytest.mark.parametrize(
    ("reply", "why", "tries"),
    [
        (bad_web.slow_body, "fewer than 10,000 bytes in 0.5 s (CAPIVARA_NETWORK_SECONDS)", 1),
        (bad_web.silent_body, "fewer than 10,000 bytes in 0.5 s (CAPIVARA_NETWORK_SECONDS)", 1),
        (bad_web.slow_headers, "fewer than 10,000 bytes in 0.5 s (CAPIVARA_NETWORK_SECONDS)", 1),
        (bad_web.silence, "fewer than 10,000 bytes in 0.5 s (CAPIVARA_NETWORK_SECONDS)", 1),
        (bad_web.circle, "too many redirects", 21),
        (bad_web.short_body, "the connection broke off", 3),
        (bad_web.cut_chunks, "the connection broke off", 3),
        (bad_web.reset, "the connection broke off", 3),
        (bad_web.damaged_gzip, "damaged compression", 3),
        (bad_web.no_http, "the connection broke off", 3),
    ],
)
def test_a_bad_server_is_one_reason(
    server: BadWeb, reply: bad_web.Reply, why: str, tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "CAPIVARA_NETWORK_SECONDS" in why:
        monkeypatch.setenv("CAPIVARA_NETWORK_SECONDS", "0.5")
    server.reply = reply
    assert reason(server) == f"download failed: {why}"
    server.wait_until_asked(tries)


@pytest.mark.parametrize("page", [b"<!DOCTYPE html><title>Sorry</title>", b"\n <HTML lang=en><body>404"])
def test_a_web_page_in_place_of_an_image_is_no_image(server: BadWeb, page: bytes) -> None:
    server.reply = lambda connection, request: connection.answer(page)
    assert reason(server) == "download failed: a web page, not an image"


def test_what_breaks_off_once_is_downloaded_again(server: BadWeb) -> None:
    replies: list[bad_web.Reply] = [bad_web.reset, bad_web.short_body]

    def reply(connection: Connection, request: Request) -> None:
        replies.pop(0)(connection, request) if replies else connection.answer(IMAGE)

    server.reply = reply
    assert Downloads().get(f"{server.address}/a.jpg") == IMAGE


@pytest.mark.parametrize(("status", "asked"), [("429 Too Many Requests", 3600), ("503 Service Unavailable", 2)])
def test_a_busy_server_is_waited_for_but_not_for_an_hour(server: BadWeb, status: str, asked: int) -> None:
    paused: list[float] = []

    def reply(connection: Connection, request: Request) -> None:
        if request.number < 2:
            connection.answer(b"", f"Retry-After: {asked}", status=status)
        else:
            connection.answer(IMAGE)

    server.reply = reply
    assert Downloads(pause=paused.append).get(f"{server.address}/a.jpg") == IMAGE
    assert paused == [min(asked, 4.0)] * 2


@pytest.mark.parametrize("status", ["404 Not Found", "403 Forbidden", "410 Gone"])
def test_a_refusal_is_not_tried_again(server: BadWeb, status: str) -> None:
    server.reply = lambda connection, request: connection.answer(b"", status=status)
    assert reason(server) == f"download failed: HTTP {status[:3]}"
    assert len(server.asked) == 1


def test_an_image_that_is_compressed_for_the_transfer_is_decompressed(server: BadWeb) -> None:
    server.reply = lambda connection, request: connection.answer(gzip.compress(IMAGE), "Content-Encoding: gzip")
    assert Downloads().get(f"{server.address}/a.jpg") == IMAGE


def test_a_compressed_bomb_is_too_large(server: BadWeb, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("capivara_cli.stages.importers._downloads.MAX_FILE", 1 << 20)
    bomb = gzip.compress(bytes(8 << 20))
    server.reply = lambda connection, request: connection.answer(bomb, "Content-Encoding: gzip")
    assert reason(server) == "file larger than 1 MiB"


def test_what_follows_the_length_of_a_body_is_not_read(server: BadWeb) -> None:
    server.reply = lambda connection, request: connection.answer(IMAGE + b"more", length=len(IMAGE))
    assert Downloads().get(f"{server.address}/a.jpg") == IMAGE


@pytest.mark.parametrize(
    ("cause", "why"),
    [
        (ssl.SSLCertVerificationError(1, "expired"), "the certificate of the server is not accepted"),
        (ConnectionRefusedError(111, "Connection refused"), "not reachable"),
    ],
)
def test_no_connection_is_one_reason(cause: OSError, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def fail(pages: Pages, url: str) -> bytes:
        tried.append(url)
        raise httpx.ConnectError("no connection") from cause

    monkeypatch.setattr(Pages, "get", fail)
    with pytest.raises(BadSample, match=f"download failed: {why}"):
        Downloads().get("https://host/a.jpg")
    assert len(tried) == 1


def test_a_host_that_does_not_exist_is_not_reachable(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*address: object, **more: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(BadSample, match="download failed: not reachable"):
        Downloads().get("http://no-such-host/a.jpg")


def test_all_others_are_packed_and_nothing_is_lost(
    server: BadWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAPIVARA_NETWORK_SECONDS", "2")
    replies = {"/slow.jpg": bad_web.slow_body, "/cut.jpg": bad_web.short_body, "/round.jpg": bad_web.circle}

    def reply(connection: Connection, request: Request) -> None:
        special = replies.get(request.path)
        special(connection, request) if special else connection.answer(IMAGE)

    server.reply = reply
    names = ["a", "slow", "cut", "b", "c"]
    table = tmp_path / "list.csv"
    table.write_text("url,caption\n" + "".join(f"{server.address}/{name}.jpg,x\n" for name in names))
    found, tally = pack(table)
    assert [sample.key for sample in found] == ["a", "b", "c"]
    assert (tally.read, tally.dropped) == (
        5,
        {
            "download failed: fewer than 10,000 bytes in 2 s (CAPIVARA_NETWORK_SECONDS)": 1,
            "download failed: the connection broke off": 1,
        },
    )
