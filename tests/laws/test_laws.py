"""The laws of the stream, over every stage: they make shell pipes safe for real work."""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support import variants
from support.made import shard_bytes, toy_like
from support.warm import FRESH, shell_function

from capivara_cli import registry
from capivara_cli.cli.parameters import parse_plan
from capivara_cli.errors import TruncatedInput
from capivara_cli.pipeline import engine
from capivara_cli.pipeline.options import Settings
from capivara_cli.registry import command_names
from capivara_cli.shards.archive import ShardReader
from capivara_cli.shards.sample import Sample

STEPS = {
    "caption": "caption --captioner toy --n 2",
    "rewrite": "rewrite --rewriter toy",
    "translate": "translate --lang pt --translator toy",
    "filter": "filter --model toy --top-k 2",
    "dedupe": "dedupe",
    "split": "split --fraction 0.3",
}
ALL = {
    **STEPS,
    "caption-distinct": "caption --captioner toy --n 3 --temperature 1.3 --distinct",
    "rewrite-eda": "rewrite --rewriter eda --n 3",
    "rewrite-back": "rewrite --rewriter back-translation:toy --via pt",
    "translate-back": "translate --lang pt --translator toy --back-translate --only original --no-cache",
    "dedupe-images": "dedupe --images exact",
    "filter-share": "filter --model toy --quantile 0.01",
    "translate-auto": "translate --lang xh,hi --from auto --translator identity --replace",
}
QUIET = Settings(quiet=True, energy=False)


def run_bytes(plan: str, data: bytes, tmp_path: Path) -> bytes:
    """The plan over one tar, in this process, to a stream."""
    source = tmp_path / f"{hashlib.sha256(data).hexdigest()[:8]}.tar"
    source.write_bytes(data)
    out = io.BytesIO()
    engine.run(parse_plan(plan), [str(source)], QUIET, out)
    return out.getvalue()


def samples_in(data: bytes) -> list[Sample]:
    return list(ShardReader(io.BytesIO(data), "x"))


def shell(command: str, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[bytes]:
    """Run in bash without pipefail, as people do; ``capivara`` is this checkout's."""
    result = subprocess.run(
        ["bash", "-c", shell_function() + command], cwd=cwd, capture_output=True, stdin=subprocess.DEVNULL
    )
    if check and result.returncode:
        raise AssertionError(result.stderr.decode())
    return result


def test_the_laws_cover_every_stage() -> None:
    stages = {name for name, folder in command_names().items() if folder == "stages"}
    assert stages - {"pack"} == set(STEPS)


def test_law_1_a_pipe_is_a_plan(shards: Callable[..., Path], tmp_path: Path) -> None:
    folder = shards(toy_like(3), toy_like(2, 3))
    plan = [STEPS["caption"], STEPS["translate"], STEPS["filter"], STEPS["dedupe"]]
    piped = " | ".join(f"capivara {step}" + (f" {folder}" if step is plan[0] else "") for step in plan)
    shell(f"{piped} > pipe.tar", tmp_path)
    shell(f"capivara run '{' | '.join(plan)}' {folder} > plan.tar", tmp_path)
    one, other = (tmp_path / "pipe.tar").read_bytes(), (tmp_path / "plan.tar").read_bytes()
    assert hashlib.sha256(one).hexdigest() == hashlib.sha256(other).hexdigest()
    assert [sample.key for sample in samples_in(one)] == [f"{number:05d}" for number in range(5)]
    langs = {caption.lang for sample in samples_in(one) for caption in sample.captions}
    assert langs == {"en", "pt"}


@pytest.mark.parametrize("step", ALL.values(), ids=ALL)
def test_law_2_a_stage_with_nothing_left_to_do_returns_every_byte(step: str, tmp_path: Path) -> None:
    once = run_bytes(step, shard_bytes(toy_like(6)), tmp_path)
    twice = run_bytes(step, once, tmp_path)
    assert [(each.key, list(each.members.items())) for each in samples_in(twice)] == [
        (each.key, list(each.members.items())) for each in samples_in(once)
    ]


@pytest.mark.parametrize("step", ALL.values(), ids=ALL)
def test_images_and_unknown_members_pass_unchanged(step: str, tmp_path: Path) -> None:
    given = [
        Sample(each.key, {**each.members, "txt": b"\xff\x00 as found", "X.bin": bytes(range(256))})
        for each in toy_like(4)
    ]
    expected = {each.key: each for each in given}
    result = samples_in(run_bytes(step, shard_bytes(given), tmp_path))
    assert result
    for sample in result:
        before = expected[sample.key]
        for suffix in ("jpg", "txt", "X.bin"):
            assert sample.members[suffix] == before.members[suffix]
        assert list(sample.members)[: len(before.members)] == list(before.members)
        assert sample.document["id"] == before.document["id"]


@pytest.mark.parametrize("step", ALL.values(), ids=ALL)
def test_law_3_half_a_stream_is_refused(step: str, tmp_path: Path) -> None:
    data = shard_bytes(toy_like(3))
    for length in (0, 512, len(data) // 2, len(data) - 1024, len(data) - 1):
        source = tmp_path / "cut.tar"
        source.write_bytes(data[:length])
        out = io.BytesIO()
        with pytest.raises(TruncatedInput):
            engine.run(parse_plan(step), [str(source)], QUIET, out)
        with pytest.raises(TruncatedInput):
            samples_in(out.getvalue())  # and nothing downstream can take what was written for a result


@pytest.mark.parametrize("step", ALL.values(), ids=ALL)
def test_law_4_read_is_written_plus_dropped(step: str, tmp_path: Path) -> None:
    good = toy_like(4)
    other = toy_like(1, 20)[0].members["jpg"]  # an image of its own, which dedupe does not take for one of the good
    given = [
        good[0],
        Sample("no-image", {"json": good[1].members["json"]}),
        Sample("no-json", {"jpg": other}),
        Sample("a-list", {"jpg": other, "json": b"[1, 2]"}),
        Sample("not-json", {"jpg": other, "json": b"{"}),
        Sample("bad-captions", {"jpg": other, "json": b'{"captions": ["x"]}'}),
        Sample("zero-bytes", {"jpg": b"", "json": good[1].members["json"]}),
        Sample("no-jpeg", {"jpg": b"\xff\xd8\xff nothing", "json": good[1].members["json"]}),
        *good[1:],
    ]
    source = tmp_path / "x.tar"
    source.write_bytes(shard_bytes(given))
    out = io.BytesIO()
    summary = engine.run(parse_plan(step), [str(source)], QUIET, out).summary()
    assert summary["read"] == len(given)
    assert summary["written"] == len(samples_in(out.getvalue()))
    assert summary["read"] == summary["written"] + sum(summary["dropped"].values())
    kept = {sample.key for sample in samples_in(out.getvalue())}
    if "split" not in step:
        assert {each.key for each in good} <= kept
        assert "a-list" not in kept
        assert summary["dropped"]["json is not an object"] == 1


@pytest.mark.parametrize("step", ALL.values(), ids=ALL)
def test_law_6_same_plan_same_bytes(step: str, tmp_path: Path) -> None:
    data = shard_bytes(toy_like(5))
    assert run_bytes(step, data, tmp_path) == run_bytes(step, data, tmp_path)


def test_law_7_only_the_tar_reaches_standard_output(shards: Callable[..., Path], tmp_path: Path) -> None:
    shards(toy_like(3))
    chatty = (
        "import os, sys; from capivara_cli.pipeline import stage; run = stage.Stage.check\n"
        "def check(self, options): print('chatter'); os.write(1, b'raw chatter\\n'); run(self, options)\n"
        "stage.Stage.check = check\n"
        "from capivara_cli.cli.app import main; main(['split', 'shards', '--fraction', '0'])"
    )
    result = subprocess.run([sys.executable, "-c", chatty], cwd=tmp_path, capture_output=True, stdin=subprocess.DEVNULL)
    assert result.returncode == 0, result.stderr.decode()
    assert len(samples_in(result.stdout)) == 3
    assert b"raw chatter" in result.stderr and b"chatter\n" in result.stderr


def test_law_8_other_programs_read_our_output(shards: Callable[..., Path], tmp_path: Path) -> None:
    folder = shards(toy_like(6))
    shell(f"capivara run 'filter --model toy | dedupe' {folder} --out done", tmp_path)
    path = tmp_path / "done" / "00000.tar"
    ours = samples_in(path.read_bytes())
    names = [f"{sample.key}.{suffix}" for sample in ours for suffix in sample.members]
    listed = subprocess.run(["tar", "tf", path], capture_output=True, text=True, check=True)
    assert (listed.stdout.splitlines(), listed.stderr) == (names, "")
    with tarfile.open(path) as tar:
        assert tar.getnames() == names
    import webdataset

    theirs = list(webdataset.WebDataset(str(path), shardshuffle=False, empty_check=False))
    assert [each["__key__"] for each in theirs] == [sample.key for sample in ours]
    assert [each["jpg"] for each in theirs] == [sample.members["jpg"] for sample in ours]
    assert [json.loads(each["json"])["id"] for each in theirs] == list(range(6))


def test_hf_datasets_reads_our_output(shards: Callable[..., Path], tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    folder = shards(toy_like(4))
    shell(f"capivara run 'filter --model toy' {folder} --out done", tmp_path)
    loaded = datasets.load_dataset(
        "webdataset", data_files=str(tmp_path / "done" / "*.tar"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert [row["__key__"] for row in loaded] == [f"{number:05d}" for number in range(4)]
    assert [row["json"]["captions"][0]["lang"] for row in loaded] == ["en"] * 4


def test_law_5_killed_anywhere_and_run_again_is_one_clean_run(shards: Callable[..., Path], tmp_path: Path) -> None:
    count = variants.number(24, 40)
    folder = shards(*[toy_like(4, 4 * number) for number in range(count)])
    plan = "dedupe | split --fraction 0.2"  # without a model, so that many kills fit into the time of a test
    shell(f"capivara run '{plan}' {folder} --out clean", tmp_path)
    killed_halfway = 0
    for _ in range(variants.number(3, 5)):
        before = _finished(tmp_path / "killed")
        process = subprocess.Popen(
            [*FRESH, "run", plan, str(folder), "--out", "killed"],
            cwd=tmp_path, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        deadline = time.monotonic() + 120
        while process.poll() is None and _finished(tmp_path / "killed") <= before and time.monotonic() < deadline:
            time.sleep(0.001)
        process.kill()
        process.wait()
        if _finished(tmp_path / "killed") < count:
            killed_halfway += 1
    assert killed_halfway > 1
    unfinished = shell("capivara dedupe killed", tmp_path, check=False)
    if _finished(tmp_path / "killed") < count:
        assert (unfinished.returncode, b"unfinished" in unfinished.stderr) == (1, True)
    shell(f"capivara run '{plan}' {folder} --out killed", tmp_path)
    assert _digests(tmp_path / "killed") == _digests(tmp_path / "clean")
    assert len(_digests(tmp_path / "clean")) == count + 1  # the shards and the manifest


def _finished(folder: Path) -> int:
    return len(list(folder.glob("*.tar"))) if folder.is_dir() else 0


def _digests(folder: Path) -> dict[str, str]:
    """The digest of every file but the costs, which differ between runs. A leftover temporary file shows, too."""
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.iterdir()
        if path.name != "footprint.jsonl"
    }


def test_a_failed_command_makes_the_next_one_fail(shards: Callable[..., Path], tmp_path: Path) -> None:
    folder = shards(toy_like(3))
    (folder / "00001.tar").write_bytes(shard_bytes(toy_like(2, 3))[:-700])
    result = shell(f"capivara split {folder} --fraction 0 | capivara dedupe --out done", tmp_path, check=False)
    assert result.returncode == 1  # of the last command, without pipefail
    assert result.stderr.decode().count("cut off") == 2
    again = shell("capivara dedupe done --out again", tmp_path, check=False)
    assert again.returncode == 1
    assert b"done: no such file or folder" in again.stderr  # nothing was finished


def test_several_tars_on_standard_input(shards: Callable[..., Path], tmp_path: Path) -> None:
    shards(toy_like(3), toy_like(2, 3))
    shell("cat shards/*.tar | capivara split --fraction 0 > all.tar", tmp_path)
    keys = [sample.key for sample in samples_in((tmp_path / "all.tar").read_bytes())]
    assert keys == ["00000", "00001", "00002", "00003", "00004"]


def test_every_plugin_has_a_description_of_one_line() -> None:
    for kind in registry.KINDS:
        assert registry.names(kind), kind
        for name in registry.names(kind):
            assert 10 < len(registry.describe(kind, name)) < 120, (kind, name)
