"""Results in a remote folder: the bytes of a local run with workers, shares and corpus stages; kills; other plans."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from support import s3, variants
from support.damage import flipped
from support.made import shard_bytes, toy_like
from support.made_stages import UniqueOptions, WorkOptions, content, unique, work
from support.warm import CAPIVARA

from capivara_cli.cli.parameters import parse_plan
from capivara_cli.errors import CapivaraError
from capivara_cli.pipeline import engine, remote_store, stream
from capivara_cli.pipeline.books import Report
from capivara_cli.pipeline.options import Settings
from capivara_cli.pipeline.remote_store import RemoteStore
from capivara_cli.pipeline.stage import Step
from capivara_cli.shards.inputs import find_shards
from capivara_cli.shards.manifest import InputIdentity, Manifest
from capivara_cli.storage import cache, retry
from capivara_cli.storage.remote import upload

KEEP_ALL = parse_plan("split --fraction 0")

pytest.importorskip("s3fs", reason="pip install 'capivara[s3]' 'moto[s3]' flask flask-cors")
pytest.importorskip("moto")


@pytest.fixture(scope="module")
def store() -> Iterator[str]:
    with s3.serving() as address:
        yield address


@pytest.fixture
def bucket(store: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> s3.Bucket:
    monkeypatch.setattr(retry, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(upload, "PART", 8000)
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
    with pytest.raises(CapivaraError, match=r"2\.tar is missing, which its manifest\.jsonl lists as finished"):
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
    with pytest.raises(CapivaraError, match=r"another plan or other options \(split: --seed 0, now it is --seed 1\)"):
        engine.run(KEEP_ALL, [f"{bucket.url}/in/0.tar"], settings_for(out, seed=1), None)
    with pytest.raises(CapivaraError, match=r"holds shards but no manifest\.jsonl"):
        engine.run(KEEP_ALL, [f"{bucket.url}/out/0.tar"], settings_for(f"{bucket.url}/in/"), None)
    with pytest.raises(CapivaraError, match="a web server can only be read"):
        engine.run(KEEP_ALL, [f"{bucket.url}/in/0.tar"], settings_for("https://host/out"), None)
    with pytest.raises(CapivaraError, match=r"--out s3://bucket/out: credentials belong in the environment"):
        engine.run(KEEP_ALL, [f"{bucket.url}/in/0.tar"], settings_for("s3://me:deadbeef@bucket/out"), None)
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
    with pytest.raises(CapivaraError, match=r"out: unfinished: 2 of 4 shards are finished"):
        find_shards([out])
    engine.run(KEEP_ALL, [f"{bucket.url}/in/"], settings_for(out, share="2/2"), None)
    assert bucket.files("out/") == local_run(bucket, tmp_path / "out")


def test_what_another_share_finishes_meanwhile_stays(
    bucket: s3.Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def share(text: str) -> None:
        engine.run(KEEP_ALL, [f"{bucket.url}/in/"], settings_for(f"{bucket.url}/out", share=text), None)

    def load(self: RemoteStore, inputs: dict[str, InputIdentity | None]) -> Manifest | None:
        monkeypatch.setattr(RemoteStore, "load", loads)
        share("2/4")
        return loads(self, inputs)

    loads = RemoteStore.load
    share("1/4")
    monkeypatch.setattr(RemoteStore, "load", load)
    share("3/4")
    share("4/4")
    assert bucket.files("out/") == local_run(bucket, tmp_path / "out")


def test_workers_write_what_one_process_writes(bucket: s3.Bucket, tmp_path: Path) -> None:
    report = engine.run(KEEP_ALL, [f"{bucket.url}/in/"], settings_for(f"{bucket.url}/out", workers=2), None)
    assert (report.summary()["read"], report.shards) == (24, 4)
    assert bucket.files("out/") == local_run(bucket, tmp_path / "out")
    assert left_in_the_cache() == []


@pytest.mark.parametrize("settings", variants.some([{"share": "1/2"}, {}, {"workers": 2}], 1))
def test_a_corpus_stage_writes_what_it_writes_to_a_local_folder(
    settings: dict[str, object], bucket: s3.Bucket, tmp_path: Path
) -> None:
    plan = [Step(work, WorkOptions()), Step(unique, UniqueOptions()), Step(work, WorkOptions())]
    source, out = [f"{bucket.url}/in/{number}.tar" for number in (0, 2)], f"{bucket.url}/out"
    local = engine.run(plan, source, settings_for(tmp_path / "out"), None).summary()
    found = engine.run(plan, source, settings_for(out, **settings), None).summary()
    if "share" in settings:
        assert any(name.startswith(".corpus-1/") for name in bucket.files("out/"))
        engine.run(plan, source, settings_for(out, share="2/2"), None)
    else:
        assert {**found, "out": ""} == {**local, "out": ""}
    assert bucket.files("out/") == {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert left_in_the_cache() == []


def test_processes_of_one_machine_make_each_shard_once(bucket: s3.Bucket, tmp_path: Path) -> None:
    reports: list[Report] = []

    def run() -> None:
        reports.append(engine.run(KEEP_ALL, [f"{bucket.url}/in/"], settings_for(f"{bucket.url}/out"), None))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(report.shards for report in reports) == 4
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
from capivara_cli.storage.remote import upload
from capivara_cli.pipeline import remote_store
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
    from s3fs import S3FileSystem
    S3FileSystem._call_s3 = killing(S3FileSystem._call_s3)
elif place == "entry":
    remote_store.put_bytes = killing(remote_store.put_bytes)
elif place == "remove":
    remote_store.remove = killing(remote_store.remove)
engine.run(parse_plan("split --fraction 0"), [sys.argv[1]], Settings(out=sys.argv[2], quiet=True, energy=False), None)
"""


@pytest.mark.parametrize(
    ("place", "counts"),
    [
        ("sample", [8]),
        ("call", variants.some([45, 60], 1)),
        ("entry", variants.some([1, 4], 1)),
        ("remove", [2]),
    ],
)
def test_a_killed_run_is_resumed(place: str, counts: list[int], bucket: s3.Bucket, tmp_path: Path) -> None:
    wanted = local_run(bucket, tmp_path / "out")
    out = f"{bucket.url}/out"
    for count in counts:
        command = [*CAPIVARA, "-c", RUN, f"{bucket.url}/in/", out, place, str(count)]
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


def test_an_upload_that_a_killed_process_began_is_aborted(bucket: s3.Bucket, tmp_path: Path) -> None:
    for key in ("a.tar", "a.tar.old"):
        bucket.client.create_multipart_upload(Bucket=bucket.name, Key=key)
    data = os.urandom(20_000)
    (tmp_path / "a.tar").write_bytes(data)
    upload.put_file(f"{bucket.url}/a.tar", tmp_path / "a.tar")
    assert bucket.files() | {"a.tar": data} == bucket.files()
    assert bucket.pending() == ["a.tar.old"]


@pytest.mark.parametrize("arrived", [True, False])
def test_the_answer_to_the_last_request_may_be_lost(
    arrived: bool, bucket: s3.Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from s3fs import S3FileSystem

    call, lost = S3FileSystem._call_s3, []

    async def losing(self: S3FileSystem, method: str, *arguments: object, **named: object) -> object:
        if method == "complete_multipart_upload" and not lost:
            lost.append(method)
            if arrived:
                await call(self, method, *arguments, **named)
            raise ConnectionResetError("reset by peer")
        return await call(self, method, *arguments, **named)

    monkeypatch.setattr(S3FileSystem, "_call_s3", losing)
    new, old = os.urandom(20_000), bytes(20_000)
    (tmp_path / "a.tar").write_bytes(new)
    bucket.put("a.tar", old)
    upload.put_file(f"{bucket.url}/a.tar", tmp_path / "a.tar")
    assert bucket.files()["a.tar"] == new
    assert lost == ["complete_multipart_upload"] and bucket.pending() == []


def test_the_program_says_nothing_secret(bucket: s3.Bucket, tmp_path: Path) -> None:
    summary = tmp_path / "summary.json"
    url = bucket.client.generate_presigned_url("get_object", {"Bucket": bucket.name, "Key": "in/0.tar"})
    secret = url.rpartition("Signature=")[2][:12]
    command = [*CAPIVARA, "split", "--fraction", "0", url, "--out", f"{bucket.url}/out"]
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


# Damage: the store tells when a file was written


def other_shard(data: bytes) -> bytes:
    return shard_bytes(toy_like(2, 900)).ljust(len(data), b"\0")[: len(data)]


@pytest.mark.parametrize(
    ("change", "plan"),
    variants.some(
        [
            *itertools.product(
                [flipped, other_shard], ["split --fraction 0", "dedupe --images exact", "pack --shard-size 2"]
            )
        ],
        3,
    ),
)
def test_an_altered_shard_of_the_same_size_is_made_again(
    change: Callable[[bytes], bytes], plan: str, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("CAPIVARA_CACHE", str(tmp_path / "cache"))
    out, shards = tmp_path / "out", tmp_path / "in"
    shards.mkdir()
    for number in range(3):
        (shards / f"0000{number}.tar").write_bytes(shard_bytes(toy_like(6, 6 * number)))
    source = "toy:5" if "pack" in plan else str(shards)
    settings = Settings(out=f"file://{out}", energy=False)
    run = partial(engine.run, parse_plan(plan), [source], settings, None)
    run()
    clean, altered = content(out), out / "00001.tar"
    altered.write_bytes(change(altered.read_bytes()))
    os.utime(altered, (1, 1))
    capsys.readouterr()
    run()
    assert "/out: 00001.tar missing, or damaged since it was finished: made again" in capsys.readouterr().err
    assert content(out) == clean
    assert run().resumed == 3


def test_an_altered_object_in_a_bucket_is_made_again(bucket: s3.Bucket) -> None:
    run = partial(engine.run, KEEP_ALL, [f"{bucket.url}/in/"], settings_for(f"{bucket.url}/out"), None)
    run()
    clean = bucket.files("out/")
    time.sleep(1.1)  # a bucket tells whole seconds
    bucket.put("out/1.tar", flipped(clean["1.tar"]))
    bucket.put("out/2.tar", clean["2.tar"])
    assert run().resumed == 3
    assert bucket.files("out/") == clean
    assert run().resumed == 4


def test_shards_of_a_remote_folder_are_read_again_only_if_they_were_written_again(
    bucket: s3.Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    opened = remote_store.open_remote
    monkeypatch.setattr(remote_store, "open_remote", lambda url: read.append(url) or opened(url))  # type: ignore[func-returns-value]
    run = partial(engine.run, KEEP_ALL, [f"{bucket.url}/in/"], settings_for(f"{bucket.url}/out"), None)
    run()
    run()
    assert read == []
    time.sleep(1.1)
    bucket.put("out/1.tar", bucket.files("out/")["1.tar"])
    time.sleep(1.1)  # then the manifest is younger
    assert (run().resumed, run().resumed) == (4, 4)
    assert read == [f"{bucket.url}/out/1.tar"]
