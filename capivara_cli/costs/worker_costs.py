"""Costs that other processes have found themselves and told us: actors, on this machine or others.

Of one that descends from this process memory and GPUs are seen from here, its processor time is not when it is killed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from capivara_cli.costs import process_tree
from capivara_cli.costs.footprint import Footprint

_told: dict[tuple[str, int], Footprint] = {}
_ours: set[tuple[str, int]] = set()
_NAMES = {each.name for each in fields(Footprint)}


def tell(machine: str, process: int, here: bool, cost: Mapping[str, Any]) -> None:
    """Enter what a process has cost so far, in place of what it has told before; ``here``: it is on this machine."""
    name = machine, process
    _told[name] = Footprint(**{key: value for key, value in cost.items() if key in _NAMES})
    if here and process in process_tree.processes():
        _ours.add(name)


def added(own: Footprint, ended: bool) -> Footprint:
    """With what was told; when all has ``ended``, it is forgotten, and of our own the processor time is added.

    Seconds stay ours, for they overlap, and so do operations, which are told apart.
    """
    for name, cost in list(_told.items()):  # another thread may tell more
        if name not in _ours:
            own = _sum(own, cost)
        elif ended:
            own = _sum(own, replace(cost, kwh_gpu=0.0, kwh_ram=0.0))
    if ended:
        _told.clear()
        _ours.clear()
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
