"""What each step of a plan takes of what the whole plan costs.

Steps call each other for the next sample. The work of a step is the time from when it is asked for a sample to when it
asks another step or answers. What its threads do ahead of time counts for the step that is at work meanwhile.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, TypeVar

from capivara_cli.costs.flops import Operations

Item = TypeVar("Item")


class StepCost(NamedTuple):
    """What a step took: seconds, CPU seconds, floating-point operations."""

    seconds: float = 0.0
    cpu_seconds: float = 0.0
    operations: int = 0

    def plus(self, other: StepCost) -> StepCost:
        return StepCost(
            self.seconds + other.seconds, self.cpu_seconds + other.cpu_seconds, self.operations + other.operations
        )

    def since(self, earlier: StepCost) -> StepCost:
        return self.plus(StepCost(-earlier.seconds, -earlier.cpu_seconds, -earlier.operations))


class StepCosts:
    """The costs of steps by their number in the plan."""

    def __init__(self, operations: Operations) -> None:
        self._operations = operations
        self._spent: dict[int, StepCost] = {}
        self._at_work: list[int] = []
        self._since = StepCost()

    @contextlib.contextmanager
    def at(self, number: int) -> Iterator[None]:
        """Count what happens inside for this step, except what other steps do inside of it."""
        self._account()
        self._at_work.append(number)
        try:
            yield
        finally:
            self._account()
            self._at_work.pop()

    def timed(self, items: Iterable[Item], number: int) -> Iterator[Item]:
        """Yield the items of a step; making each of them counts as its work."""
        source = iter(items)
        while True:
            with self.at(number):
                try:
                    item = next(source)
                except StopIteration:
                    return
            yield item

    def _account(self) -> None:
        """Add what was spent since the last change to the step that was at work."""
        now = StepCost(time.perf_counter(), time.process_time(), self._operations.total)
        if self._at_work:
            self.add({self._at_work[-1]: now.since(self._since)})
        self._since = now

    def add(self, spent: Mapping[int, StepCost]) -> None:
        """Add what steps have taken, here or in a worker process."""
        for number, more in spent.items():
            self._spent[number] = self._spent.get(number, StepCost()).plus(more)

    def taken(self) -> dict[int, StepCost]:
        """What each step has taken since the last call."""
        found = dict(self._spent)
        self._spent.clear()
        return found
