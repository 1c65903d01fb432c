"""Versions of remote files: another size or tag, weak tags, and uploads that end too early."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from capivara_cli.errors import CapivaraError
from capivara_cli.storage.network import NetworkLimits, Pace
from capivara_cli.storage.remote import upload
from capivara_cli.storage.remote.read import Version, WebFile
from capivara_cli.storage.retry import Interrupted

MONDAY, TUESDAY = "Mon, 01 Jan 2024 00:00:00 GMT", "Tue, 02 Jan 2024 00:00:00 GMT"


@pytest.mark.parametrize(
    ("one", "other", "differs"),
    [
        (Version(10), Version(11), True),
        (Version(10, "a", MONDAY), Version(11, "a", MONDAY), True),
        (Version(10, "a"), Version(10, "b"), True),
        (Version(10, "a", MONDAY), Version(10, "a", TUESDAY), False),
        (Version(10, "", MONDAY), Version(10, "b", TUESDAY), True),
        (Version(10, "", MONDAY), Version(10, "b", MONDAY), False),
        (Version(0), Version(1), True),
        (Version(None), Version(1), False),
        (Version(None, "a"), Version(1, "b"), True),
        (Version(10), Version(10), False),
    ],
)
def test_versions_that_differ(one: Version, other: Version, differs: bool) -> None:
    assert one.differs(other) is other.differs(one) is differs


PACE = Pace(NetworkLimits.from_environment())


def web_file(answer: httpx.Response) -> tuple[WebFile, list[httpx.Request]]:
    asked: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return answer

    file = WebFile("http://localhost/a.tar")
    file._client = httpx.Client(transport=httpx.MockTransport(handler))
    return file, asked


@pytest.mark.parametrize(
    ("known", "condition"),
    [
        (Version(10, '"strong"', MONDAY), '"strong"'),
        (Version(10, 'W/"weak"', MONDAY), MONDAY),
        (Version(10, 'W/"weak"'), None),
        (Version(10, "", MONDAY), MONDAY),
        (Version(10), None),
    ],
)
def test_the_rest_is_asked_for_on_a_condition_that_servers_take(known: Version, condition: str | None) -> None:
    """A weak tag is no condition for a range: servers send the whole file, or refuse (RFC 9110, 13.1.5)."""
    headers = {"Content-Range": "bytes 4-9/10", "ETag": known.etag, "Last-Modified": known.modified}
    file, asked = web_file(httpx.Response(206, headers=headers, stream=httpx.ByteStream(b"456789")))
    assert b"".join(file.blocks(4, known, PACE)) == b"456789"
    assert (asked[0].headers["Range"], asked[0].headers.get("If-Range")) == ("bytes=4-", condition)
    start, asked = web_file(httpx.Response(200, headers={"ETag": known.etag}, stream=httpx.ByteStream(b"0123456789")))
    assert b"".join(start.blocks(0, known, PACE)) == b"0123456789"
    assert "If-Range" not in asked[0].headers


@pytest.mark.parametrize("found", ['"b"', ""])
def test_a_file_of_another_size_is_another_file(found: str) -> None:
    headers = {"Content-Range": "bytes 4-10/11", "ETag": found}
    file, _ = web_file(httpx.Response(206, headers=headers, stream=httpx.ByteStream(b"4567890")))
    with pytest.raises(CapivaraError, match="changed"):
        list(file.blocks(4, Version(10, '"a"' if found else ""), PACE))
    headers = {"Content-Range": "bytes 4-10/11", "ETag": '"a"'}
    file, _ = web_file(httpx.Response(206, headers=headers, stream=httpx.ByteStream(b"4567890")))
    with pytest.raises(Interrupted, match="10 bytes first and 11 later"):
        list(file.blocks(4, Version(10, '"a"'), PACE))


class Bucket:
    """A store that keeps some of the bytes that it is given."""

    def __init__(self, kept: int) -> None:
        self.kept = kept

    def put_file(self, local: str, path: str, **options: Any) -> None: ...

    def invalidate_cache(self) -> None: ...

    def info(self, path: str) -> dict[str, int]:
        return {"size": self.kept}


@pytest.mark.parametrize("kept", [0, 9, 11])
def test_a_short_upload_is_an_error(kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.tar").write_bytes(bytes(10))
    monkeypatch.setattr(upload, "filesystem", lambda url: (Bucket(kept), "bucket/a.tar"))
    with pytest.raises(CapivaraError, match=f"memory://bucket/a.tar: {kept} of 10 bytes were uploaded"):
        upload.put_file("memory://bucket/a.tar", tmp_path / "a.tar")
    monkeypatch.setattr(upload, "filesystem", lambda url: (Bucket(10), "bucket/a.tar"))
    upload.put_file("memory://bucket/a.tar", tmp_path / "a.tar")
