"""The hub as a server on loopback that drops connections, is out of order, refuses, or says nonsense."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from huggingface_hub.errors import HTTPError, XetDownloadError
from support import bad_web
from support.bad_web import BadWeb, Connection, Request

from capivara_cli.models import hub
from capivara_cli.models.hub import MissingFiles, RepoFiles
from capivara_cli.storage import retry

HTTP = sys.modules[HTTPError.__module__.partition(".")[0]]
"""The HTTP client of huggingface_hub: httpx or httpx2, by its version."""
COMMIT = "c" * 40
JSON = "Content-Type: application/json"
FILES = {"config.json": b'{"a": 1}', "model.safetensors": bytes(range(256)) * 40, "tokenizer.json": b"{}"}
CHOICES = (("config.json",), ("model.safetensors", "model.bin"))
NEED = RepoFiles("org/tiny", CHOICES, ("tokenizer*",), "the weights", "1 GB")


class Hub:
    """A hub with one repository. ``before`` may answer a request otherwise: it returns whether it did."""

    def __init__(self, web: BadWeb) -> None:
        self.web = web
        self.before: Callable[[Connection, Request], bool] = lambda connection, request: False
        web.reply = self.reply

    def reply(self, connection: Connection, request: Request) -> None:
        if self.before(connection, request):
            return
        path, head = request.path, request.head.startswith("HEAD")
        if path == "/":
            connection.answer(b"")
        elif path.startswith("/api/models/org/tiny/tree/"):
            tree = [
                {"type": "file", "path": name, "size": len(data), "oid": _oid(data)} for name, data in FILES.items()
            ]
            connection.answer(json.dumps(tree).encode(), "Content-Type: application/json")
        elif path.startswith("/api/models/org/tiny"):
            siblings = [{"rfilename": name} for name in FILES]
            info = {"id": "org/tiny", "modelId": "org/tiny", "sha": COMMIT, "siblings": siblings, "private": False}
            connection.answer(
                json.dumps({**info, "tags": [], "downloads": 0}).encode(), "Content-Type: application/json"
            )
        elif path.startswith("/org/tiny/resolve/"):
            data = FILES[path.rpartition("/")[2]]
            start = int(request.head.lower().partition("range: bytes=")[2].partition("-")[0] or 0)
            headers = [f"X-Repo-Commit: {COMMIT}", f'ETag: "{_oid(data)}"', "Accept-Ranges: bytes"]
            if start:
                headers.append(f"Content-Range: bytes {start}-{len(data) - 1}/{len(data)}")
            body = data[start:]
            status = "206 Partial Content" if start else "200 OK"
            connection.answer(b"" if head else body, *headers, status=status, length=len(body))
        else:
            connection.answer(b"", status="404 Not Found")


def _oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    from huggingface_hub import close_session, constants, hf_api

    with bad_web.serving() as web:
        monkeypatch.setattr(retry, "FIRST_WAIT", 0.001)
        monkeypatch.setattr("time.sleep", lambda seconds: None)  # huggingface_hub's own pauses
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setattr(constants, "ENDPOINT", web.address)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        template = web.address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(hf_api.api, "endpoint", web.address)
        close_session()
        yield Hub(web)
        close_session()


def complete(folder: Path) -> None:
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES


def refused() -> str:
    with pytest.raises(MissingFiles) as caught:
        hub.folder(NEED)
    assert "HF_HOME" in caught.value.hint
    start = "the weights (1 GB) of org/tiny are needed, but "
    assert caught.value.message.startswith(start)
    return caught.value.message.removeprefix(start)


def files_only(reply: bad_web.Reply) -> Callable[[Connection, Request], bool]:
    """Answer the requests for the weights, but not for their size, with ``reply``."""

    def before(connection: Connection, request: Request) -> bool:
        if request.head.startswith("HEAD") or not request.path.endswith("model.safetensors"):
            return False
        reply(connection, request)
        return True

    return before


def api_only(reply: bad_web.Reply) -> Callable[[Connection, Request], bool]:
    def before(connection: Connection, request: Request) -> bool:
        if not request.path.startswith("/api/"):
            return False
        reply(connection, request)
        return True

    return before


def test_a_repository_is_downloaded_once_and_found_without_the_hub(fake: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    complete(hub.folder(NEED))
    asked = len(fake.web.asked)
    complete(hub.folder(NEED))
    assert len(fake.web.asked) == asked
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    complete(hub.folder(NEED))
    assert hub.is_cached("org/tiny")
    assert not hub.is_cached("org/another")


def test_the_part_of_a_repository_that_is_needed_is_enough_later(fake: Hub) -> None:
    """The repository has more files than were downloaded."""
    need = RepoFiles("org/tiny", (("config.json",),))
    assert [path.name for path in hub.folder(need).iterdir()] == ["config.json"]
    asked = len(fake.web.asked)
    hub.folder(need)
    assert len(fake.web.asked) == asked
    complete(hub.folder(NEED))


def drop_twice(bad: bad_web.Reply) -> Callable[[Connection, Request], bool]:
    left = [bad, bad]

    def before(connection: Connection, request: Request) -> bool:
        if request.path == "/" or request.head.startswith("HEAD") or not left:
            return False
        left.pop()(connection, request)
        return True

    return before


def out_of_order(connection: Connection, request: Request) -> None:
    connection.answer(b"", status="500 Internal Server Error")


def half_json(connection: Connection, request: Request) -> None:
    connection.answer(b'{"id": "org/tiny", "sha"')


def page(connection: Connection, request: Request) -> None:
    connection.answer(b"<html>Sign in to this network</html>", "Content-Type: text/html")


@pytest.mark.parametrize("bad", [bad_web.reset, bad_web.short_body, bad_web.cut_chunks, out_of_order, half_json, page])
def test_a_hub_that_fails_twice_is_asked_again(fake: Hub, bad: bad_web.Reply) -> None:
    fake.before = drop_twice(bad)
    complete(hub.folder(NEED))


@pytest.mark.parametrize("bad", [bad_web.reset, bad_web.short_body, bad_web.no_http, bad_web.silence])
@pytest.mark.parametrize("which", [files_only, api_only])
def test_a_hub_that_drops_every_connection_is_one_message(
    fake: Hub, which: Callable[..., Callable[[Connection, Request], bool]], bad: bad_web.Reply,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    if bad is bad_web.silence:
        monkeypatch.setenv("CAPIVARA_NETWORK_SECONDS", "0.2")
    fake.before = which(bad)
    assert refused().startswith(f"gave up after 4 tries: the download from {fake.web.address} failed: ")


def test_a_download_that_is_dropped_in_the_middle_is_resumed(fake: Hub) -> None:
    def middle(connection: Connection, request: Request) -> None:
        data = FILES["model.safetensors"]
        connection.answer(data[:5000], f"X-Repo-Commit: {COMMIT}", f'ETag: "{_oid(data)}"', length=len(data))
        fake.before = lambda connection, request: False

    fake.before = files_only(middle)
    complete(hub.folder(NEED))


def test_a_slow_hub_is_said(fake: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPIVARA_NETWORK_SECONDS", "0.2")
    fake.before = files_only(bad_web.slow_body)
    assert "too slow (the least is 10,000 in 0.2 s: CAPIVARA_NETWORK_BYTES)" in refused()


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (
            "401 Unauthorized",
            "HTTP 401: there is no such repository, or it is gated or private and HF_TOKEN is not set",
        ),
        ("403 Forbidden", "HTTP 403: the repository is gated or private, and your HF_TOKEN gives no access to it"),
        ("404 Not Found", "HTTP 404: there is no such repository"),
    ],
)
def test_a_refusal_is_said_at_once(fake: Hub, status: str, why: str) -> None:
    fake.before = api_only(lambda connection, request: connection.answer(b"", status=status))
    assert refused() == f"{fake.web.address} answers {why}"
    assert len(fake.web.asked) <= 3


def test_a_gated_repository(fake: Hub) -> None:
    fake.before = files_only(
        lambda connection, request: connection.answer(b"", "X-Error-Code: GatedRepo", status="403 Forbidden")
    )
    assert "HTTP 403: the repository is gated or private" in refused()


def test_a_hub_that_is_out_of_order_is_tried_again(fake: Hub) -> None:
    fake.before = api_only(out_of_order)
    assert refused() == (f"gave up after 4 tries: {fake.web.address} answers HTTP 500")


@pytest.mark.parametrize("bad", [half_json, page])
def test_an_answer_that_is_no_json(fake: Hub, bad: bad_web.Reply) -> None:
    fake.before = api_only(bad)
    assert refused().startswith(
        f"gave up after 4 tries: the answer of {fake.web.address} cannot be used: JSONDecodeError"
    )


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (
            RuntimeError("Data processing error: CAS service error"),
            "cannot be used: RuntimeError: Data processing error",
        ),
        (XetDownloadError("xet is down"), "cannot be used: XetDownloadError: xet is down"),
        (AssertionError("Repo info returned from server must have a revision sha."), "cannot be used: AssertionError"),
        (KeyError("sha"), "cannot be used: KeyError: 'sha'"),
        (HTTP.ReadError("[Errno 104] Connection reset by peer"), "failed: [Errno 104] Connection reset by peer"),
        (HTTP.RemoteProtocolError("peer closed connection"), "failed: peer closed connection"),
        (HTTP.ReadTimeout("timed out"), "failed: no byte in 30 s (CAPIVARA_NETWORK_SECONDS)"),
        (OSError("Consistency check failed: file should be of size 9"), "failed: Consistency check failed"),
    ],
    ids=lambda each: type(each).__name__,
)
def test_every_error_of_the_libraries_is_one_message(
    fake: Hub, error: Exception, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    tried, real = [], huggingface_hub.snapshot_download

    def download(*words: object, **more: object) -> str:
        if more.get("local_files_only"):
            return real(*words, **more)
        tried.append(words)
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    message = refused()
    assert message.startswith("gave up after 4 tries: the ") and why in message
    assert len(tried) == 4


def test_a_full_disk_is_not_tried_again(fake: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    real = huggingface_hub.snapshot_download

    def download(*words: object, **more: object) -> str:
        if more.get("local_files_only"):
            return real(*words, **more)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert refused().endswith("[Errno 28] No space left on device")


@pytest.mark.parametrize("which", [files_only, api_only])
def test_redirects_in_a_circle(fake: Hub, which: Callable[..., Callable[[Connection, Request], bool]]) -> None:
    def circle(connection: Connection, request: Request) -> None:
        connection.redirect(request.path)

    fake.before = which(circle)
    assert "redirects more than" in refused()


def test_a_hub_that_is_no_web_server(fake: Hub) -> None:
    fake.web.reply = bad_web.no_http
    assert "gave up" in refused()


@pytest.mark.parametrize("reply", [out_of_order, bad_web.silence])
def test_the_weights_in_the_cache_are_enough_if_the_hub_is_out_of_order(
    fake: Hub, reply: bad_web.Reply, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.folder(RepoFiles("org/tiny", CHOICES))
    fake.before = api_only(reply)
    if reply is bad_web.silence:
        monkeypatch.setenv("CAPIVARA_NETWORK_SECONDS", "0.2")
    assert not (hub.folder(NEED) / "tokenizer.json").exists()
    assert capsys.readouterr().err.endswith("; those in the cache are used\n")
    fake.before = lambda connection, request: False
    monkeypatch.delenv("CAPIVARA_NETWORK_SECONDS", raising=False)
    complete(hub.folder(NEED))
