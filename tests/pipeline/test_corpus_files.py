"""What a stopped run of a corpus stage leaves in its folder may be damaged: it is found, said and made again."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support import variants
from support.damage import DAMAGES, flipped
from support.made_stages import UniqueOptions, WorkOptions, content, fill, small, unique, work

from capivara_cli.errors import CapivaraError
from capivara_cli.pipeline.stage import Step

WORK, UNIQUE = Step(work, WorkOptions()), Step(unique, UniqueOptions())
PLAN = [WORK, UNIQUE, WORK]
INNER = ".corpus-1"


@pytest.fixture
def three(shards: Callable[..., Path]) -> Path:
    return shards(*[small(10, 10 * number) for number in range(3)])


def stopped(three: Path, out: Path) -> Path:
    """The folder of a run that stopped in its last pass, at the first shard that it had to write."""
    with pytest.raises(CapivaraError, match="cannot go on"):
        fill([WORK, UNIQUE, Step(work, WorkOptions(fail="00000"))], three, out)
    return out / INNER


FILES = [
    "00001.tar", "00001.tar.survey.npz", "00001.tar.decision.npz", "decided", "manifest.jsonl", "surveys.jsonl",
    "decisions.jsonl",
]  # fmt: skip


@pytest.mark.parametrize(("damage", "file"), variants.some([*itertools.product(DAMAGES, FILES)], 14))
def test_what_is_damaged_is_made_again(damage: str, file: str, three: Path, tmp_path: Path) -> None:
    inner = stopped(three, tmp_path / "out")
    DAMAGES[damage](inner / file)
    fill(PLAN, three, tmp_path / "out")
    fill(PLAN, three, tmp_path / "clean")
    assert content(tmp_path / "out") == content(tmp_path / "clean")


@pytest.mark.parametrize("file", FILES[:4])
def test_damage_that_no_time_shows_is_found_where_the_file_is_read(
    file: str, three: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inner = stopped(three, tmp_path / "out")
    (inner / file).write_bytes(flipped((inner / file).read_bytes()))
    for manifest in FILES[4:]:
        (inner / manifest).touch()
    fill(PLAN, three, tmp_path / "out")
    assert f"{INNER}/{file}: damaged: it is made again" in capsys.readouterr().err
    fill(PLAN, three, tmp_path / "clean")
    assert content(tmp_path / "out") == content(tmp_path / "clean")


def test_workers_make_it_again_too(three: Path, tmp_path: Path) -> None:
    inner = stopped(three, tmp_path / "out")
    (inner / FILES[1]).write_bytes(flipped((inner / FILES[1]).read_bytes()))
    (inner / FILES[2]).write_bytes(b"")
    fill(PLAN, three, tmp_path / "out", workers=2)
    fill(PLAN, three, tmp_path / "clean")
    assert content(tmp_path / "out") == content(tmp_path / "clean")


@pytest.mark.parametrize("left", ["another plan's", "stale shards, surveys and decisions", "a file", "no manifests"])
def test_a_folder_that_is_not_of_this_run_is_not_used(left: str, three: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    inner = stopped(three, out)
    if left == "another plan's":
        with pytest.raises(CapivaraError):
            other = [WORK, Step(unique, UniqueOptions(of=40)), Step(work, WorkOptions(fail="00000"))]
            fill(other, three, tmp_path / "other")
        shutil.rmtree(inner)
        shutil.copytree(tmp_path / "other" / INNER, inner)
    elif left == "a file":
        shutil.rmtree(inner)
        inner.write_bytes(b"x")
    elif left == "no manifests":
        for file in FILES[4:]:
            (inner / file).unlink()
        (inner / "00001.tar").write_bytes((inner / "00002.tar").read_bytes())
    else:
        for kind in ("", ".survey.npz", ".decision.npz"):
            shutil.copy(inner / f"00002.tar{kind}", inner / f"00001.tar{kind}")
    fill(PLAN, three, out)
    fill(PLAN, three, tmp_path / "clean")
    assert content(out) == content(tmp_path / "clean")


def test_a_damaged_input_is_not_taken_for_damaged_work(three: Path, tmp_path: Path) -> None:
    """The corpus stage reads the shards of another command itself."""
    fill([WORK], three, tmp_path / "made")
    manifest = (tmp_path / "made" / "manifest.jsonl").stat()
    shard = tmp_path / "made" / "00001.tar"
    shard.write_bytes(flipped(shard.read_bytes()))
    with pytest.raises(CapivaraError, match=r"made/00001\.tar: "):
        fill([UNIQUE], tmp_path / "made", tmp_path / "out")
    assert shard.exists()
    assert (tmp_path / "made" / "manifest.jsonl").stat() == manifest
