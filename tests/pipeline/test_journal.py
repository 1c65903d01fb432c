"""Work inside a shard survives a kill: what is kept, what is asked again, and when nothing there is of use."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.made import a_sample, toy_like

from capivara_cli.errors import BadSample
from capivara_cli.pipeline import engine, journal
from capivara_cli.pipeline.batches import map_batched
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.journal import Journal
from capivara_cli.pipeline.options import Settings, opt
from capivara_cli.pipeline.stage import Stage, Step, stage
from capivara_cli.shards.archive import Stream
from capivara_cli.shards.sample import Sample

SIZE = 4
MARK = {"plan": "x"}


def test_batches_come_back_in_order_and_once(tmp_path: Path) -> None:
    first = Journal(tmp_path / "a.tar", MARK)
    assert first.recall(0, ["a"]) is None
    assert not journal.path_of(tmp_path / "a.tar").exists()
    first.keep(0, ["a", "b"], ["A", "B\ud800"])
    first.keep(1, ["a"], [["x"]])
    first.keep(0, ["c"], ["C"])
    first.close()
    second = Journal(tmp_path / "a.tar", MARK)
    assert second.recall(0, ["a", "b"]) == ["A", "B\ud800"]
    assert second.recall(0, ["c"]) == ["C"]
    assert second.recall(0, ["d"]) is None
    assert second.recall(1, ["a"]) == [["x"]]
    journal.remove(tmp_path / "a.tar")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_torn_line_is_not_there_and_is_written_over(tmp_path: Path, cut: int) -> None:
    shard = tmp_path / "a.tar"
    for keys in (["a"], ["b"]):
        kept = Journal(shard, MARK)
        while kept.recall(0, ["a"]):
            pass
        kept.keep(0, keys, [keys])
        kept.close()
    file = journal.path_of(shard)
    file.write_bytes(file.read_bytes()[:-cut])
    torn = Journal(shard, MARK)
    assert torn.recall(0, ["a"]) == [["a"]]
    assert torn.recall(0, ["b"]) is None
    torn.keep(0, ["b"], ["again"])
    torn.close()
    head, *lines = file.read_text().splitlines()
    assert [json.loads(head), *(json.loads(line[9:]) for line in lines)] == [
        MARK,
        [0, ["a"], [["a"]]],
        [0, ["b"], ["again"]],
    ]


def test_the_journal_of_other_work_is_not_believed(tmp_path: Path) -> None:
    shard = tmp_path / "a.tar"
    kept = Journal(shard, MARK)
    kept.keep(0, ["a"], [1])
    kept.keep(0, ["b"], [2])
    kept.close()
    assert Journal(shard, {"plan": "y"}).recall(0, ["a"]) is None
    mixed = Journal(shard, MARK)
    assert mixed.recall(0, ["a"]) == [1]
    assert mixed.recall(0, ["x"]) is None  # another sample in its place: the rest is of no use either
    assert mixed.recall(0, ["b"]) is None
    mixed.keep(0, ["x"], [3])
    mixed.close()
    assert Journal(shard, MARK).recall(0, ["x"]) == [3]


@dataclass(frozen=True)
class Options:
    die_after: int = opt(-1, "batches", tuning=True)


def shouting(log: Path, die: Callable[[], None]) -> Stage:
    """A stage whose work is logged and may come to a sudden end."""

    @stage("shout", Options)
    def shout(samples: Stream, options: Options, env: Env) -> Stream:
        done = 0

        def process(batch: list[str]) -> list[str]:
            nonlocal done
            if done == options.die_after:
                die()
            done += 1
            with open(log, "a") as out:
                out.write("".join(f"{key}\n" for key in batch))
            return [key.upper() for key in batch]

        def prepare(sample: Sample) -> str:
            if sample.key.endswith("7"):
                raise BadSample("seven")
            return sample.key

        for sample, loud in map_batched(samples, prepare, process, size=SIZE, env=env, keep=True):
            env.note(f"ends in {loud[-1]}")
            yield sample.with_document(loud=loud)

    return shout


def run(kind: Stage, shards: Path, out: Path, die_after: int = -1) -> dict[str, object]:
    steps = [Step(kind, Options(die_after)), Step(kind, Options())]
    return engine.run(steps, [str(shards)], Settings(out=str(out), quiet=True, energy=False), None).summary()


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_run_cut_short_goes_on_inside_the_shard(shards: Callable[..., Path], tmp_path: Path) -> None:
    folder = shards(toy_like(30), toy_like(9, 30))

    def interrupted() -> None:
        raise KeyboardInterrupt

    clean = run(shouting(tmp_path / "clean.log", interrupted), folder, tmp_path / "clean")
    kind = shouting(tmp_path / "log", interrupted)
    for _ in range(5):
        with pytest.raises(KeyboardInterrupt):
            run(kind, folder, tmp_path / "out", die_after=1)
    assert journal.path_of(tmp_path / "out" / "00000.tar").is_file()
    resumed = run(kind, folder, tmp_path / "out")
    assert content(tmp_path / "out") == content(tmp_path / "clean")  # the notes in the manifest, too
    assert (resumed["read"], resumed["notes"]) == (clean["read"], clean["notes"])
    assert sorted((tmp_path / "log").read_text().split()) == sorted((tmp_path / "clean.log").read_text().split())


def test_a_changed_batch_size_starts_the_shard_again(
    shards: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shards(toy_like(20))

    def interrupted() -> None:
        raise KeyboardInterrupt

    kind = shouting(tmp_path / "log", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(kind, folder, tmp_path / "out", die_after=3)
    monkeypatch.setitem(globals(), "SIZE", 3)
    run(kind, folder, tmp_path / "out")
    run(shouting(tmp_path / "other", interrupted), folder, tmp_path / "clean")
    assert content(tmp_path / "out") == content(tmp_path / "clean")


def _killed(log: Path, shards: Path, out: Path, die_after: int) -> None:
    run(shouting(log, lambda: os.kill(os.getpid(), signal.SIGKILL)), shards, out, die_after)


def test_killed_again_and_again(shards: Callable[..., Path], tmp_path: Path) -> None:
    folder = shards(toy_like(24), toy_like(24, 24))
    context = multiprocessing.get_context("fork")
    deaths = 0
    for _ in range(40):
        child = context.Process(target=_killed, args=(tmp_path / "log", folder, tmp_path / "out", 1))
        child.start()
        child.join()
        if child.exitcode == 0:
            break
        assert child.exitcode == -signal.SIGKILL
        deaths += 1
    assert deaths >= 8
    run(shouting(tmp_path / "clean.log", lambda: None), folder, tmp_path / "clean")
    assert content(tmp_path / "out") == content(tmp_path / "clean")
    assert (tmp_path / "log").read_text().split() == (tmp_path / "clean.log").read_text().split()


def test_a_journal_left_beside_a_finished_shard_is_swept(shards: Callable[..., Path], tmp_path: Path) -> None:
    folder = shards(toy_like(5))
    kind = shouting(tmp_path / "log", lambda: None)
    run(kind, folder, tmp_path / "out")
    stale = journal.path_of(tmp_path / "out" / "00000.tar")
    stale.write_bytes(b"{}\n")
    assert run(kind, folder, tmp_path / "out")["resumed_shards"] == 1
    assert not stale.exists()


def test_a_stream_keeps_no_journal(tmp_path: Path) -> None:
    env = Env(Settings(), "shout")
    kind = shouting(tmp_path / "log", lambda: None)
    assert [each.document["loud"] for each in kind.run(iter([a_sample("a")]), Options(), env)] == ["A"]


@pytest.mark.parametrize("place", [0, 3, 9, 12, 15, 20, -3])
@pytest.mark.parametrize("bit", [1, 64])
def test_an_altered_line_is_not_believed(place: int, bit: int, tmp_path: Path) -> None:
    shard = tmp_path / "a.tar"
    kept = Journal(shard, MARK)
    for key in "abc":
        kept.keep(0, [key], [f"{key} result"])
    kept.close()
    head, first, second, third = journal.path_of(shard).read_bytes().splitlines(keepends=True)
    altered = bytearray(second)
    altered[place] ^= bit
    journal.path_of(shard).write_bytes(head + first + bytes(altered) + third)
    again = Journal(shard, MARK)
    assert again.recall(0, ["a"]) == ["a result"]
    assert again.recall(0, ["b"]) is None
    again.keep(0, ["b"], ["made again"])
    again.close()
    assert Journal(shard, MARK).recall(0, ["a"]) == ["a result"]


@pytest.mark.parametrize("text", [b"", b"\n", b"[" * 99_999, b"\xff\n", b'{"plan": "x"}\n[0, ["a"], ["old"]]\n'])
def test_a_journal_of_another_form_is_not_believed(text: bytes, tmp_path: Path) -> None:
    journal.path_of(tmp_path / "a.tar").write_bytes(text)
    kept = Journal(tmp_path / "a.tar", MARK)
    assert kept.recall(0, ["a"]) is None
    kept.keep(0, ["a"], ["new"])
    kept.close()
    assert Journal(tmp_path / "a.tar", MARK).recall(0, ["a"]) == ["new"]
