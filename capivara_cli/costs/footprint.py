"""The cost of one piece of work, and whether its power is plausible."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from capivara_cli.costs.per_step import StepCost

JOULES_PER_KWH = 3.6e6
_IDLE = 0.05
"""The smallest share of its limit that a GPU or a processor draws; idle cards draw 7 to 15 %."""
_OVER = 1.1
"""How much of its limit a device may draw for a while."""


@dataclass(frozen=True)
class Power:
    """The mean power of a device while this process used it, in watts, and the range that it can draw."""

    device: str
    watts: float
    least: float
    most: float

    @classmethod
    def measured(cls, device: str, watts: float, limit: float) -> Power:
        """The power of a whole device, idle power included; ``limit`` in watts, 0 if unknown."""
        return cls(device, watts, _IDLE * limit, _OVER * limit)

    @property
    def plausible(self) -> bool | None:
        """Whether the device can draw this power; None if its limit is unknown."""
        return self.least <= self.watts <= self.most if self.most else None

    def __str__(self) -> str:
        return f"{self.device}: {self.watts:.3g} W, and it draws {self.least:.3g} to {self.most:.3g} W"


@dataclass(frozen=True)
class Footprint:
    """The cost of one piece of work: energy in kWh, ``intensity`` in g CO2e per kWh.

    ``source`` is "measured", "modelled" or "GPU measured, CPU modelled"; ``power`` has the method for cpu, gpu and ram.
    ``flops`` is None if no model ran. ``watts`` are the mean powers of the devices; ``plausible`` is whether all of
    them can draw so much.
    """

    stage: str
    seconds: float
    cpu_seconds: float
    kwh_cpu: float
    kwh_gpu: float
    kwh_ram: float
    intensity: float
    country: str
    intensity_source: str
    source: str
    hardware: str
    device: str
    flops: int | None
    power: dict[str, str | None]
    watts: dict[str, float] = field(default_factory=dict)
    plausible: bool | None = None

    @property
    def kwh(self) -> float:
        return self.kwh_cpu + self.kwh_gpu + self.kwh_ram

    @property
    def co2e_g(self) -> float:
        """Grams of CO2 equivalent."""
        return self.kwh * self.intensity

    def of_steps(self, names: Sequence[str], spent: Mapping[int, StepCost]) -> list[Footprint]:
        """Split this cost among the steps of a plan. With one step, or without ``spent``, return it as the only item.

        ``spent``: the cost of each step by its number. Reading, writing and starting are split in proportion to the
        work of the steps: by CPU seconds for the energy of the processor, by seconds for everything else.
        """
        if len(names) < 2 or not spent:
            return [self]
        known = [spent.get(number, StepCost()) for number in range(len(names))]
        seconds, cpu, flops = (_shares([each[place] for each in known]) for place in range(3))
        return [
            replace(
                self,
                stage=name,
                seconds=round(self.seconds * seconds[number], 3),
                cpu_seconds=round(self.cpu_seconds * cpu[number], 3),
                kwh_cpu=self.kwh_cpu * cpu[number],
                kwh_gpu=self.kwh_gpu * seconds[number],
                kwh_ram=self.kwh_ram * seconds[number],
                flops=round(self.flops * flops[number]) or None if self.flops else None,
            )
            for number, name in enumerate(names)
        ]

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "kwh": self.kwh, "co2e_g": self.co2e_g}

    def __str__(self) -> str:
        return f"{self.kwh * 1000:.3g} Wh, {self.co2e_g:.2g} g CO2e ({self.source})"


def _shares(parts: Sequence[float]) -> list[float]:
    """The share of each part in their sum; equal shares where the sum is 0."""
    total = sum(parts)
    return [each / total if total else 1 / len(parts) for each in parts]


def all_plausible(powers: list[Power]) -> bool | None:
    """Whether all powers are plausible; None if no limit is known."""
    known = [each.plausible for each in powers if each.plausible is not None]
    return all(known) if known else None
