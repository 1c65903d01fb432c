"""Results in a remote folder: the bytes of a local run, kills in the middle, other plans, uploads left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import s3
from support.made import shard_bytes, toy_like

from capivara_cli.cli.parameters import parse_plan
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.pipeline import engine, stream
from capivara_cli.pipeline.options import Settings
from capivara_cli.shards.inputs import find_shards
from capivara_cli.storage import cache
from capivara_cli.storage.remote import filesystems, upload

KEEP_ALL = parse_plan("split --fraction 0")

pytest.importorskip("s3fs", reason="pip install 'capivara[s3]' 'moto[s3]' flask flask-cors")
pytest.importorskip("moto")


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    with s3.serving() as address:
        yield address


@pytest.fixture
def bucket(store: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> s3.Bucket:
    monkeypatch.setattr(filesystems, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(upload, "PART", 4000)
    monkeypatch.setenv("CAPIVARA_CACHE", str(tmp_path / "cache"))
    made = s3.new_bucket(store)
    for name, value in made.environment.items():
        monkeypatch.setenv(name, value)
    for number in range(4):
        made.put(f"in/{number}.tar", shard_bytes(toy_like(6, 6 * number)))
    return made


def settings_for(out: object, **changes: object) -> Settings:
    return Settings(out=str(out), quiet=True, energy=False, **changes)  # type: ignore[arg-type]


def local_run(bucket: s3.Bucket, folder: Path) -> dict[str, bytes]:
    engine.run(KEEP_ALL, [f"{bucket.url}/in/"], settings_for(folder), None)
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def left_in_the_cache() -> list[Path]:
    return list((cache.folder() / "uploads").rglob("*"))


def test_a_remote_folder_is_the_local_one_byte_for_byte(bucket: s3.Bucket, tmp_path: Path) -> None:
    report = engine.run(KEEP_ALL, [f"{bucket.url}/in/"], settings_for(f"{bucket.url}/out/"), None)
    assert (report.summary()["read"], report.shards, report.resumed) == (24, 4, 0)
    assert report.summary()["out"] == f"{bucket.url}/out"
    assert bucket.files("out/") == local_run(bucket, tmp_path / "out")
    assert bucket.pending() == [] and left_in_the_cache() == []
    assert find_shards([f"{bucket.url}/out"]) == [f"{bucket.url}/out/{number}.tar" for number in range(4)]
    again = engine.run(KEEP_ALL, [f"{bucket.url}/in/"], settings_for(f"{bucket.url}/out/"), None)
    assert (again.summary()["read"], again.resumed) == (0, 4)
    assert bucket.files("out/") == local_run(bucket, tmp_path / "out")


def test_changed_lost_and_unwanted_shards(bucket: s3.Bucket, tmp_path: Path) -> None:
    out = f"{bucket.url}/out"
    engine.run(KEEP_ALL, [f"{bucket.url}/in/"], settings_for(out), None)
    bucket.put("in/1.tar", shard_bytes(toy_like(3, 50)))
    bucket.client.delete_object(Bucket=bucket.name, Key="out/2.tar")
    with pytest.raises(CapivaraError, match=r"manifest\.jsonl names 2\.tar, which is not there"):
        find_shards([out])
    again = engine.run(KEEP_ALL, [f"{bucket.url}/in/"], settings_for(out), None)
    assert (again.summary()["read"], again.resumed) == (9, 2)
    assert bucket.files("out/") == local_run(bucket, tmp_path / "out")
    bucket.client.delete_object(Bucket=bucket.name, Key="in/3.tar")
    fewer = engine.run(KEEP_ALL, [f"{bucket.url}/in/"], settings_for(out), None)
    assert (fewer.summary()["read"], fewer.resumed) == (0, 3)
    assert bucket.files("out/") == local_run(bucket, tmp_path / "fewer")


def test_what_is_not_this_plans_is_refused(bucket: s3.Bucket) -> None:
    out = f"{bucket.url}/out"
    engine.run(KEEP_ALL, [f"{bucket.url}/in/0.tar"], settings_for(out), None)
    before = bucket.files()
    with pytest.raises(CapivaraError, match=r"another plan or other options \(split\)"):
        engine.run(KEEP_ALL, [f"{bucket.url}/in/0.tar"], settings_for(out, seed=1), None)
    with pytest.raises(CapivaraError, match=r"holds shards and no manifest\.jsonl"):
        engine.run(KEEP_ALL, [f"{bucket.url}/out/0.tar"], settings_for(f"{bucket.url}/in/"), None)
    with pytest.raises(CapivaraError, match="http is read, not written"):
        engine.run(KEEP_ALL, [f"{bucket.url}/in/0.tar"], settings_for("https://host/out"), None)
    with pytest.raises(CapivaraError, match=r"--out s3://bucket/out: credentials belong into the environment"):
        engine.run(KEEP_ALL, [f"{bucket.url}/in/0.tar"], settings_for("s3://me:deadbeef@bucket/out"), None)
    with pytest.raises(UsageError, match="--workers and --engine share a folder of this machine"):
        engine.run(KEEP_ALL, [f"{bucket.url}/in/0.tar"], settings_for(out, workers=2), None)
    with pytest.raises(CapivaraError, match="is kept on this machine"):
        engine.run(KEEP_ALL, [f"{bucket.url}/in/0.tar"], settings_for(out, rejects="s3://bucket/r"), None)
    assert bucket.files() == before


def test_shares_make_one_folder(bucket: s3.Bucket, tmp_path: Path) -> None:
    out = f"{bucket.url}/out"
    engine.run(KEEP_ALL, [f"{bucket.url}/in/"], settings_for(out, share="1/2"), None)
    assert sorted(bucket.files("out/")) == [
        "0.tar",
        "2.tar",
        "manifest.jsonl",
        "manifest/0.tar.json",
        "manifest/2.tar.json",
    ]
    with pytest.raises(CapivaraError, match=r"out: unfinished: 2 of 4 shards are there"):
        find_shards([out])
    engine.run(KEEP_ALL, [f"{bucket.url}/in/"], settings_for(out, share="2/2"), None)
    assert bucket.files("out/") == local_run(bucket, tmp_path / "out")


def test_what_another_share_finishes_meanwhile_stays(
    bucket: s3.Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from capivara_cli.pipeline.remote_folder import RemoteFolder

    def share(text: str) -> None:
        engine.run(KEEP_ALL, [f"{bucket.url}/in/"], settings_for(f"{bucket.url}/out", share=text), None)

    def learn(self: RemoteFolder) -> set[str]:
        monkeypatch.setattr(RemoteFolder, "learn", learns)
        share("2/4")
        return learns(self)

    learns = RemoteFolder.learn
    share("1/4")
    monkeypatch.setattr(RemoteFolder, "learn", learn)
    share("3/4")
    share("4/4")
    assert bucket.files("out/") == local_run(bucket, tmp_path / "out")


@pytest.mark.parametrize("kind", ["file", "memory"])
def test_other_stores(kind: str, bucket: s3.Bucket, tmp_path: Path) -> None:
    out = (tmp_path / "there").as_uri() if kind == "file" else f"memory://{bucket.name}/there"
    engine.run(KEEP_ALL, [f"{bucket.url}/in/"], settings_for(out), None)
    assert [url.rpartition("/")[2] for url in find_shards([out])] == [f"{number}.tar" for number in range(4)]
    again = engine.run(KEEP_ALL, [f"{bucket.url}/in/"], settings_for(out), None)
    assert (again.summary()["read"], again.resumed) == (0, 4)
    if kind == "file":
        found = {path.name: path.read_bytes() for path in (tmp_path / "there").iterdir() if path.is_file()}
        assert found == local_run(bucket, tmp_path / "out")


def test_a_stream_is_cut_into_remote_shards(bucket: s3.Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "SHARD_SIZE", 4)
    whole = shard_bytes(toy_like(10))
    (tmp_path / "stream.tar").write_bytes(whole)
    found = []
    for out in (f"{bucket.url}/out", str(tmp_path / "out")):
        with open(tmp_path / "stream.tar", "rb") as given:
            before = os.dup(0)
            os.dup2(given.fileno(), 0)
            try:
                engine.run(KEEP_ALL, ["-"], settings_for(out), None)
            finally:
                os.dup2(before, 0)
                os.close(before)
        found.append(sorted(bucket.files("out/")))
    assert found[0] == ["00000.tar", "00001.tar", "00002.tar", "manifest.jsonl"]
    assert bucket.files("out/") == {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert left_in_the_cache() == []


RUN = """
import os, signal, sys
from capivara_cli.pipeline import engine
from capivara_cli.cli.parameters import parse_plan
from capivara_cli.storage.remote import filesystems, upload
from capivara_cli.pipeline.options import Settings
upload.PART = 4000
place, count = sys.argv[3], int(sys.argv[4])

def killing(work):
    def counted(*arguments, **named):
        global count
        count -= 1
        if count < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return work(*arguments, **named)
    return counted

if place == "sample":
    from capivara_cli.shards.archive import ShardWriter
    ShardWriter.write = killing(ShardWriter.write)
elif place == "call":
    upload.BucketUpload._call = killing(upload.BucketUpload._call)
elif place == "entry":
    from capivara_cli.pipeline import remote_folder as folder
    folder.put_bytes = killing(folder.put_bytes)
elif place == "remove":
    from capivara_cli.pipeline import remote_folder as folder
    folder.remove = killing(folder.remove)
engine.run(parse_plan("split --fraction 0"), [sys.argv[1]], Settings(out=sys.argv[2], quiet=True, energy=False), None)
"""


@pytest.mark.parametrize(("place", "counts"), [("sample", [8]), ("call", [1, 5]), ("entry", [1, 5]), ("remove", [2])])
def test_a_killed_run_is_gone_on_with(place: str, counts: list[int], bucket: s3.Bucket, tmp_path: Path) -> None:
    wanted = local_run(bucket, tmp_path / "out")
    out = f"{bucket.url}/out"
    for count in counts:
        command = [sys.executable, "-c", RUN, f"{bucket.url}/in/", out, place, str(count)]
        killed = subprocess.run(command, env=os.environ | bucket.environment, capture_output=True, text=True)
        assert killed.returncode == -9, killed.stderr
        for name, data in bucket.files("out/").items():  # what is there is whole
            if name in wanted and name.endswith(".tar"):
                assert data == wanted[name]
        if "manifest.jsonl" in bucket.files("out/") and place != "remove":
            with pytest.raises(CapivaraError, match=r"unfinished|no \.tar shards"):
                find_shards([out])
    engine.run(KEEP_ALL, [f"{bucket.url}/in/"], settings_for(out), None)
    assert bucket.files("out/") == wanted
    assert bucket.pending() == [] and left_in_the_cache() == []


def test_an_upload_goes_on_with_the_parts_that_arrived(bucket: s3.Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []
    whole = upload.BucketUpload._call

    def call(self: upload.BucketUpload, method: str, **arguments: object) -> dict[str, object]:
        if method == "upload_part":
            if len(sent) == 2:
                raise CapivaraError("the network is gone")
            sent.append(int(str(arguments["PartNumber"])))
        return whole(self, method, **arguments)

    monkeypatch.setattr(upload, "_SENDERS", 1)
    monkeypatch.setattr(upload.BucketUpload, "_call", call)
    stranger = bucket.client.create_multipart_upload(Bucket=bucket.name, Key="out/0.tar")["UploadId"]
    neighbour = bucket.client.create_multipart_upload(Bucket=bucket.name, Key="out/0.tar.old")["UploadId"]
    with pytest.raises(CapivaraError, match="the network is gone"):
        engine.run(KEEP_ALL, [f"{bucket.url}/in/0.tar"], settings_for(f"{bucket.url}/out"), None)
    assert sent == [1, 2]
    sent.append(0)  # from here on the network is back
    again = engine.run(KEEP_ALL, [f"{bucket.url}/in/0.tar"], settings_for(f"{bucket.url}/out"), None)
    size = len(bucket.files("out/")["0.tar"])
    assert sent == [1, 2, 0, *range(3, -(-size // 4000) + 1)]
    assert (again.resumed, again.summary()["read"]) == (1, 0)
    uploads = bucket.client.list_multipart_uploads(Bucket=bucket.name).get("Uploads", [])
    assert [each["UploadId"] for each in uploads] == [neighbour] and stranger != neighbour


@pytest.mark.parametrize("arrived", [True, False])
def test_the_answer_to_the_last_request_may_be_lost(
    arrived: bool, bucket: s3.Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from s3fs import S3FileSystem

    call, lost = S3FileSystem.call_s3, []

    def losing(self: S3FileSystem, method: str, **arguments: object) -> object:
        if method == "complete_multipart_upload" and not lost:
            lost.append(method)
            parts = {} if arrived else {"MultipartUpload": None}
            call(self, method if arrived else "abort_multipart_upload", **{**arguments, **parts})
            raise ConnectionResetError("reset by peer")
        return call(self, method, **arguments)

    monkeypatch.setattr(S3FileSystem, "call_s3", losing)
    new, old = os.urandom(9000), bytes(9000)
    (tmp_path / "a.tar").write_bytes(new)
    bucket.put("a.tar", old)
    if arrived:
        upload.put_file(f"{bucket.url}/a.tar", tmp_path / "a.tar", threading.Event())
    else:
        with pytest.raises(CapivaraError, match=r"/a\.tar: "):
            upload.put_file(f"{bucket.url}/a.tar", tmp_path / "a.tar", threading.Event())
        assert bucket.files()["a.tar"] == old
        upload.put_file(f"{bucket.url}/a.tar", tmp_path / "a.tar", threading.Event())
    assert bucket.files()["a.tar"] == new
    assert lost == ["complete_multipart_upload"] and bucket.pending() == []


def test_two_processes_of_one_machine_do_not_share_a_spool(bucket: s3.Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    from capivara_cli.pipeline import remote_folder as folder

    out = f"{bucket.url}/out"
    refused = pytest.raises(CapivaraError, match="another process of this machine")
    with folder._spool(out, "mark"), refused, folder._spool(out, "mark"):
        pass


def test_the_program_says_nothing_secret(bucket: s3.Bucket, tmp_path: Path) -> None:
    summary = tmp_path / "summary.json"
    url = bucket.client.generate_presigned_url("get_object", {"Bucket": bucket.name, "Key": "in/0.tar"})
    secret = url.rpartition("Signature=")[2][:12]
    command = [sys.executable, "-m", "capivara_cli", "split", "--fraction", "0", url, "--out", f"{bucket.url}/out"]
    done = subprocess.run(
        [*command, "--summary", str(summary)], env=os.environ | bucket.environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert sorted(bucket.files("out/")) == ["0.tar", "footprint.jsonl", "manifest.jsonl"]
    assert json.loads(summary.read_text())["out"] == f"{bucket.url}/out"
    everything = done.stderr + done.stdout + summary.read_text() + "".join(map(str, bucket.files("out/").values()))
    assert secret not in everything
    assert url.partition("?")[0] in bucket.files("out/")["manifest.jsonl"].decode()
    wrong = subprocess.run(
        [*command[:-1], "s3://nowhere-at-all/out"], env=os.environ | bucket.environment, capture_output=True, text=True
    )
    assert (wrong.returncode, secret in wrong.stderr) == (1, False)
    assert wrong.stderr == "capivara: s3://nowhere-at-all/out/manifest.jsonl: The specified bucket does not exist\n"
