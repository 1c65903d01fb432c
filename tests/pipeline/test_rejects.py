"""Rejects say which steps made them, also where a corpus stage cuts the plan."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.made import toy_like

from capivara_cli.cli.parameters import parse_plan
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
