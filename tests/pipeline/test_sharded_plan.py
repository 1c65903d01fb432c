"""Stages that have to see all samples first: over a folder, on a stream, killed and shared."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.made import shard_bytes
from support.made_stages import UniqueOptions, WorkOptions, content, fill, small, unique, work

from capivara_cli.errors import CapivaraError
from capivara_cli.pipeline import engine
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings
from capivara_cli.pipeline.stage import CorpusFunctions, Stage, Step
from capivara_cli.shards.archive import ShardReader
from capivara_cli.shards.manifest import Manifest

WORK = Step(work, WorkOptions())
UNIQUE = Step(unique, UniqueOptions())


@pytest.fixture
def six(shards: Callable[..., Path]) -> Path:
    return shards(*[small(10, 10 * number) for number in range(6)])


def test_a_corpus_stage_sees_all_shards(shards: Callable[..., Path], tmp_path: Path) -> None:
    folder = shards(small(10), small(10, 10), small(10, 20))
    report = fill([WORK, UNIQUE, WORK], folder, tmp_path / "out")
    kept, marks = [], []
    for path in sorted((tmp_path / "out").glob("*.tar")):
        with open(path, "rb") as stream:
            reader = ShardReader(stream, path.name)
            assert [step["step"] for step in reader.history] == ["work", "unique", "work"]
            for sample in reader:
                kept.append(sample.key)
                marks.append(sample.document["mark"])
    assert len(marks) == len(set(marks)) == 7
    summary = report.summary()
    assert (summary["read"], summary["written"]) == (30, 7)
    assert summary["dropped"] == {"thirteen": 1, "seen before": 22}
    assert "never shown" not in summary["notes"]
    assert [(step["read"], step["written"]) for step in summary["steps"]] == [(30, 29), (29, 7), (7, 7)]
    assert sorted(content(tmp_path / "out")) == ["00000.tar", "00001.tar", "00002.tar", "manifest.jsonl"]
    manifest = Manifest.load(tmp_path / "out")
    assert manifest is not None
    assert [len(entry.steps or ()) for entry in manifest.done.values()] == [3, 3, 3]
    alone = fill([WORK, Step(unique, UniqueOptions(everywhere=False)), WORK], folder, tmp_path / "alone")
    assert alone.summary()["written"] > 7


def test_a_corpus_stage_on_a_stream_decides_the_same(six: Path, tmp_path: Path) -> None:
    fill([WORK, UNIQUE, WORK], six, tmp_path / "out")
    out = io.BytesIO()
    summary = engine.run([WORK, UNIQUE, WORK], [str(six)], Settings(quiet=True), out).summary()
    assert (summary["read"], summary["written"]) == (60, 7)
    folder = [
        (sample.key, sample.members)
        for path in sorted((tmp_path / "out").glob("*.tar"))
        for sample in ShardReader(io.BytesIO(path.read_bytes()), "x")
    ]
    assert [(each.key, each.members) for each in ShardReader(io.BytesIO(out.getvalue()), "x")] == folder


def test_two_corpus_stages(six: Path, tmp_path: Path) -> None:
    twice = [Step(unique, UniqueOptions(of=40)), WORK, Step(unique, UniqueOptions(of=5))]
    report = fill(twice, six, tmp_path / "out", workers=2)
    assert report.summary()["written"] == 5
    fill(twice, six, tmp_path / "clean")
    assert content(tmp_path / "out") == content(tmp_path / "clean")


def test_a_changed_shard_changes_what_is_decided(shards: Callable[..., Path], tmp_path: Path) -> None:
    folder = shards(small(10), small(10, 10))
    fill([UNIQUE], folder, tmp_path / "out")
    assert fill([UNIQUE], folder, tmp_path / "out").resumed == 2
    (folder / "00000.tar").write_bytes(shard_bytes(small(1)))
    report = fill([UNIQUE], folder, tmp_path / "out")
    assert (report.resumed, report.shards) == (0, 2)
    fill([UNIQUE], folder, tmp_path / "clean")
    assert content(tmp_path / "out") == content(tmp_path / "clean")


def test_shares_of_a_corpus_plan_wait_for_nobody(six: Path, tmp_path: Path) -> None:
    fill([WORK, UNIQUE], six, tmp_path / "clean")
    for number in (3, 1, 2):
        fill([WORK, UNIQUE], six, tmp_path / "out", share=f"{number}/3")
    assert content(tmp_path / "out") == content(tmp_path / "clean")


def test_a_corpus_run_goes_on_from_what_is_there(six: Path, tmp_path: Path) -> None:
    fill([WORK, UNIQUE, WORK], six, tmp_path / "clean")
    with pytest.raises(CapivaraError, match="cannot go on"):
        fill([Step(work, WorkOptions(fail="00045")), UNIQUE, WORK], six, tmp_path / "out")
    inner = tmp_path / "out" / ".corpus-1"
    assert sorted(path.name for path in inner.glob("*.tar")) == [f"0000{number}.tar" for number in range(4)]
    before = {path.name: path.stat().st_ino for path in inner.glob("*.tar")}
    poisoned = Stage(
        "unique", UniqueOptions, unique.run,
        corpus=CorpusFunctions(lambda options: True, unique.corpus.survey, _refusing, unique.corpus.apply),  # type: ignore[union-attr]
    )  # fmt: skip
    with pytest.raises(CapivaraError, match="undecided"):
        fill([WORK, Step(poisoned, UniqueOptions()), WORK], six, tmp_path / "out")
    assert before.items() <= {path.name: path.stat().st_ino for path in inner.glob("*.tar")}.items()
    assert len(list(inner.glob("*.survey.npz"))) == 6
    fill([WORK, UNIQUE, WORK], six, tmp_path / "out")
    assert content(tmp_path / "out") == content(tmp_path / "clean")


def _refusing(surveys: object, options: object, env: Env) -> Iterator[dict[str, object]]:
    raise CapivaraError("undecided")
    yield {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decide": lambda surveys, options, env: iter([{}])}, "decided about 1 of 6 shards"),
        ({"decide": lambda surveys, options, env: iter([{}] * 7)}, "decided about more than 6 shards"),
        ({"survey": lambda samples, options, env: {"x": [object()]}}, "x: arrays of Python objects cannot be stored"),
    ],
)
def test_a_wrong_corpus_stage_is_a_bug(change: dict[str, object], message: str, six: Path, tmp_path: Path) -> None:
    assert unique.corpus is not None
    wrong = Stage("unique", UniqueOptions, unique.run, corpus=replace(unique.corpus, **change))  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match=message):
        fill([Step(wrong, UniqueOptions())], six, tmp_path / "out")
