"""split: the part of a key depends on the key and the seed alone."""

from __future__ import annotations

import pytest
from support.made import a_sample

from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings
from capivara_cli.shards.sample import Sample
from capivara_cli.stages.split import Options, position, split

SAMPLES = [a_sample(f"{number:03d}", image=b"never decoded") for number in range(200)]


def kept(seed: int, part: str, fraction: float, samples: list[Sample] = SAMPLES) -> list[str]:
    env = Env(Settings(seed=seed), "split")
    found = [each.key for each in split.run(iter(samples), Options(part=part, fraction=fraction), env)]  # type: ignore[arg-type]
    assert env.tally.dropped.total() == len(samples) - len(found)
    return found


def test_positions_are_the_same_on_every_machine() -> None:
    assert [round(position("a/é", seed), 6) for seed in (0, 1, 7)] == [0.355056, 0.33249, 0.556515]


@pytest.mark.parametrize(("one", "other"), [(0, 1), (1, 7), (0, -1)])
def test_each_seed_has_parts_of_its_own(one: int, other: int) -> None:
    first, second = (set(kept(seed, "heldout", 0.5)) for seed in (one, other))
    assert first != second and first & second
    for seed in (one, other):
        parts = [kept(seed, part, 0.5) for part in ("train", "heldout")]
        assert sorted(parts[0] + parts[1]) == [each.key for each in SAMPLES]


def test_a_key_at_the_limit_is_not_held_out() -> None:
    sample = SAMPLES[0]
    limit = position(sample.key, 5)
    assert kept(5, "heldout", limit, [sample]) == []
    assert kept(5, "train", limit, [sample]) == [sample.key]
    assert kept(5, "heldout", limit + 1e-9, [sample]) == [sample.key]
    assert kept(5, "heldout", 0.0) == [] and kept(5, "train", 1.0) == []
