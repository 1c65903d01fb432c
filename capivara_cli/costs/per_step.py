"""Which step of a plan this process is at: what each step takes of what the plan costs.

Steps call each other for the next sample, so the work of one is the time between what it is asked and what it asks or
answers. What its threads do ahead is counted for the step that is at work meanwhile.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from capivara_cli.costs import flops

Item = TypeVar("Item")
Spent = tuple[float, float, int]
"""Seconds, CPU seconds, operations."""

_spent: dict[int, Spent] = {}
_open: list[int] = []
_since: Spent = (0.0, 0.0, 0)


@contextlib.contextmanager
def at(number: int) -> Iterator[None]:
    """What is done inside is work of this step, but for what other steps do inside of that."""
    _account()
    _open.append(number)
    try:
        yield
    finally:
        _account()
        _open.pop()


def asked(items: Iterable[Item], number: int) -> Iterator[Item]:
    """The items of a step, the making of each entered as its work."""
    source = iter(items)
    while True:
        with at(number):
            try:
                item = next(source)
            except StopIteration:
                return
        yield item


def _account() -> None:
    """Enter what was spent since the last change for the step that was at work."""
    global _since
    now = (time.perf_counter(), time.process_time(), flops.total())
    if _open:
        add({_open[-1]: (now[0] - _since[0], now[1] - _since[1], now[2] - _since[2])})
    _since = now


def add(spent: dict[int, Spent]) -> None:
    """Enter what steps have taken: here, or in a worker process."""
    for number, more in spent.items():
        seconds, cpu, operations = _spent.get(number, (0.0, 0.0, 0))
        _spent[number] = (seconds + more[0], cpu + more[1], operations + more[2])


def taken() -> dict[int, Spent]:
    """What each step has taken since this was last asked."""
    found = dict(_spent)
    _spent.clear()
    return found
