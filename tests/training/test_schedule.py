"""The learning rate of each step, and the length of the warm-up."""

from __future__ import annotations

import pytest

from capivara_cli.training.schedule import Schedule


def test_the_schedule_is_the_papers() -> None:
    def rate(step: int) -> float:
        return Schedule(steps=1500, warmup=250, lr=1e-5, min_lr=1e-6).rate(step)

    assert rate(0) == 1e-6
    assert rate(125) == pytest.approx(5.5e-6)
    assert rate(250) == pytest.approx(1e-5)
    assert rate(875) == pytest.approx(5.5e-6)
    assert rate(1499) == pytest.approx(1e-6, rel=1e-4)
    assert sum(rate(step) for step in range(1500)) == pytest.approx(8.25e-3, rel=1e-3)
    assert Schedule(steps=10, warmup=0, lr=1e-3, min_lr=0).rate(0) == 1e-3


def test_a_warmup_longer_than_half_of_the_run_becomes_a_sixth() -> None:
    assert [Schedule(steps=steps, warmup=250).warmup_steps for steps in (1500, 500, 499, 20, 1)] == [250, 250, 83, 3, 0]


def test_the_last_step_of_the_warmup_and_the_first_after_it() -> None:
    """Step ``warmup`` is the first one with the highest rate; it falls from the next one on."""
    schedule = Schedule(steps=8, warmup=4, lr=1.0, min_lr=0.2)
    rates = [schedule.rate(step) for step in range(8)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[6] == pytest.approx(0.6)  # half of the way down
    assert max(rates) == rates[4] and rates[5] < 1.0


@pytest.mark.parametrize(("steps", "warmup", "used"), [(8, 4, 4), (8, 5, 1), (1, 0, 0), (6, 4, 1), (5, 3, 0)])
def test_a_warmup_of_half_the_steps_is_kept(steps: int, warmup: int, used: int) -> None:
    assert Schedule(steps=steps, warmup=warmup).warmup_steps == used


def test_a_rate_below_the_least_stays_as_it_is() -> None:
    schedule = Schedule(steps=4, warmup=2, lr=1e-7, min_lr=1e-6)
    assert [schedule.rate(step) for step in range(4)] == [1e-7] * 4
