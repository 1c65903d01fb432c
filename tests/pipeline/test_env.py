"""The books of a step: limits that are reached exactly, and counts that begin anew with each shard."""

from __future__ import annotations

import pytest
from support.made import a_sample

from capivara_cli.errors import CapivaraError
from capivara_cli.pipeline.env import Env, Tally
from capivara_cli.pipeline.options import Settings


@pytest.mark.parametrize("limit", [0, 1, 3])
def test_as_many_failures_as_allowed_are_allowed_over_all_shards(limit: int) -> None:
    env = Env(Settings(max_failures=limit), "filter")
    for number in range(limit):
        env.fail(a_sample(f"s{number}"), "broken")
        assert env.next_shard().failed == 1
        assert env.tally == Tally()
    with pytest.raises(CapivaraError) as raised:
        env.fail(a_sample("last"), "torn")
    message = f"filter: more than {limit} samples cannot be used; the last is 'last': torn"
    assert raised.value.message == message


def test_without_a_limit_no_number_of_failures_is_too_many() -> None:
    env = Env(Settings(), "filter")
    for number in range(50):
        env.fail(a_sample(f"s{number}"), "broken")
    assert env.tally.failed == 50 and env.tally.dropped == {"broken": 50}


def test_a_dropped_sample_is_no_failure_and_goes_to_the_rejects() -> None:
    env, seen = Env(Settings(max_failures=0), "filter"), []
    env.reject = lambda sample, reason: seen.append((sample.key, reason))
    env.drop(a_sample("a"), "score")
    assert (env.tally.failed, env.tally.dropped, seen) == (0, {"score": 1}, [("a", "score")])
    with pytest.raises(CapivaraError):
        env.fail(a_sample("b"), "torn")
    assert seen[1:] == [("b", "torn")]


def test_tallies_add_up_in_every_count() -> None:
    whole = Tally(1, 2, 3)
    other = Tally(10, 20, 30)
    for each, number in ((whole, 1), (other, 5)):
        each.dropped["x"] += number
        each.notes["y"] += number
    whole.add(other)
    assert (whole.read, whole.written, whole.failed) == (11, 22, 33)
    assert (whole.dropped, whole.notes) == ({"x": 6}, {"y": 6})
    assert (other.read, other.dropped["x"]) == (10, 5)


def test_a_model_is_loaded_once_per_key() -> None:
    env = Env(Settings(), "filter")
    assert env.once("a", lambda: [1]) is env.once("a", lambda: [2])
    assert env.once("b", lambda: [3]) == [3]
    assert Env(Settings(), "eval", env.models).once("a", lambda: [4]) == [1]
