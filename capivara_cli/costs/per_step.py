"""The cost of each step of a plan.

Steps are generators that call each other for the next sample. The time of a step runs from a call until it calls the
previous step or yields. The work of its threads counts for the step that is running at that time.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, TypeVar

from capivara_cli.costs.flops import Operations

Item = TypeVar("Item")


class StepCost(NamedTuple):
    """The cost of a step: seconds, CPU seconds, floating-point operations."""

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
        """Count the work in this block for a step, except the work of other steps inside it."""
        self._account()
        self._at_work.append(number)
        try:
            yield
        finally:
            self._account()
            self._at_work.pop()

    def timed(self, items: Iterable[Item], number: int) -> Iterator[Item]:
        """Yield the items of a step; the time of making them is counted for the step."""
        source = iter(items)
        while True:
            with self.at(number):
                try:
                    item = next(source)
                except StopIteration:
                    return
            yield item

    def _account(self) -> None:
        """Add the cost since the last change of steps to the step that was running."""
        now = StepCost(time.perf_counter(), time.process_time(), self._operations.total)
        if self._at_work:
            self.add({self._at_work[-1]: now.since(self._since)})
        self._since = now

    def add(self, spent: Mapping[int, StepCost]) -> None:
        """Add costs of steps, from this process or from a worker."""
        for number, more in spent.items():
            self._spent[number] = self._spent.get(number, StepCost()).plus(more)

    def seconds(self) -> list[float]:
        """The seconds of each step so far, in the order of the plan."""
        return [self._spent[number].seconds for number in sorted(self._spent)]

    def take(self) -> dict[int, StepCost]:
        """The cost of each step since the last call."""
        found = dict(self._spent)
        self._spent.clear()
        return found
