"""Rejects say which steps made them, also where a corpus stage cuts the plan, and go when their inputs are gone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.made import toy_like
from support.made_stages import content

from capivara_cli.cli.parameters import parse_plan
from capivara_cli.pipeline import engine
from capivara_cli.pipeline.chain import Chain
from capivara_cli.pipeline.options import Settings
from capivara_cli.pipeline.rejects import reject_folders, storing_rejects
from capivara_cli.shards.archive import open_shard

PLAN = "split --fraction 0.5 | dedupe --images exact | split --part heldout | dedupe"


@pytest.mark.parametrize(("start", "stop"), [(0, 4), (0, 1), (1, 4), (1, 2), (2, 4), (3, 4)])
def test_the_history_of_rejects_has_all_steps_before_a_cut(start: int, stop: int, tmp_path: Path) -> None:
    chain = Chain(parse_plan(PLAN), Settings(rejects=str(tmp_path / "rejects")))
    part = chain.part(start, stop)
    sample = toy_like(1)[0]
    with storing_rejects(part, "a.tar"):
        for env in part.envs:
            env.drop(sample, "some reason")
    folders = reject_folders(part)
    assert [each.name for each in folders] == [f"{n + 1}-{chain.steps[n].name}" for n in range(start, stop)]
    for number, folder in enumerate(folders, start):
        with open_shard(str(folder / "a.tar")) as reader:
            (kept,) = reader
            assert reader.history == chain.described[: number + 1]
        assert kept.members["dropped.json"] == b'{"step": "%s", "reason": "some reason"}' % (
            chain.steps[number].name.encode()
        )
    assert all(env.reject is None for env in part.envs)


def _split(plan: str, shards: Path, out: Path, rejects: Path) -> None:
    settings = Settings(out=str(out), rejects=str(rejects), quiet=True, energy=False)
    engine.run(parse_plan(plan), [str(shards)], settings, None)


@pytest.mark.parametrize("plan", ["split --fraction 0.5", "split --fraction 0.3 | dedupe --images exact"])
@pytest.mark.parametrize("what", ["deleted", "renamed"])
def test_the_rejects_of_inputs_that_are_gone_go_although_the_result_is_gone_too(
    what: str, plan: str, shards: Callable[..., Path], tmp_path: Path
) -> None:
    folder = shards(toy_like(6), toy_like(6, 6), toy_like(6, 12))
    out, rejects = tmp_path / "out", tmp_path / "rejects"
    _split(plan, folder, out, rejects)
    shutil.rmtree(out)
    gone = folder / "00001.tar"
    gone.unlink() if what == "deleted" else gone.rename(folder / "00009.tar")
    _split(plan, folder, out, rejects)
    _split(plan, folder, tmp_path / "clean", tmp_path / "clean_rejects")
    assert content(rejects) == content(tmp_path / "clean_rejects")


@pytest.mark.parametrize("moved", [False, True])
def test_the_rejects_of_inputs_elsewhere_stay(moved: bool, shards: Callable[..., Path], tmp_path: Path) -> None:
    """Those of another folder; and those that were moved, from where the way to the inputs leads nowhere."""
    one = shards(toy_like(6)).rename(tmp_path / "one")
    other = shards(toy_like(6, 6), toy_like(6, 12)).rename(tmp_path / "other")
    (other / "00000.tar").unlink()
    rejects = tmp_path / "rejects"
    _split("split --fraction 0.5", one, tmp_path / "out", rejects)
    before = content(rejects)
    if moved:
        (tmp_path / "deep").mkdir()
        rejects = rejects.rename(tmp_path / "deep" / "rejects")
        (one / "00000.tar").rename(one / "00005.tar")
    _split("split --fraction 0.5", one if moved else other, tmp_path / "next", rejects)
    assert before.items() <= content(rejects).items()
