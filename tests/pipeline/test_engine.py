"""The engine: inputs, outputs, resume, books; and the bad input that only it can meet."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import os
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from support import variants
from support.made import jpeg, shard_bytes, toy_like

from capivara_cli.cli.parameters import parse_plan
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.pipeline import engine
from capivara_cli.pipeline.batches import map_batched
from capivara_cli.pipeline.chain import Chain
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.fingerprint import PlanIdentity
from capivara_cli.pipeline.options import Settings
from capivara_cli.pipeline.stage import Stage, Step, stage
from capivara_cli.pipeline.stream import write_shards
from capivara_cli.shards.archive import ShardReader, Stream, open_shard
from capivara_cli.shards.inputs import find_shards
from capivara_cli.shards.manifest import MANIFEST, Manifest
from capivara_cli.shards.sample import Sample
from capivara_cli.storage.files import replacing, sweep
from capivara_cli.storage.found_claims import claim_path
from capivara_cli.storage.holders import Holder, start_time

QUIET = Settings(quiet=True, energy=False)
KEEP_ALL = parse_plan("split --fraction 0")


def settings_for(out: Path, **changes: object) -> Settings:
    return Settings(out=str(out), quiet=True, energy=False, **changes)  # type: ignore[arg-type]


def test_a_folder_mirrors_the_input_and_says_so_in_its_manifest(shards: Callable[..., Path], tmp_path: Path) -> None:
    folder = shards(toy_like(3), toy_like(2, 3))
    report = engine.run(KEEP_ALL, [str(folder)], settings_for(tmp_path / "out"), None)
    assert report.summary()["read"] == 5
    manifest = Manifest.load(tmp_path / "out")
    assert manifest is not None and manifest.complete
    assert [(entry.shard, entry.read, entry.written) for entry in manifest.done.values()] == [
        ("00000.tar", 3, 3),
        ("00001.tar", 2, 2),
    ]
    assert manifest.plan[0]["step"] == "split"
    with open(tmp_path / "out" / "00000.tar", "rb") as stream:
        assert ShardReader(stream, "x").history == manifest.plan


def test_finished_shards_are_skipped_and_changed_input_is_not(shards: Callable[..., Path], tmp_path: Path) -> None:
    folder = shards(toy_like(3), toy_like(2, 3))
    engine.run(KEEP_ALL, [str(folder)], settings_for(tmp_path / "out"), None)
    again = engine.run(KEEP_ALL, [str(folder)], settings_for(tmp_path / "out"), None)
    assert (again.resumed, again.summary()["read"]) == (2, 0)
    (folder / "00001.tar").write_bytes(shard_bytes(toy_like(4, 3)))
    changed = engine.run(KEEP_ALL, [str(folder)], settings_for(tmp_path / "out"), None)
    assert (changed.resumed, changed.summary()["read"]) == (1, 4)


@pytest.mark.parametrize(
    ("plan", "seed", "difference"),
    [
        ("split --fraction 0.5", 0, r"split: --fraction 0.0, now it is --fraction 0.5"),
        ("split --fraction 0", 1, r"split: --seed 0, now it is --seed 1"),
        ("dedupe", 0, r"split, now it is dedupe"),
        ("split --fraction 0 | dedupe", 0, r"split, now it is split | dedupe"),
    ],
)
def test_a_folder_of_another_plan_is_refused_and_the_difference_is_said(
    plan: str, seed: int, difference: str, shards: Callable[..., Path], tmp_path: Path
) -> None:
    folder = shards(toy_like(2))
    engine.run(KEEP_ALL, [str(folder)], settings_for(tmp_path / "out"), None)
    with pytest.raises(CapivaraError, match=re.escape(f"another plan or other options ({difference})")):
        engine.run(parse_plan(plan), [str(folder)], settings_for(tmp_path / "out", seed=seed), None)


def test_a_file_of_an_option_that_changed_is_said(shards: Callable[..., Path], tmp_path: Path) -> None:
    folder, out, synonyms = shards(toy_like(2)), tmp_path / "out", tmp_path / "synonyms.txt"
    plan = parse_plan(f"rewrite --rewriter eda --synonyms {synonyms}")
    synonyms.write_text("red\tscarlet\n")
    engine.run(plan, [str(folder)], settings_for(out), None)
    synonyms.write_text("red\tscarlet,crimson\n")
    with pytest.raises(CapivaraError, match=r"rewrite: --synonyms synonyms.txt changed"):
        engine.run(plan, [str(folder)], settings_for(out), None)


def test_a_folder_without_a_finished_shard_is_replaced(shards: Callable[..., Path], tmp_path: Path) -> None:
    """A command that fails at once does not refuse the corrected one."""
    folder, out = shards(toy_like(3)), tmp_path / "out"
    good = (folder / "00000.tar").read_bytes()
    (folder / "00000.tar").write_bytes(good[:-700])
    with pytest.raises(CapivaraError, match="cut off"):
        engine.run(parse_plan("split --fraction 0.9"), [str(folder)], settings_for(out), None)
    assert (out / MANIFEST).is_file()
    (folder / "00000.tar").write_bytes(good)
    report = engine.run(KEEP_ALL, [str(folder)], settings_for(out), None)
    assert (report.summary()["written"], report.resumed) == (3, 0)
    engine.run(KEEP_ALL, [str(folder)], settings_for(tmp_path / "clean"), None)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == {
        path.name: path.read_bytes() for path in (tmp_path / "clean").iterdir()
    }


def test_a_folder_in_which_another_process_is_at_work_is_not_replaced(
    shards: Callable[..., Path], tmp_path: Path
) -> None:
    folder, out, parent = shards(toy_like(3)), tmp_path / "out", os.getppid()
    out.mkdir()
    begun = Manifest([{"step": "dedupe"}], "of another plan", 1).text()
    (out / MANIFEST).write_bytes(begun)
    holder = replace(Holder.of_this_process(), pid=parent, started=start_time(parent))
    claim_path(out / "00000.tar").write_text(json.dumps(asdict(holder)))
    with pytest.raises(CapivaraError, match="dedupe, now it is split"):
        engine.run(KEEP_ALL, [str(folder)], settings_for(out), None)
    assert (out / MANIFEST).read_bytes() == begun
    claim_path(out / "00000.tar").unlink()
    assert engine.run(KEEP_ALL, [str(folder)], settings_for(out), None).summary()["written"] == 3


def test_shards_without_manifest_are_not_overwritten(shards: Callable[..., Path], tmp_path: Path) -> None:
    folder, other = shards(toy_like(2)), shards(toy_like(1), name="other")
    before = (other / "00000.tar").read_bytes()
    with pytest.raises(CapivaraError, match=r"no manifest.jsonl"):
        engine.run(KEEP_ALL, [str(folder)], settings_for(other), None)
    with pytest.raises(CapivaraError, match="also the input"):
        engine.run(KEEP_ALL, [str(folder)], settings_for(folder), None)
    assert (other / "00000.tar").read_bytes() == before


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def clean(plan: str, source: Path, out: Path, **settings: object) -> dict[str, bytes]:
    """The files that a plan writes into a new folder."""
    engine.run(parse_plan(plan), [str(source)], settings_for(out, **settings), None)
    return files_of(out)


@pytest.mark.parametrize(
    ("change", "plan"),
    variants.some(
        [
            *itertools.product(
                ["removed", "renamed", "changed", "all replaced"],
                ["split --fraction 0.3", "dedupe --images exact", "split --fraction 0 | dedupe --images exact"],
            )
        ],
        6,
    ),
)
def test_after_inputs_change_the_folder_is_that_of_a_clean_run(
    change: str, plan: str, shards: Callable[..., Path], tmp_path: Path
) -> None:
    folder = shards(toy_like(3), toy_like(2, 3), toy_like(4, 5))
    out, rejects = tmp_path / "out", str(tmp_path / "rejects")
    engine.run(parse_plan(plan), [str(folder)], settings_for(out, rejects=rejects), None)
    if change == "removed":
        (folder / "00001.tar").unlink()
    elif change == "renamed":
        (folder / "00002.tar").rename(folder / "00007.tar")
    elif change == "changed":
        (folder / "00000.tar").write_bytes(shard_bytes(toy_like(5, 20)))
    else:
        for path in folder.iterdir():
            path.unlink()
        (folder / "a.tar").write_bytes(shard_bytes(toy_like(5, 20)))
    engine.run(parse_plan(plan), [str(folder)], settings_for(out, rejects=rejects), None)
    assert files_of(out) == clean(plan, folder, tmp_path / "clean", rejects=str(tmp_path / "clean_rejects"))
    assert files_of(Path(rejects)) == files_of(tmp_path / "clean_rejects")


@pytest.mark.parametrize(
    ("workers", "plan"),
    variants.some(
        [*itertools.product([1, 2], ["split --fraction 0.3", "split --fraction 0.3 | dedupe --images exact"])], 2
    ),
)
def test_rejects_that_are_asked_for_later_are_made(
    workers: int, plan: str, shards: Callable[..., Path], tmp_path: Path
) -> None:
    folder, out = shards(toy_like(6), toy_like(5, 6)), tmp_path / "out"
    engine.run(parse_plan(plan), [str(folder)], settings_for(out), None)
    asked = settings_for(out, rejects=str(tmp_path / "rejects"), workers=workers)
    again = engine.run(parse_plan(plan), [str(folder)], asked, None)
    assert again.resumed == 0
    assert files_of(out) == clean(plan, folder, tmp_path / "clean", rejects=str(tmp_path / "clean_rejects"))
    assert files_of(tmp_path / "rejects") == files_of(tmp_path / "clean_rejects")
    assert engine.run(parse_plan(plan), [str(folder)], asked, None).resumed == 2


def test_rejects_of_pack_that_are_asked_for_later_are_made(tmp_path: Path) -> None:
    photos, out, rejects = tmp_path / "photos", tmp_path / "out", tmp_path / "rejects"
    photos.mkdir()
    (photos / "a.jpg").write_bytes(jpeg())
    (photos / "b.jpg").write_bytes(b"no image")
    engine.run(parse_plan("pack"), [str(photos)], settings_for(out), None)
    for resumed in (0, 1):
        report = engine.run(parse_plan("pack"), [str(photos)], settings_for(out, rejects=str(rejects)), None)
        assert report.resumed == resumed
    with open_shard(str(rejects / "1-pack" / "stream.tar")) as samples:
        assert [each.key for each in samples] == ["b"]


def test_shards_may_be_processed_one_by_one_into_one_folder(shards: Callable[..., Path], tmp_path: Path) -> None:
    """As a loop of the shell does: what another command made of an input that exists stays."""
    folder, out = shards(toy_like(3), toy_like(2, 3), toy_like(4, 5)), tmp_path / "out"
    for number in (1, 0, 2, 0):
        engine.run(KEEP_ALL, [str(folder / f"0000{number}.tar")], settings_for(out), None)
    engine.run(KEEP_ALL, [str(folder)], settings_for(out), None)
    assert files_of(out) == clean("split --fraction 0", folder, tmp_path / "clean")
    assert len(find_shards([str(out)])) == 3


def test_what_is_removed_is_said(
    shards: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shards(toy_like(3), toy_like(2, 3))
    loud = Settings(out=str(tmp_path / "out"), energy=False)
    engine.run(KEEP_ALL, [str(folder)], loud, None)
    (folder / "00001.tar").unlink()
    engine.run(KEEP_ALL, [str(folder)], loud, None)
    assert "out: 00001.tar removed: no input leads to it any more" in capsys.readouterr().err


def test_a_rerun_that_fails_halfway_is_not_taken_for_finished(shards: Callable[..., Path], tmp_path: Path) -> None:
    folder, out = shards(toy_like(3), toy_like(2, 3)), tmp_path / "out"
    engine.run(KEEP_ALL, [str(folder)], settings_for(out), None)
    (folder / "00000.tar").write_bytes(shard_bytes(toy_like(5, 20)))
    (folder / "00001.tar").write_bytes(shard_bytes(toy_like(5, 30))[:-700])
    with pytest.raises(CapivaraError, match="cut off"):
        engine.run(KEEP_ALL, [str(folder)], settings_for(out), None)
    with pytest.raises(CapivaraError, match="unfinished: 1 of 2"):
        find_shards([str(out)])


@pytest.mark.parametrize("damage", ["truncated", "emptied", "deleted", "longer"])
@pytest.mark.parametrize("plan", ["split --fraction 0", "dedupe --images exact"])
def test_a_damaged_output_shard_is_refused_and_made_again(
    plan: str, damage: str, shards: Callable[..., Path], tmp_path: Path
) -> None:
    folder, out = shards(toy_like(3), toy_like(2, 3)), tmp_path / "out"
    expected = clean(plan, folder, out)
    shard = out / "00001.tar"
    if damage == "deleted":
        shard.unlink()
    else:
        whole = shard.read_bytes()
        shard.write_bytes({"truncated": whole[:-600], "emptied": b"", "longer": whole + bytes(512)}[damage])
    with pytest.raises(CapivaraError, match=r"damaged: 00001\.tar has|00001\.tar is missing"):
        find_shards([str(out)])
    again = engine.run(parse_plan(plan), [str(folder)], settings_for(out), None)
    assert again.resumed == 1
    assert files_of(out) == expected


def test_a_shard_that_a_killed_stream_left_is_not_part_of_a_shorter_one(tmp_path: Path) -> None:
    """Killed between the renaming of a shard and its line in the manifest."""
    out, settings = tmp_path / "out", settings_for(tmp_path / "out")
    write_shards(Chain(KEEP_ALL, settings), [], iter(toy_like(3)), out, PlanIdentity("x"))
    expected = files_of(out)
    (out / "00001.tar").write_bytes(shard_bytes(toy_like(2, 9)))
    write_shards(Chain(KEEP_ALL, settings), [], iter(toy_like(3)), out, PlanIdentity("x"))
    assert files_of(out) == expected


def test_a_torn_manifest_line_counts_as_not_written(shards: Callable[..., Path], tmp_path: Path) -> None:
    folder = shards(toy_like(2), toy_like(1, 2))
    engine.run(KEEP_ALL, [str(folder)], settings_for(tmp_path / "out"), None)
    path = tmp_path / "out" / "manifest.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    with pytest.raises(CapivaraError, match="1 of 2 shards"):
        find_shards([str(tmp_path / "out")])
    report = engine.run(KEEP_ALL, [str(folder)], settings_for(tmp_path / "out"), None)
    assert (report.resumed, path.read_bytes()) == (1, whole)


def test_inputs(shards: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shards(toy_like(1), toy_like(1), toy_like(1))
    names = [f"{folder}/0000{number}.tar" for number in range(3)]
    assert find_shards([str(folder)]) == names
    assert find_shards([f"{folder}/{{00000..00002}}.tar"]) == names
    assert find_shards([f"{folder}/*[12].tar"]) == names[1:]
    assert find_shards([names[2], names[0]]) == [names[2], names[0]]
    assert find_shards(["-", "s3://bucket/{0..1}.tar"]) == ["-", "s3://bucket/0.tar", "s3://bucket/1.tar"]
    (tmp_path / "empty").mkdir()
    for bad, message in [
        ("nowhere", "no such file or folder"),
        (str(tmp_path / "empty"), "no .tar shards"),
        (f"{folder}/x*.tar", "nothing matches"),
        (f"{folder}/{{0..1.tar", "braces|no such file"),
    ]:
        with pytest.raises(CapivaraError, match=message):
            find_shards([bad])


def test_folders_with_equal_names_are_told_apart(shards: Callable[..., Path], tmp_path: Path) -> None:
    one, two = shards(toy_like(1), name="one"), shards(toy_like(1, 1), name="two")
    engine.run(KEEP_ALL, [str(one), str(two)], settings_for(tmp_path / "out"), None)
    assert sorted(path.name for path in (tmp_path / "out").glob("*.tar")) == ["one-00000.tar", "two-00000.tar"]


def test_rejects_keep_what_was_dropped_with_the_reason(shards: Callable[..., Path], tmp_path: Path) -> None:
    folder = shards(toy_like(20))
    plan = parse_plan("split --fraction 0.5")
    settings = settings_for(tmp_path / "out", rejects=str(tmp_path / "rejects"))
    summary = engine.run(plan, [str(folder)], settings, None).summary()
    with open(tmp_path / "rejects" / "1-split" / "00000.tar", "rb") as stream:
        rejected = list(ShardReader(stream, "x"))
    assert len(rejected) == sum(summary["dropped"].values()) > 0
    assert json.loads(rejected[0].members["dropped.json"]) == {"step": "split", "reason": "in the heldout part"}
    kept = {sample.key for sample in ShardReader(io.BytesIO((tmp_path / "out" / "00000.tar").read_bytes()), "x")}
    assert kept.isdisjoint(sample.key for sample in rejected)
    assert len(kept) + len(rejected) == 20


def test_plans_are_parsed_like_shell_words() -> None:
    steps = parse_plan("split --fraction 0.25 --part heldout|capivara dedupe")
    assert [step.name for step in steps] == ["split", "dedupe"]
    assert (steps[0].options.fraction, steps[0].options.part) == (0.25, "heldout")


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ("splitt", "did you mean split"),
        ("split --fraction 2", "at most 1.0"),
        ("split --fraction x", "fraction"),
        ("split | | dedupe", "empty step"),
        ("split --nope", "nope"),
        ("split | train", "train is no stage"),
        ("split 'x", "No closing quotation"),
    ],
)
def test_a_wrong_plan_names_what_is_wrong(plan: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_plan(plan)


def _stage(run: Callable[[Stream, object, Env], Stream]) -> Step:
    from capivara_cli.stages.split import Options

    return Step(Stage("test", Options, run), Options())


def test_a_stage_that_loses_a_sample_is_a_bug(shards: Callable[..., Path]) -> None:
    def lose(samples: Stream, options: object, env: Env) -> Stream:
        next(samples)
        yield from samples

    with pytest.raises(RuntimeError, match="read 3 samples, wrote 2 and dropped 0"):
        engine.run([_stage(lose)], [str(shards(toy_like(3)))], QUIET, io.BytesIO())


def test_when_nothing_can_be_used_there_is_no_result(shards: Callable[..., Path]) -> None:
    def refuse(samples: Stream, options: object, env: Env) -> Stream:
        for sample in samples:
            env.fail(sample, "upside down")
        yield from ()

    out = io.BytesIO()
    with pytest.raises(CapivaraError, match=r"none of the 3 samples can be used: upside down \(3\)"):
        engine.run([_stage(refuse)], [str(shards(toy_like(3)))], QUIET, out)
    assert not out.getvalue().endswith(bytes(1024))


def test_max_failures_stops_the_run(shards: Callable[..., Path], tmp_path: Path) -> None:
    def refuse(samples: Stream, options: object, env: Env) -> Stream:
        for number, sample in enumerate(samples):
            if number % 2:
                env.fail(sample, "odd")
            else:
                yield sample

    folder = shards(toy_like(4), toy_like(4, 4))
    with pytest.raises(CapivaraError, match="more than 3 samples cannot be used; the last is '00007'"):
        engine.run([_stage(refuse)], [str(folder)], settings_for(tmp_path / "out", max_failures=3), None)
    assert [path.name for path in (tmp_path / "out").glob("*.tar")] == ["00000.tar"]


def test_map_batched_keeps_order_and_drops_alone() -> None:
    from capivara_cli.errors import BadSample

    env = Env(QUIET, "test")
    sizes: list[int] = []

    def prepare(sample: Sample) -> int:
        if sample.key == "3":
            raise BadSample("three")
        return int(sample.key)

    def process(numbers: list[int]) -> list[int]:
        sizes.append(len(numbers))
        return [number * 10 for number in numbers]

    given = [Sample(str(number), {}) for number in range(8)]
    result = [(sample.key, value) for sample, value in map_batched(given, prepare, process, size=3, env=env)]
    assert result == [(str(number), number * 10) for number in range(8) if number != 3]
    assert sizes == [3, 3, 1]
    assert env.tally.dropped == {"three": 1}
    with pytest.raises(RuntimeError, match="1 results for 2"):
        list(map_batched(given[:2], prepare, lambda numbers: numbers[:1], size=2, env=env))


def test_files_appear_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "a.bin"
    with pytest.raises(ZeroDivisionError), replacing(target) as out:
        out.write(b"half")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    with replacing(target) as out:
        out.write(b"whole")
    assert target.read_bytes() == b"whole"


def test_sweep_removes_what_dead_processes_left(tmp_path: Path) -> None:
    import os

    host = os.uname().nodename
    dead = tmp_path / f".a.tar.partial-{host}-999999999-abcdef"
    alive = tmp_path / f".b.tar.partial-{host}-{os.getpid()}-abcdef"
    elsewhere = tmp_path / ".c.tar.partial-otherhost-1-abcdef"
    for path in (dead, alive, elsewhere):
        path.touch()
    folder = tmp_path / f".adapter.partial-{host}-999999999-abcdef"
    folder.mkdir()
    (folder / "half.safetensors").touch()
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([alive.name, elsewhere.name])


def test_stage_decorator_builds_a_stage() -> None:
    from capivara_cli.stages.split import Options, split

    assert isinstance(split, Stage)
    assert stage("x", Options)(split.run) == Stage("x", Options, split.run)


@pytest.mark.parametrize("names", [["0.tar.gz", "1.tar.gz"], ["0.tar", "1.tgz"]])
def test_compressed_and_mixed_folders_are_processed_like_plain_ones(names: list[str], tmp_path: Path) -> None:
    plain = {f"{number}.tar": shard_bytes(toy_like(2, number * 2)) for number in range(2)}
    for folder, files in (("plain", list(plain)), ("given", names)):
        (tmp_path / folder).mkdir()
        for (_, data), name in zip(plain.items(), files, strict=True):
            (tmp_path / folder / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
        settings = settings_for(tmp_path / f"{folder}-out")
        report = engine.run(parse_plan("dedupe"), [str(tmp_path / folder)], settings, None)
        assert (report.shards, report.summary()["read"]) == (2, 4)
    for name in plain:
        assert (tmp_path / "given-out" / name).read_bytes() == (tmp_path / "plain-out" / name).read_bytes()
