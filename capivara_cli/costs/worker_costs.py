"""Costs that worker processes measured themselves and reported: Ray actors, on this machine or others.

The memory and GPU use of a child process is sampled here; its CPU time is lost if it is killed, so that is added.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from capivara_cli.costs import process_tree
from capivara_cli.costs.footprint import Footprint

_NAMES = {each.name for each in fields(Footprint)}


class WorkerCosts:
    """The last report of each worker, by machine and process."""

    def __init__(self) -> None:
        self._reported: dict[tuple[str, int], Footprint] = {}
        self._children: set[tuple[str, int]] = set()

    def report(self, machine: str, process: int, here: bool, cost: Mapping[str, Any]) -> None:
        """Replace the report of a worker by its cost so far. ``here``: it runs on this machine."""
        name = machine, process
        self._reported[name] = Footprint(**{key: value for key, value in cost.items() if key in _NAMES})
        if here and process in process_tree.processes():
            self._children.add(name)

    def added(self, own: Footprint, ended: bool) -> Footprint:
        """``own`` with the costs of the workers added.

        When all have ``ended``, the CPU time of child processes is added as well, and the reports are deleted. Seconds
        are not added, because workers run at the same time; nor are operations, which workers report separately.
        """
        for name, cost in list(self._reported.items()):  # another thread may add reports
            if name not in self._children:
                own = _sum(own, cost)
            elif ended:
                own = _sum(own, replace(cost, kwh_gpu=0.0, kwh_ram=0.0))
        if ended:
            self._reported.clear()
            self._children.clear()
        return own


def _sum(own: Footprint, other: Footprint) -> Footprint:
    known = [each.plausible for each in (own, other) if each.plausible is not None]
    return replace(
        own,
        cpu_seconds=round(own.cpu_seconds + other.cpu_seconds, 3),
        kwh_cpu=own.kwh_cpu + other.kwh_cpu,
        kwh_gpu=own.kwh_gpu + other.kwh_gpu,
        kwh_ram=own.kwh_ram + other.kwh_ram,
        hardware=_joined(own.hardware, other.hardware, " + "),
        source=_joined(own.source, other.source, ", "),
        plausible=all(known) if known else None,
    )


def _joined(one: str, other: str, between: str) -> str:
    return between.join(dict.fromkeys([*one.split(between), *other.split(between)]))
