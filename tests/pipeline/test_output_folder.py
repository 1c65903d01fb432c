"""A folder that several processes fill: claims, shares, and what each leaves to the others."""

from __future__ import annotations

import io
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from support.made import shard_bytes
from support.made_stages import WorkOptions, content, fill, small, work

from capivara_cli.cli.parameters import parse_plan
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.pipeline import engine, local_store, partition
from capivara_cli.pipeline.books import Report
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings
from capivara_cli.pipeline.stage import Stage, Step
from capivara_cli.shards.manifest import Manifest
from capivara_cli.shards.sample import Sample
from capivara_cli.storage import claims, found_claims
from capivara_cli.storage.claims import Claim, Claimant, Claims
from capivara_cli.storage.found_claims import claim_path, read_claim
from capivara_cli.storage.holders import Holder

WORK = Step(work, WorkOptions())


@pytest.fixture
def six(shards: Callable[..., Path]) -> Path:
    return shards(*[small(10, 10 * number) for number in range(6)])


def holder(**changes: object) -> bytes:
    return json.dumps(asdict(replace(Holder.of_this_process(), **changes))).encode()  # type: ignore[arg-type]


def leave(folder: Path, name: str, content: bytes, silent: float = 0) -> Path:
    """A claim that another process left, last seen some seconds ago."""
    folder.mkdir(exist_ok=True)
    path = claim_path(folder / name)
    path.write_bytes(content)
    os.utime(path, (time.time() - silent,) * 2)
    return path


# Claims


def test_a_claim_is_one_processs_until_it_lets_go(tmp_path: Path) -> None:
    one, two = Claims(tmp_path / "new"), Claims(tmp_path / "new")
    claim = one.take("a.tar")
    assert claim is not None and claim.held()
    assert two.take("a.tar") is None
    assert two.take("b.tar") is not None
    with claim:
        seen = read_claim(claim_path(tmp_path / "new" / "a.tar"))
        assert seen is not None and seen.holder is not None
        assert (seen.holder.pid, seen.holder.host, seen.stale) == (os.getpid(), os.uname().nodename, False)
    assert not claim.held()
    again = two.take("a.tar")
    assert again is not None
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [".a.tar.claim", ".b.tar.claim"]


@pytest.mark.parametrize(
    ("changes", "silent", "free"),
    [
        ({}, 1000, False),  # this process: alive, whatever the clock says
        ({"started": "1"}, 0, True),  # another process had this number
        ({"pid": 999_999_999}, 0, True),
        ({"machine": "another", "pid": 999_999_999}, 60, False),  # seen a minute ago, on a machine we cannot ask
        ({"machine": "another"}, 91, True),
    ],
)
def test_only_a_dead_processs_claim_is_taken_over(
    changes: dict[str, object], silent: float, free: bool, tmp_path: Path
) -> None:
    leave(tmp_path, "a.tar", holder(**changes), silent)
    taken = Claims(tmp_path)
    claim = taken.take("a.tar")
    assert (claim is not None) == free
    assert [path.name for path in tmp_path.iterdir()] == [".a.tar.claim"]
    if claim:
        assert claim.held()


def test_a_claim_that_says_nothing_is_left_a_moment(tmp_path: Path) -> None:
    path = leave(tmp_path, "a.tar", b"", 1)
    assert Claims(tmp_path).take("a.tar") is None
    os.utime(path, (time.time() - 6,) * 2)
    assert Claims(tmp_path).take("a.tar") is not None


def test_who_was_declared_dead_is_not_waited_for(tmp_path: Path) -> None:
    leave(tmp_path, "a.tar", holder(machine="another", host="far", pid=7))
    assert Claims(tmp_path).take("a.tar") is None
    assert Claims(tmp_path, Claimant(dead=frozenset({"far:7"}))).take("a.tar") is not None


def test_a_fresh_claim_moved_by_mistake_is_put_back(tmp_path: Path) -> None:
    path = leave(tmp_path, "a.tar", holder(pid=999_999_999))
    seen = read_claim(path)
    assert seen is not None and seen.stale
    path.unlink()
    fresh = Claims(tmp_path).take("a.tar")  # another was faster
    assert fresh is not None
    found_claims.remove_stale(seen)
    assert fresh.held()
    assert [each.name for each in tmp_path.iterdir()] == [".a.tar.claim"]


def test_of_many_who_take_over_one_has_it(tmp_path: Path) -> None:
    for attempt in range(20):
        leave(tmp_path, f"{attempt}.tar", holder(pid=999_999_999))
    barrier = threading.Barrier(8)
    taken: list[list[Claim]] = [[] for _ in range(8)]

    def grab(number: int) -> None:
        claims = Claims(tmp_path)
        for attempt in range(20):
            barrier.wait()
            claim = claims.take(f"{attempt}.tar")
            if claim is not None:
                taken[number].append(claim)

    threads = [threading.Thread(target=grab, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # One may lose a claim again to another that took it for the stale one; in the end one has it, and the others know.
    held = [claim.path.name for claims in taken for claim in claims if claim.held()]
    assert sorted(held) == sorted(f".{attempt}.tar.claim" for attempt in range(20))
    assert len(list(tmp_path.iterdir())) == 20


def test_a_heartbeat_keeps_a_claim_fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "HEARTBEAT", 0.02)
    own = Claims(tmp_path)
    claim = own.take("a.tar")
    assert claim is not None
    os.utime(claim.path, (1, 1))
    deadline = time.monotonic() + 30
    while claim.path.stat().st_mtime < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert claim.path.stat().st_mtime > 2
    claim.path.write_bytes(holder())
    while not claim.lost and time.monotonic() < deadline:
        time.sleep(0.01)
    assert claim.lost
    own.close()
    own.release(claim)
    assert claim.path.exists()  # it is another's now


# Shares


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, (1, 1)),
        ({"RANK": "2", "WORLD_SIZE": "4"}, (3, 4)),
        ({"RANK": "2"}, (1, 1)),
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "8"}, (1, 1)),  # a batch script: srun has started nothing
        ({"SLURM_STEP_ID": "0", "SLURM_PROCID": "1", "SLURM_NTASKS": "8"}, (2, 8)),
        (
            {f"SLURM_ARRAY_TASK_{name}": text for name, text in zip(
                ("ID", "MIN", "MAX", "COUNT", "STEP"), ("5", "1", "7", "4", "2"), strict=True)},
            (3, 4),
        ),
        (
            {f"SLURM_ARRAY_TASK_{name}": text for name, text in zip(
                ("ID", "MIN", "MAX", "COUNT", "STEP"), ("5", "1", "7", "3", "1"), strict=True)},
            (1, 1),
        ),
        (
            {"SLURM_ARRAY_TASK_ID": "1", "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_MAX": "2",
             "SLURM_ARRAY_TASK_COUNT": "3", "SLURM_STEP_ID": "0", "SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "4"},
            (8, 12),
        ),
    ],
)  # fmt: skip
def test_launchers_say_which_share(environment: dict[str, str], expected: tuple[int, int]) -> None:
    assert partition.launched_share(environment) == expected


def test_shares_are_disjoint_and_cover_everything() -> None:
    found = [list(partition.share_of(f"{number}/3", 8).indices) for number in (1, 2, 3)]
    assert found == [[0, 3, 6], [1, 4, 7], [2, 5]]
    assert list(partition.share_of("", 3, {}).indices) == [0, 1, 2]
    for wrong in ("0/3", "4/3", "x", "1", "1/0"):
        with pytest.raises(UsageError, match=f"--share {wrong}: must be I/N"):
            partition.share_of(wrong, 8)


def test_the_last_share_completes_the_folder(six: Path, tmp_path: Path) -> None:
    fill([WORK], six, tmp_path / "clean")
    second = fill([WORK], six, tmp_path / "out", share="2/2")
    assert (second.shards, second.summary()["read"]) == (3, 30)
    assert sorted(content(tmp_path / "out")) == ["00001.tar", "00003.tar", "00005.tar", "manifest.jsonl"]
    with pytest.raises(CapivaraError, match="3 of 6 shards are finished"):
        engine.run([WORK], [str(tmp_path / "out")], Settings(out=str(tmp_path / "x")), None)
    fill([WORK], six, tmp_path / "out", share="1/2")
    assert content(tmp_path / "out") == content(tmp_path / "clean")


def test_the_environment_shares_too(six: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert fill([WORK], six, tmp_path / "out").summary()["shards"] == 2
    assert Manifest.load(tmp_path / "out").done.keys() == {"00002.tar", "00005.tar"}  # type: ignore[union-attr]


# A folder that others fill, too


def test_what_others_have_claimed_is_waited_for(six: Path, tmp_path: Path) -> None:
    fill([WORK], six, tmp_path / "clean")
    out = tmp_path / "out"
    far = leave(out, "00002.tar", holder(machine="another"))
    run = threading.Thread(target=fill, args=([WORK], six, out))
    run.start()
    deadline = time.monotonic() + 60
    while len(list(out.glob("*.tar"))) < 5 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.1)
    assert sorted(path.name for path in out.glob("*.tar")) == [f"0000{number}.tar" for number in (0, 1, 3, 4, 5)]
    assert run.is_alive()
    os.utime(far, (time.time() - 100,) * 2)  # the other machine is silent now
    run.join(60)
    assert content(out) == content(tmp_path / "clean")


def test_runs_at_the_same_time_do_each_shard_once(six: Path, tmp_path: Path) -> None:
    fill([WORK], six, tmp_path / "clean")
    reports: list[Report] = []
    runs = [threading.Thread(target=lambda: reports.append(fill([WORK], six, tmp_path / "out"))) for _ in range(4)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert sum(report.shards for report in reports) == 6
    assert content(tmp_path / "out") == content(tmp_path / "clean")


def test_who_lost_a_claim_leaves_the_shard_to_the_other(
    shards: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, out = shards(small(10), small(10, 10)), tmp_path / "out"
    fill([WORK], folder, tmp_path / "clean")
    stolen = holder(machine="another", token="theirs")

    def steal(samples: Iterator[Sample], options: object, env: Env) -> Iterator[Sample]:
        for sample in work.run(samples, options, env):
            if sample.key == "00005" and not (tmp_path / "stolen").exists():
                (tmp_path / "stolen").touch()
                claim_path(out / "00000.tar").write_bytes(stolen)
            yield sample

    step = Step(Stage("work", WorkOptions, steal), WorkOptions())
    run = threading.Thread(target=fill, args=([step], folder, out))
    run.start()
    deadline = time.monotonic() + 60
    while not (out / "00001.tar").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not (out / "00000.tar").exists()
    assert not list(out.glob(".*.partial-*"))
    assert claim_path(out / "00000.tar").read_bytes() == stolen
    os.utime(claim_path(out / "00000.tar"), (1, 1))
    run.join(60)
    assert content(out) == content(tmp_path / "clean")


def test_leftovers_of_the_dead_are_swept_and_nothing_of_the_living(six: Path, tmp_path: Path) -> None:
    out, host = tmp_path / "out", os.uname().nodename
    out.mkdir()
    leave(out, "00001.tar", holder(machine="another", host="far", pid=1))
    kept = [out / ".00001.tar.partial-far-1-abcdef", out / f".x.partial-{host}-{os.getpid()}-abcdef"]
    swept = [out / f".00002.tar.partial-{host}-999999999-abcdef", out / ".00003.tar.partial-far-2-abcdef"]
    for path in [*kept, *swept]:
        path.touch()
    os.utime(swept[1], (1, 1))
    fill([WORK], six, out, share="1/2")
    assert [path.exists() for path in [*kept, *swept]] == [True, True, False, False]
    os.utime(claim_path(out / "00001.tar"), (1, 1))
    fill([WORK], six, out)
    assert sorted(content(out)) == sorted(
        [f"0000{number}.tar" for number in range(6)] + ["manifest.jsonl", kept[1].name]
    )


def test_a_killed_writers_log_counts(six: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    fill([WORK], six, tmp_path / "clean")
    fill([WORK], six, out)
    head, *lines = (out / "manifest.jsonl").read_text().splitlines(keepends=True)
    (out / "manifest.jsonl").write_text(head + lines[3])
    writer = json.dumps({"writer": json.loads(holder(pid=999_999_999))}) + "\n"
    (out / ".manifest.jsonl.log-far-1-abcdef").write_text(writer + lines[1] + lines[0] + lines[2][:20])
    manifest = Manifest.load(out)
    assert manifest is not None
    assert (list(manifest.done), manifest.complete) == (["00003.tar", "00001.tar", "00000.tar"], False)
    report = fill([WORK], six, out)
    assert (report.resumed, report.shards) == (3, 3)
    assert content(out) == content(tmp_path / "clean")


def test_an_old_log_does_not_undo_newer_work(shards: Callable[..., Path], tmp_path: Path) -> None:
    folder, out = shards(small(3), small(3, 3)), tmp_path / "out"
    fill([WORK], folder, out)
    old = (out / "manifest.jsonl").read_text().splitlines(keepends=True)[1]
    (folder / "00000.tar").write_bytes(shard_bytes(small(5)))
    fill([WORK], folder, out)
    new = content(out)
    (out / ".manifest.jsonl.log-far-1-abcdef").write_text(old)
    report = fill([WORK], folder, out)
    assert (report.resumed, report.shards) == (2, 0)
    assert content(out) == new


def test_a_stream_is_written_by_one_process(shards: Callable[..., Path], tmp_path: Path) -> None:
    shards(small(3))
    leave(tmp_path / "out", "manifest.jsonl", holder())
    with pytest.raises(CapivaraError, match="another process is writing it"):
        engine.run(parse_plan("pack"), ["toy:3"], Settings(out=str(tmp_path / "out")), None)
    for settings in (Settings(workers=2), Settings(share="1/2"), Settings(engine="ray")):
        with pytest.raises(UsageError, match="one stream cannot be shared"):
            engine.run([WORK], [str(tmp_path / "shards")], settings, io.BytesIO())


# Damaged records


@pytest.mark.parametrize("key", ["host", "machine", "pid", "started", "since", "command", "token"])
@pytest.mark.parametrize("value", [None, [], {}, "x", 1.5, -1, 10**30, True])
def test_a_claim_or_log_of_other_types_stops_nobody(key: str, value: object, six: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    content_ = json.dumps({**json.loads(holder(machine="another", pid=1)), key: value}).encode()
    leave(out, "00001.tar", content_, silent=100)
    (out / ".manifest.jsonl.log-far-1-abcdef").write_bytes(b'{"writer": ' + content_ + b"}\n")
    (out / ".manifest.jsonl.log-far-2-abcdef").write_bytes(content_ + b"\n")
    claims_ = Claims(out)
    assert claims_.take("00001.tar") is not None
    claims_.close()
    assert not Claims(out).held_by_others()
    assert local_store._is_dead(out / ".manifest.jsonl.log-far-1-abcdef") is False


@pytest.mark.parametrize(
    "damage", [b"", b"[]\n", b"1\n", b"null\n", b"{}\n", b'{"writer": 1}\n', b'{"writer": []}\n', b"[" * 99_999]
)
def test_a_damaged_log_stops_nobody(damage: bytes, six: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / ".manifest.jsonl.log-far-1-abcdef").write_bytes(damage)
    fill([WORK], six, out)
    fill([WORK], six, tmp_path / "clean")
    assert content(out) == content(tmp_path / "clean")


# --overwrite


def other_plan(folder: Path, out: Path, **settings: object) -> Report:
    return engine.run(
        parse_plan("split --fraction 0.5"), [str(folder)],
        Settings(out=str(out), quiet=False, energy=False, **settings), None,  # type: ignore[arg-type]
    )  # fmt: skip


def test_another_plan_is_refused_with_the_option_that_replaces_it(six: Path, tmp_path: Path) -> None:
    fill([WORK], six, tmp_path / "out")
    before = content(tmp_path / "out")
    with pytest.raises(CapivaraError, match="holds the result of another plan") as raised:
        other_plan(six, tmp_path / "out")
    assert raised.value.hint == "choose another folder with --out, or replace that result with --overwrite"
    assert content(tmp_path / "out") == before


def test_overwrite_replaces_what_capivara_wrote_and_nothing_else(
    six: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, rejects = tmp_path / "out", tmp_path / "rejects"
    fill([WORK], six, out, rejects=str(rejects))
    (out / "footprint.jsonl").write_text("")
    (out / "notes.txt").write_text("of the user")
    (out / ".corpus-1").mkdir()
    (out / "00006.tar").write_bytes(b"")
    with pytest.raises(CapivaraError, match=r"00006.tar is not in its manifest.jsonl: --overwrite does not delete it"):
        other_plan(six, out, overwrite=True)
    (out / "00006.tar").unlink()
    assert len(list(out.glob("*.tar"))) == 6
    (six / "00005.tar").unlink()
    report = other_plan(six, out, overwrite=True, rejects=str(rejects))
    assert (report.resumed, report.shards) == (0, 5)
    assert f"{out}: the result of work is replaced" in capsys.readouterr().err
    other_plan(six, tmp_path / "clean", rejects=str(tmp_path / "clean_rejects"))
    assert content(out) == content(tmp_path / "clean") | {"notes.txt": b"of the user"}
    kept = {name: data for name, data in content(rejects).items() if name.startswith("1-split")}
    assert kept == {name: data for name, data in content(tmp_path / "clean_rejects").items() if "1-split" in name}
    assert list((rejects / "1-work").iterdir()) == []
    assert other_plan(six, out, overwrite=True).resumed == 5  # the same plan: nothing is replaced


@pytest.mark.parametrize("workers", [1, 2])
def test_overwrite_with_a_corpus_stage_and_workers(workers: int, six: Path, tmp_path: Path) -> None:
    plan = parse_plan("split --fraction 0.1 | dedupe --images exact")
    other_plan(six, tmp_path / "out")
    for out, overwrite in (("out", True), ("clean", False)):
        settings = Settings(out=str(tmp_path / out), quiet=True, energy=False, workers=workers, overwrite=overwrite)
        engine.run(plan, [str(six)], settings, None)
    assert content(tmp_path / "out") == content(tmp_path / "clean")


def test_overwrite_of_pack(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    for count in (3, 2):
        settings = Settings(out=str(out), quiet=False, energy=False, overwrite=True)
        engine.run(parse_plan("pack --shard-size 2"), [f"toy:{count}"], settings, None)
    assert f"{out}: the result of pack is replaced" in capsys.readouterr().err
    settings = Settings(out=str(tmp_path / "clean"), quiet=True, energy=False)
    engine.run(parse_plan("pack --shard-size 2"), ["toy:2"], settings, None)
    assert content(out) == content(tmp_path / "clean")


def test_overwrite_of_a_remote_folder(six: Path, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    url = f"file://{tmp_path}/far/out"
    for steps, overwrite in (("split --fraction 0.5", False), ("split --fraction 0.2", True)):
        settings = Settings(out=url, quiet=True, energy=False, overwrite=overwrite)
        report = engine.run(parse_plan(steps), [str(six)], settings, None)
        assert (report.shards, report.resumed) == (6, 0)
    engine.run(
        parse_plan("split --fraction 0.2"), [str(six)],
        Settings(out=str(tmp_path / "clean"), quiet=True, energy=False), None,
    )  # fmt: skip
    left = content(tmp_path / "far" / "out")
    assert left.pop("manifest") == b"folder"  # on a disk an empty folder stays, in a store there are none
    assert left == content(tmp_path / "clean")


@pytest.mark.parametrize("read", ["an input", "a shard of it", "an option's folder"])
def test_overwrite_spares_what_is_read(read: str, six: Path, tmp_path: Path) -> None:
    other_plan(six, tmp_path / "out")
    before = content(tmp_path / "out")
    plan, source = parse_plan("split --fraction 0.2"), six
    if read == "an option's folder":
        plan = parse_plan(f"dedupe --images exact --against {tmp_path / 'out'}")
    else:
        source = tmp_path / "out" / ("00001.tar" if read == "a shard of it" else "")
    settings = Settings(out=str(tmp_path / "out"), quiet=True, energy=False, overwrite=True)
    with pytest.raises(CapivaraError, match=r"also the input|is read, and is in --out"):
        engine.run(plan, [str(source)], settings, None)
    assert content(tmp_path / "out") == before


DEAD = {"host": os.uname().nodename, "pid": 999999999, "started": "1"}


def unfinished(folder: Path, work_folder: Path) -> None:
    """What a killed plan with a corpus stage leaves that has finished no shard."""
    corpus = folder / ".corpus-1"
    corpus.mkdir(parents=True)
    manifest = Manifest([{"step": "dedupe", "options": {}, "seed": 0}], "x", 6)
    (folder / "manifest.jsonl").write_bytes(manifest.text())
    for place in (corpus, work_folder):
        leave(place, "00001.tar", holder(**DEAD))
    for path in (
        corpus / "00000.tar.survey.npz", corpus / ".surveys.jsonl.log-here-1-abcdef",
        work_folder / ".00000.tar.journal", folder / f".00002.tar.partial-{os.uname().nodename}-999999999-abcdef",
    ):  # fmt: skip
        path.write_bytes(b"left")


@pytest.mark.parametrize("plan", ["split --fraction 0", "dedupe --images exact", "pack"])
@pytest.mark.parametrize("remote", [False, True])
def test_nothing_stays_of_another_plan_that_finished_nothing(
    plan: str, remote: bool, six: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAPIVARA_CACHE", str(tmp_path / "cache"))
    out, clean = tmp_path / "out", tmp_path / "clean"
    unfinished(out, out)
    source = "toy:3" if plan == "pack" else str(six)
    for place in (out, clean):
        url = f"file://{place}" if remote else str(place)
        engine.run(parse_plan(plan), [source], Settings(out=url, quiet=True, energy=False), None)
    assert content(out) == content(clean)


def test_another_plan_at_work_in_its_corpus_folder_is_left_alone(six: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    unfinished(out, out)
    leave(out / ".corpus-1", "00001.tar", holder(machine="another"))
    before = content(out)
    with pytest.raises(CapivaraError, match="holds the result of another plan"):
        other_plan(six, out)
    assert content(out) == before


@pytest.mark.parametrize("name", [".00009.tar.claim", ".00009.tar.journal"])
@pytest.mark.parametrize("finished", [True, False])
def test_claims_and_journals_of_inputs_that_are_gone_do_not_stay(
    name: str, finished: bool, six: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    fill([WORK], six, out)
    clean = content(out)
    if not finished:
        (out / "00003.tar").unlink()
    (out / name).write_bytes(holder(**DEAD))
    fill([WORK], six, out)
    assert content(out) == clean


def test_the_journal_of_a_process_that_works_on_other_inputs_stays(six: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    leave(out, "00009.tar", holder(machine="another"))
    (out / ".00009.tar.journal").write_bytes(b"its batches")
    fill([WORK], six, out)
    assert {".00009.tar.claim", ".00009.tar.journal"} <= content(out).keys()


def test_overwrite_waits_for_no_process_that_is_at_work(six: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    fill([WORK], six, out)
    before = content(out)
    claim = leave(out, "00003.tar", holder(machine="another"))
    with pytest.raises(CapivaraError, match="holds the result of another plan"):
        other_plan(six, out, overwrite=True)
    claim.unlink()
    assert content(out) == before
