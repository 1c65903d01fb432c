"""Reading shards by URL from local servers: broken connections, refusals, changed files, secrets."""

from __future__ import annotations

import io
import logging
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import s3, web
from support.made import shard_bytes, toy_like

from capivara_cli.cli.parameters import parse_plan
from capivara_cli.errors import CapivaraError
from capivara_cli.pipeline import engine
from capivara_cli.pipeline.options import Settings
from capivara_cli.shards.archive import open_shard, open_source
from capivara_cli.shards.inputs import find_shards
from capivara_cli.shards.remote_inputs import identity_of
from capivara_cli.storage import retry
from capivara_cli.storage.remote import read as remote_reading
from capivara_cli.storage.remote.read import RemoteStream, open_remote
from capivara_cli.urls import base_name, public_url, without_secrets

SECRET = "deadbeef99"
KEEP_ALL = parse_plan("split --fraction 0")

pytest.importorskip("s3fs", reason="pip install 'capivara[s3]' 'moto[s3]' flask flask-cors")
pytest.importorskip("moto")


@pytest.fixture(autouse=True)
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(retry, "LONGEST_WAIT", 0.002)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[web.Web]:
    with web.serving() as found:
        yield found


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    with s3.serving() as address:
        yield address


@pytest.fixture
def bucket(store: str, monkeypatch: pytest.MonkeyPatch) -> s3.Bucket:
    made = s3.new_bucket(store)
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    return made


def read_all(url: str) -> bytes:
    with open_source(url) as stream:
        return stream.read()


DATA = random.Random(0).randbytes(300_000)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:p@ss@host/a.tar?X-Amz-Signature=1#f", "https://host/a.tar"),
        ("https://user:pa/ss@host/a.tar", "https://host/a.tar"),
        ("https://token@host/a.tar?TOKEN", "https://host/a.tar"),
        ("https://host:8080/a@b.tar", "https://host:8080/a@b.tar"),
        ("https://[::1]:8080/a.tar", "https://[::1]:8080/a.tar"),
        ("s3://key:secret@bucket/a.tar", "s3://bucket/a.tar"),
        ("s3://bucket/0000?.tar", "s3://bucket/0000?.tar"),
        ("s3://bucket/a.tar?versionId=3", "s3://bucket/a.tar"),
        ("hf://datasets/u/r@main/a.tar", "hf://datasets/u/r@main/a.tar"),
        ("photos/what?.tar", "photos/what?.tar"),
    ],
)
def test_a_public_url_has_no_secrets(url: str, shown: str) -> None:
    assert public_url(url) == shown
    assert base_name(url) == shown.rpartition("/")[2]


def test_secrets_in_the_messages_of_libraries_are_removed() -> None:
    text = "GET https://u:p@h/x?sig=abc failed: /y?X-Amz-Signature=abc&b=2 at 'http://h?a=1'"
    assert without_secrets(text) == "GET https://h/x failed: /y?X-Amz-Signature=…&b=… at 'http://h'"


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_connection_is_resumed(server: web.Web, ranges: bool) -> None:
    source = random.Random(1)
    server.files["/a.tar"], server.ranges = DATA, ranges
    server.drops = sorted(source.randrange(len(DATA)) for _ in range(5)) if not ranges else [70_001, 1, 50_000, 9]
    server.refusals = [503, 429]
    assert read_all(f"{server.address}/a.tar") == DATA
    starts = [wanted for _, wanted in server.asked if wanted != "bytes=0-0"]
    if ranges:
        assert starts == ["", "", "", "bytes=70001-", "bytes=70002-", "bytes=120002-", "bytes=120011-"]


def test_a_server_without_tags_and_a_file_that_is_empty(server: web.Web) -> None:
    server.files |= {"/a.tar": DATA, "/empty.tar": b""}
    server.tags, server.drops = False, [1000]
    assert read_all(f"{server.address}/a.tar") == DATA
    assert identity_of(f"{server.address}/a.tar") == {"name": f"{server.address}/a.tar", "size": len(DATA)}
    assert read_all(f"{server.address}/empty.tar") == b""
    with pytest.raises(CapivaraError, match="empty, not even an end marker"), open_shard(f"{server.address}/empty.tar"):
        pass


def test_a_server_that_announces_too_many_bytes_is_an_error(server: web.Web) -> None:
    server.files["/a.tar"], server.lie = DATA, 50
    with pytest.raises(CapivaraError) as caught:
        read_all(f"{server.address}/a.tar?sig={SECRET}")
    assert caught.value.message == (
        f"{server.address}/a.tar: 0 of 300,000 bytes read, gave up after 8 tries: "
        "the server reported 300,000 bytes first and 300,050 later"
    )
    server.lies_twice = True
    with pytest.raises(CapivaraError) as caught:
        read_all(f"{server.address}/a.tar?sig={SECRET}")
    assert caught.value.message == (
        f"{server.address}/a.tar: 300,000 of 300,050 bytes read, gave up after 8 tries: "
        "the server does not have the rest"
    )


def test_a_final_refusal_is_not_retried(server: web.Web) -> None:
    with pytest.raises(CapivaraError, match=r"/none\.tar: the server answers HTTP 404$"):
        read_all(f"{server.address}/none.tar")
    with pytest.raises(CapivaraError, match=r"/no\.tar: the server answers HTTP 403$") as caught:
        read_all(f"{server.address}/no.tar?secret={SECRET}")
    assert "signature has expired" in caught.value.hint
    assert len(server.asked) == 2
    server.refusals = [503] * 100
    server.files["/a.tar"] = DATA
    with pytest.raises(
        CapivaraError, match="0 of 300,000 bytes read, gave up after 8 tries: the server answers HTTP 503"
    ):
        read_all(f"{server.address}/a.tar")


def test_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CapivaraError, match=r"http://127\.0\.0\.1:1/a\.tar: gave up after 8 tries: .*refused"):
        read_all(f"http://user:{SECRET}@127.0.0.1:1/a.tar?sig={SECRET}")
    with pytest.raises(CapivaraError) as caught:
        read_all(f"http://user:{SECRET}/x@127.0.0.1:1/a.tar")
    assert SECRET not in caught.value.message


@pytest.mark.parametrize(("drops", "later"), [([], [DATA[::-1]]), ([1000], [DATA[::-1]]), ([1000], [DATA[::-1], DATA])])
def test_a_shard_that_changes_while_it_is_read_is_an_error(
    server: web.Web, drops: list[int], later: list[bytes]
) -> None:
    server.files["/a.tar"], server.drops, server.later = DATA, drops, list(later)
    with pytest.raises(CapivaraError, match=r"/a\.tar: changed while it was read"):
        read_all(f"{server.address}/a.tar")


def test_new_bytes_reset_the_count_of_tries(server: web.Web) -> None:
    server.files["/a.tar"], server.drops = DATA, [100] * (2 * retry.TRIES)
    assert read_all(f"{server.address}/a.tar") == DATA


def test_the_read_ahead_is_bounded() -> None:
    taken = []

    def blocks() -> Iterator[bytes]:
        for number in range(100):
            taken.append(number)
            yield bytes(1000)

    with io.BufferedReader(RemoteStream(lambda start: blocks(), 5000), 100) as stream:
        assert stream.read(100) == bytes(100)
        while len(taken) < 6:
            pass
        assert len(taken) in {6, 7}  # five are held, one is in the hand
        assert len(stream.read()) == 99_900
    assert len(taken) == 100


def test_seeking_skips_the_bytes_before(server: web.Web, bucket: s3.Bucket) -> None:
    server.files["/a.tar"], server.drops = DATA, [10]
    bucket.put("a.tar", DATA)
    for url in (f"{server.address}/a.tar", f"{bucket.url}/a.tar"):
        with open_source(url) as stream:
            assert stream.seek(200_000) == 200_000
            assert stream.read(1000) == DATA[200_000:201_000]
            assert stream.seek(5) == 5
            assert stream.read(7) == DATA[5:12]
    assert "bytes=200000-" in [wanted for _, wanted in server.asked]


def test_closing_early_stops_the_thread(server: web.Web) -> None:
    import threading

    server.files["/a.tar"] = bytes(50 << 20)
    with open_remote(f"{server.address}/a.tar", 1 << 20) as stream:
        stream.read(10)
    for thread in threading.enumerate():
        if thread.name == "capivara-read-ahead":
            thread.join(20)
            assert not thread.is_alive()
    assert server.sent < 50 << 20


def test_gzip_is_decompressed(server: web.Web) -> None:
    import gzip

    server.files["/a.tar.gz"], server.drops = gzip.compress(DATA), [1000]
    assert read_all(f"{server.address}/a.tar.gz") == DATA


def test_messages_have_no_secrets(server: web.Web, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="httpx")
    server.files |= {"/0.tar": shard_bytes(toy_like(2)), "/1.tar": b"no tar" * 200}
    address = server.address.replace("//", f"//me:{SECRET}@")
    out = tmp_path / "out"
    settings = Settings(out=str(out), quiet=True, energy=False)
    engine.run(KEEP_ALL, [f"{address}/0.tar?X-Amz-Signature={SECRET}"], settings, None)
    assert [path.name for path in sorted(out.iterdir())] == ["0.tar", "manifest.jsonl"]
    for path in out.iterdir():
        assert SECRET.encode() not in path.read_bytes()
    assert f'"name": "{server.address}/0.tar"' in (out / "manifest.jsonl").read_text()
    again = engine.run(KEEP_ALL, [f"{server.address}/0.tar?X-Amz-Signature=another"], settings, None)
    assert again.resumed == 1
    with pytest.raises(CapivaraError, match="not a tar") as caught:
        engine.run(KEEP_ALL, [f"{address}/1.tar?X-Amz-Signature={SECRET}"], Settings(quiet=True), io.BytesIO())
    assert SECRET not in caught.value.message
    assert SECRET not in caplog.text


def test_pipe_and_other_kinds_of_url_are_refused() -> None:
    with pytest.raises(CapivaraError, match="inputs run shell commands") as caught:
        find_shards([f"pipe:curl -u me:{SECRET} https://host/{{0..3}}.tar"])
    assert SECRET not in caught.value.message + caught.value.hint
    with pytest.raises(CapivaraError, match=r"there is no kind of URL 'htps'.*did you mean https"):
        find_shards([f"htps://me:{SECRET}@host/a.tar"])
    with pytest.raises(CapivaraError, match="chained URLs"):
        find_shards(["simplecache::https://host/a.tar"])
    with pytest.raises(CapivaraError, match=r"a web server does not list"):
        find_shards(["https://host/*.tar?sig=1"])
    with pytest.raises(CapivaraError, match=r"https://host/\{0: unbalanced braces"):
        find_shards([f"https://host/{{0?sig={SECRET}"])


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(CapivaraError, match=r"gs://bucket/a.tar: gs:// needs gcsfs") as caught:
        read_all("gs://bucket/a.tar")
    assert caught.value.hint == "pip install 'capivara[gs]'"


def test_an_offline_hub_is_an_error_at_once() -> None:
    with pytest.raises(CapivaraError, match=r"hf://datasets/u/r/a\.tar: ") as caught:
        read_all("hf://datasets/u/r/a.tar")
    assert "HF_HUB_OFFLINE is set" in caught.value.hint


def test_a_bucket_is_read_by_name_braces_glob_and_folder(bucket: s3.Bucket) -> None:
    for number in range(3):
        bucket.put(f"in/{number}.tar", shard_bytes(toy_like(2, 2 * number)))
    bucket.put("in/readme.txt", b"no shard")
    named = [f"{bucket.url}/in/{number}.tar" for number in range(3)]
    assert find_shards([f"{bucket.url}/in/{{0..2}}.tar"]) == named
    assert find_shards([f"{bucket.url}/in/"]) == find_shards([f"{bucket.url}/in"]) == named
    assert find_shards([f"{bucket.url}/in/[01]*.tar"]) == named[:2]
    with open_shard(named[1]) as reader:
        assert [sample.key for sample in reader] == ["00002", "00003"]
    identity = identity_of(named[0])
    assert identity["name"] == named[0] and identity["size"] == len(shard_bytes(toy_like(2)))
    assert len(identity["etag"]) == 32
    with pytest.raises(CapivaraError, match=r"in/9\.tar: there is no such file"):
        read_all(f"{bucket.url}/in/9.tar")
    with pytest.raises(CapivaraError, match=r"none/: no \.tar shards"):
        find_shards([f"{bucket.url}/none/"])
    with pytest.raises(CapivaraError, match=r"none\*\.tar: nothing matches"):
        find_shards([f"{bucket.url}/none*.tar"])


def test_an_object_is_read_in_ranges_and_must_not_change(bucket: s3.Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote_reading, "_RANGE", 70_000)
    bucket.put("a.tar", DATA)
    assert read_all(f"{bucket.url}/a.tar") == DATA
    with (
        pytest.raises(CapivaraError, match="changed while it was read"),
        open_remote(f"{bucket.url}/a.tar", 1) as stream,
    ):
        stream.read(1)
        bucket.put("a.tar", DATA[::-1])
        stream.read()


def test_a_folder_on_a_web_server_is_listed_by_its_manifest(server: web.Web, tmp_path: Path) -> None:
    shards = tmp_path / "in"
    shards.mkdir()
    for number in range(2):
        (shards / f"{number}.tar").write_bytes(shard_bytes(toy_like(1, number)))
    out = tmp_path / "out"
    engine.run(KEEP_ALL, [str(shards)], Settings(out=str(out), quiet=True, energy=False), None)
    server.files = {f"/x/{path.name}": path.read_bytes() for path in out.iterdir()}
    assert find_shards([f"{server.address}/x/?t=1"]) == [f"{server.address}/x/{number}.tar?t=1" for number in range(2)]
    whole = server.files["/x/manifest.jsonl"]
    server.files["/x/manifest.jsonl"] = whole[: whole.rindex(b"\n", 0, -1) + 1]
    with pytest.raises(CapivaraError, match=r"/x/: unfinished: 1 of 2 shards are finished"):
        find_shards([f"{server.address}/x/"])
    server.files["/x/manifest.jsonl"] = whole.replace(b'"0.tar"', b'"../0.tar"')
    with pytest.raises(CapivaraError, match=r"/x/: unfinished: 1 of 2 shards are finished"):
        find_shards([f"{server.address}/x/"])
    with pytest.raises(CapivaraError, match=r"/y/manifest\.jsonl: the server answers HTTP 404"):
        find_shards([f"{server.address}/y/"])
