"""The index of Argos packages from a server on loopback that is slow, breaks off or says nonsense."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import bad_web
from support.bad_web import BadWeb, Connection, Request

from capivara_cli.errors import CapivaraError
from capivara_cli.languages import get
from capivara_cli.stages.translators import argos
from capivara_cli.storage import retry

settings = pytest.importorskip("argostranslate.settings")


def package() -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("en_pt-1_9/metadata.json", json.dumps({"from_code": "en", "to_code": "pt"}))
        archive.writestr("en_pt-1_9/model/model.bin", bytes(20_000))
    return data.getvalue()


PACKAGE = package()


class Index:
    """A server of an index with one package. ``index`` and ``package`` may answer otherwise."""

    def __init__(self, web: BadWeb) -> None:
        self.web = web
        entry = {"from_code": "en", "to_code": "pt", "links": [f"{web.address}/en_pt.argosmodel"], "type": "translate"}
        self.entries: object = [entry]
        self.index: bad_web.Reply | None = None
        self.package: bad_web.Reply | None = None
        web.reply = self.reply

    def reply(self, connection: Connection, request: Request) -> None:
        bad, data = self.package, PACKAGE
        if request.path == "/index.json":
            bad, data = self.index, json.dumps(self.entries).encode()
        if bad is not None:
            bad(connection, request)
        else:
            connection.answer(data, f'ETag: "{len(data)}"')


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(retry, "LONGEST_WAIT", 0.002)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("ARGOS_PACKAGES_DIR", str(tmp_path / "packages"))
    with bad_web.serving() as web:
        monkeypatch.setattr(settings, "remote_package_index", f"{web.address}/index.json")
        monkeypatch.setattr(settings, "local_package_index", tmp_path / "index.json")
        yield Index(web)


def install() -> None:
    argos._install(get("en"), get("pt"))


def refused(start: str) -> str:
    with pytest.raises(CapivaraError) as caught:
        install()
    assert "translate-en_pt.argosmodel" in caught.value.hint
    start = f"argos: English to Portuguese is not installed and {start}: "
    assert caught.value.message.startswith(start)
    return caught.value.message.removeprefix(start)


def whole(data: bytes) -> bad_web.Reply:
    return lambda connection, request: connection.answer(data, f'ETag: "{len(data)}"')


def test_a_package_is_installed(server: Index, tmp_path: Path) -> None:
    install()
    assert argos.installed() == [("en", "pt")]
    assert [path.name for path in (tmp_path / "packages").iterdir()] == ["en_pt-1_9"]


def test_a_package_that_breaks_off_is_resumed(server: Index) -> None:
    left = [100, 3000]

    def reply(connection: Connection, request: Request) -> None:
        is_probe = "bytes=0-0\r\n" in request.head
        sent = PACKAGE if is_probe or not left else PACKAGE[: left.pop(0)]
        connection.answer(sent, f'ETag: "{len(PACKAGE)}"', length=len(PACKAGE))

    server.package = reply
    install()
    assert argos.installed() == [("en", "pt")]


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (bad_web.slow_body, "too slow"),
        (bad_web.silence, "no answer in 1 s (CAPIVARA_NETWORK_SECONDS)"),
        (bad_web.circle, "the server redirects more than 20 times"),
    ],
)
@pytest.mark.parametrize("which", ["index", "package"])
def test_a_bad_server_is_one_message(
    server: Index, which: str, reply: bad_web.Reply, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reply is not bad_web.circle:
        monkeypatch.setenv("CAPIVARA_NETWORK_SECONDS", "1")
    setattr(server, which, reply)
    start = "the Argos package index cannot be reached"
    assert why in refused(start if which == "index" else "the package en-pt cannot be downloaded")
    assert argos.installed() == []
    assert not list(tmp_path.glob("packages/*"))


@pytest.mark.parametrize("entries", [{}, {"a": 1}, "no list", [1], [{"from_code": "en"}], [{"links": None}], None])
def test_what_is_no_index(server: Index, entries: object) -> None:
    if entries == {}:
        server.index = whole(b'[{"from_code": "en", "to_')
    server.entries = entries
    assert refused("the Argos package index cannot be reached").endswith("/index.json: not an index of packages")


@pytest.mark.parametrize("data", [b"<html>Sign in</html>", PACKAGE[:5000], PACKAGE[:-100]])
def test_what_is_no_package(server: Index, data: bytes) -> None:
    server.package = whole(data)
    why = refused("the package en-pt cannot be downloaded")
    assert "not a zip archive, or a damaged one" in why
    assert argos.installed() == []


def test_the_index_of_the_last_time_is_enough(server: Index, tmp_path: Path) -> None:
    (tmp_path / "index.json").write_text(json.dumps(server.entries))
    server.index = bad_web.short_body
    install()
    assert argos.installed() == [("en", "pt")]
