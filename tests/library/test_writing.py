"""Law 1 for the library: ``write`` writes what the command line writes, byte for byte."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.made import shard_bytes, toy_like

import capivara_cli as capivara
from capivara_cli.cli.parameters import parse_plan
from capivara_cli.library.pipeline import Pipeline
from capivara_cli.pipeline import engine
from capivara_cli.pipeline.options import Settings

CASES: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "caption": ("caption --captioner toy --n 2", lambda s: capivara.caption(s, captioner="toy", n=2)),
    "caption-sampled": (
        "caption --captioner toy --n 3 --temperature 1 --distinct",
        lambda s: capivara.caption(s, captioner="toy", n=3, temperature=1, distinct=True),
    ),
    "rewrite": ("rewrite --rewriter eda --n 3", lambda s: capivara.rewrite(s, rewriter="eda", n=3)),
    "translate": (
        "translate --lang pt,hi --translator toy --from en --no-cache",
        lambda s: capivara.translate(s, lang=["pt", "hi"], translator="toy", from_="en", cache=False),
    ),
    "filter": ("filter --model toy --top-k 2", lambda s: capivara.filter(s, model="toy", top_k=2)),
    "filter-share": (
        "filter --model toy --top-fraction 0.5 --level image",
        lambda s: capivara.filter(s, model="toy", top_fraction=0.5, level="image"),
    ),
    "dedupe": ("dedupe --threshold 1", lambda s: capivara.dedupe(s, threshold=1)),
    "dedupe-images": ("dedupe --images phash", lambda s: capivara.dedupe(s, images="phash")),
    "split": ("split --fraction 0.3", lambda s: capivara.split(s, fraction=0.3)),
    "plan": (
        "split --fraction 0.3 | translate --lang pt --translator toy | filter --model toy --quantile 0.2 | dedupe",
        lambda s: capivara.dedupe(
            capivara.filter(
                capivara.translate(capivara.split(s, fraction=0.3), lang="pt", translator="toy"),
                model="toy",
                quantile=0.2,
            )
        ),
    ),
}
EVERY_CASE = pytest.mark.parametrize(("plan", "made"), CASES.values(), ids=CASES)


def command_line(plan: str, inputs: list[str], out: str = "", seed: int = 0) -> bytes:
    """What the command line writes: to the folder ``out``, else the stream that is returned."""
    stream = io.BytesIO()
    settings = Settings(quiet=True, energy=False, out=out, seed=seed)
    engine.run(parse_plan(plan), inputs, settings, None if out else stream)
    return stream.getvalue()


def digests(folder: str) -> dict[str, str]:
    return {each.name: hashlib.sha256(each.read_bytes()).hexdigest() for each in sorted(Path(folder).iterdir())}


@EVERY_CASE
def test_a_folder_is_that_of_the_command_line(plan: str, made: Callable[[Any], Any], here: Path) -> None:
    command_line(plan, ["shards"], "theirs")
    written = capivara.write(made(capivara.read("shards")), "ours", energy=False)
    assert digests("ours") == digests("theirs")
    assert [Path(each).name for each in written.paths] == ["00000.tar", "00001.tar"]


@EVERY_CASE
def test_a_stream_is_that_of_a_pipe(plan: str, made: Callable[[Any], Any], here: Path) -> None:
    """Samples and history of an iterable that a program made, written by one shard of a stream."""
    (here / "one.tar").write_bytes(command_line(plan, ["shards"]))
    samples = made(sample for sample in capivara.read("shards"))
    capivara.write(samples, "ours", energy=False)
    assert Path("ours/00000.tar").read_bytes() == Path("one.tar").read_bytes()


@EVERY_CASE
def test_iterating_gives_the_samples_and_history_of_a_pipe(plan: str, made: Callable[[Any], Any], here: Path) -> None:
    (here / "one.tar").write_bytes(command_line(plan, ["shards"]))
    expected, pipeline = list(capivara.read("one.tar")), made(capivara.read("shards"))
    for _ in range(2):  # again, it computes the same
        found = list(pipeline)
        assert [(each.key, each.members, each.history) for each in found] == [
            (each.key, each.members, each.history) for each in expected
        ]
        tally = pipeline.tally
        assert (tally.read, tally.written) == (6, len(found))
        assert tally.read == tally.written + tally.dropped.total()


def test_pack_writes_what_the_command_writes(here: Path) -> None:
    command_line("pack --shard-size 4", ["toy:6"], "theirs")
    capivara.write(capivara.pack("toy:6", shard_size=4), "ours", energy=False)
    assert digests("ours") == digests("theirs")
    assert sorted(digests("ours")) == ["00000.tar", "00001.tar", "manifest.jsonl"]


def test_stages_with_different_seeds_are_a_pipe_of_commands(here: Path) -> None:
    (here / "half.tar").write_bytes(command_line("split --fraction 0.5", ["shards"], seed=3))
    command_line("rewrite --rewriter eda", ["half.tar"], "theirs", seed=4)
    half = capivara.split(capivara.read("shards"), fraction=0.5, seed=3)
    capivara.write(capivara.rewrite(half, rewriter="eda", seed=4), "ours", energy=False)
    assert Path("ours/00000.tar").read_bytes() == Path("theirs/half.tar").read_bytes()


def test_a_part_of_the_shards_is_written_alone(here: Path) -> None:
    command_line("dedupe", ["shards/00001.tar"], "theirs")
    capivara.write(capivara.dedupe(capivara.read("shards")[1:]), "ours", energy=False)
    assert digests("ours") == digests("theirs")


def test_samples_of_a_program_keep_their_history_and_get_a_step(here: Path) -> None:
    capivara.write(capivara.split("shards"), "train", energy=False)
    written = capivara.write((each for each in capivara.read("train") if each.key > "00002"), "some", energy=False)
    assert [step["step"] for step in written.history] == ["split", "write"]
    assert [each.key for each in written] == [each.key for each in capivara.read("train") if each.key > "00002"]
    copied = capivara.write(capivara.read("shards"), "copy", energy=False)
    assert [Path(each).name for each in copied.paths] == ["00000.tar", "00001.tar"]
    assert list(copied) == list(capivara.read("shards"))


def test_a_changed_sample_is_written_changed(here: Path) -> None:
    def louder(samples: capivara.Shards) -> Any:
        for sample in samples:
            first = capivara.Caption(sample.captions[0].text.upper(), "en", "me")
            yield sample.with_captions([first]).with_json(loud=True)

    written = capivara.write(louder(capivara.read("shards")), "loud", energy=False)
    first = next(iter(written))
    assert [(each.text, each.by) for each in first.captions] == [("A RED SQUARE NUMBER 0", "me")]
    assert (first.json["loud"], first.json["id"]) == (True, 0)


def test_another_result_is_refused_as_by_the_command(here: Path) -> None:
    capivara.write(capivara.split("shards", fraction=0.5), "out", energy=False)
    with pytest.raises(capivara.CapivaraError, match="fraction") as caught:
        capivara.write(capivara.split("shards", fraction=0.2), "out", energy=False)
    assert "--" not in caught.value.message
    capivara.write(capivara.split("shards", fraction=0.2), "out", energy=False, overwrite=True)
    with pytest.raises(capivara.CapivaraError, match="is also the input"):
        capivara.write(capivara.split("shards"), "shards", energy=False)
    Path("other").mkdir()
    Path("other/notes.txt").write_text("mine")
    capivara.write(capivara.split("shards"), "other", energy=False, overwrite=True)
    assert Path("other/notes.txt").read_text() == "mine"


def test_a_finished_result_is_not_replaced_by_other_samples_of_a_program(here: Path) -> None:
    capivara.write(iter(capivara.read("shards")), "out", energy=False)
    before = digests("out")
    with pytest.raises(capivara.CapivaraError, match="finished result") as caught:
        capivara.write(iter(capivara.read("shards")[:1]), "out", energy=False)
    assert "overwrite=True" in caught.value.hint
    assert digests("out") == before
    assert len(capivara.write(iter(capivara.read("shards")[:1]), "out", energy=False, overwrite=True)) == 3


def test_samples_of_a_program_are_not_written_over_the_shards_they_come_from(here: Path) -> None:
    """An edit in place would delete shards that are still to be read."""
    before = digests("shards")
    edited = (each.with_json(seen=True) for each in capivara.read("shards"))
    seeds = capivara.rewrite(capivara.split("shards", seed=1), rewriter="eda", seed=2)
    for samples in (edited, seeds, iter(capivara.split("shards", part="train"))):
        with pytest.raises(capivara.CapivaraError, match="is also the input"):
            capivara.write(samples, "shards", energy=False, overwrite=True)
    assert digests("shards") == before


def test_a_written_folder_is_up_to_date(here: Path) -> None:
    pipeline = capivara.split("shards")
    first = capivara.write(pipeline, "out", energy=False)
    times = {each: Path(each).stat().st_mtime_ns for each in first.paths}
    capivara.write(pipeline, "out", energy=False)
    assert {each: Path(each).stat().st_mtime_ns for each in first.paths} == times


def test_dropped_samples_are_counted_and_stored(here: Path) -> None:
    damaged = capivara.Sample("damaged", {"jpg": b"\xff\xd8 no image", "json": b"{}"})
    samples = [*capivara.read("shards"), damaged]
    pipeline = capivara.filter(samples, model="toy")
    written = capivara.write(pipeline, "out", rejects="rejects", energy=False)
    assert isinstance(pipeline, Pipeline)
    assert (len(written), pipeline.tally.read, pipeline.tally.written) == (6, 7, 6)
    assert list(pipeline.tally.dropped.values()) == [1]
    assert [each.key for each in capivara.read("rejects/1-filter")] == ["damaged"]


def test_a_write_records_its_cost_beside_the_result(here: Path) -> None:
    plan = capivara.dedupe(capivara.split("shards"))
    capivara.write(plan, "out")
    assert [each["stage"] for each in capivara.footprint("out").stages] == ["split", "dedupe"]
    capivara.write(capivara.split("out"), "again")
    assert [each["stage"] for each in capivara.footprint("again").stages] == ["split", "dedupe"]
    assert capivara.footprint(["out", "again"], country="BRA").total["runs"] == 3


def test_a_failure_leaves_no_folder(here: Path) -> None:
    def failing() -> Any:
        raise ZeroDivisionError
        yield

    with pytest.raises(ZeroDivisionError):
        capivara.write(failing(), "out", energy=False)
    with pytest.raises(capivara.UsageError, match="in place of a Sample"):
        capivara.write([{"jpg": b""}], "out", energy=False)  # type: ignore[list-item]
    assert not Path("out").exists()


def test_a_damaged_shard_is_an_error_and_the_finished_ones_stay(here: Path) -> None:
    data = shard_bytes(toy_like(3, 3))
    (here / "shards" / "00001.tar").write_bytes(data[:-1024])
    with pytest.raises(capivara.CapivaraError, match=r"00001\.tar"):
        capivara.write(capivara.dedupe("shards"), "out", energy=False)
    (here / "shards" / "00001.tar").write_bytes(data)
    assert len(capivara.write(capivara.dedupe("shards"), "out", energy=False)) == 6
