"""The cost of each step of a plan, by a clock of the test's own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from capivara_cli.costs import per_step
from capivara_cli.costs.flops import Operations
from capivara_cli.costs.per_step import StepCost, StepCosts


@dataclass
class Clock:
    """Seconds, CPU seconds and operations that ``work`` moves on."""

    operations: Operations
    seconds: float = 100.0
    cpu: float = 50.0

    def work(self, seconds: float, cpu: float = 0.0, operations: int = 0) -> None:
        self.seconds, self.cpu = self.seconds + seconds, self.cpu + cpu
        self.operations.add(operations)

    def perf_counter(self) -> float:
        return self.seconds

    def process_time(self) -> float:
        return self.cpu


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock(Operations())
    monkeypatch.setattr(per_step, "time", made)
    return made


def test_work_counts_for_the_step_that_runs_and_not_for_those_around_it(clock: Clock) -> None:
    costs = StepCosts(clock.operations)
    clock.work(64, 64, 64)  # before any step
    with costs.at(0):
        clock.work(1, 2, 3)
        with costs.at(1):
            clock.work(4, 5, 6)
        clock.work(8, 10, 12)
    clock.work(64, 64, 64)  # between two steps
    with costs.at(1):
        clock.work(16, 20, 24)
    assert costs.take() == {0: StepCost(9, 12, 15), 1: StepCost(20, 25, 30)}


def test_the_books_are_emptied_when_they_are_read(clock: Clock) -> None:
    costs = StepCosts(clock.operations)
    for number in (1.0, 2.0):
        with costs.at(0):
            clock.work(number)
        assert costs.take() == {0: StepCost(number, 0.0, 0)}
    assert costs.take() == {}


def test_a_step_that_fails_ends_all_the_same(clock: Clock) -> None:
    costs = StepCosts(clock.operations)
    with costs.at(0):
        with pytest.raises(KeyError), costs.at(1):
            clock.work(2)
            raise KeyError
        clock.work(1)
    assert costs.take() == {0: StepCost(1.0, 0.0, 0), 1: StepCost(2.0, 0.0, 0)}


def test_items_are_timed_while_they_are_made_and_not_while_they_are_used(clock: Clock) -> None:
    costs = StepCosts(clock.operations)

    def items() -> Iterator[int]:
        for number in range(3):
            clock.work(1, 0.5)
            yield number
        clock.work(4)  # after the last one

    def doubled(numbers: Iterator[int]) -> Iterator[int]:
        for number in numbers:
            clock.work(10)
            yield 2 * number

    used = []
    for number in costs.timed(doubled(costs.timed(items(), 0)), 1):
        clock.work(100)
        used.append(number)
    assert used == [0, 2, 4]
    assert costs.take() == {0: StepCost(7.0, 1.5, 0), 1: StepCost(30.0, 0.0, 0)}


def test_what_a_worker_tells_is_added(clock: Clock) -> None:
    costs = StepCosts(clock.operations)
    costs.add({0: StepCost(1.0, 2.0, 3), 1: StepCost(4.0, 5.0, 6)})
    costs.add({1: StepCost(1.0, 1.0, 1)})
    assert costs.take() == {0: StepCost(1.0, 2.0, 3), 1: StepCost(5.0, 6.0, 7)}
    assert StepCost(5.0, 3.0, 9).since(StepCost(1.0, 2.0, 4)) == StepCost(4.0, 1.0, 5)
