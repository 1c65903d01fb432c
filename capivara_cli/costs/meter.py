"""Measures work: the difference of what this process had spent before and after."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from capivara_cli import console
from capivara_cli.costs import carbon_intensity, codecarbon_counter, cpu_power, flops, process_tree, worker_costs
from capivara_cli.costs.footprint import Footprint, Power, judged
from capivara_cli.costs.sampler import WATCH, WATTS_PER_GB, Seen

_JOULES_PER_KWH = 3.6e6
_NVML = "measured: NVML, shared equally among the processes on it"
_NO_COUNTER = "NOT COUNTED: there is no counter that can be read"
_STARTING = 10.0  # s: longer than an interpreter and its modules take to be loaded


@dataclass(frozen=True)
class Spent:
    """What this process had spent at a moment."""

    at: float
    cpu: float
    flops: int
    seen: Seen

    @classmethod
    def now(cls) -> Spent:
        seen = WATCH.look()
        return cls(time.monotonic(), process_tree.cpu_seconds(seen.processes), flops.total(), seen)

    def until(self, later: Spent) -> Spent:
        """What was spent between the two."""
        return Spent(later.at - self.at, later.cpu - self.cpu, later.flops - self.flops, self.seen.until(later.seen))


@dataclass
class _Account:
    """Of this process: how many meters are at work, and where the last account ended."""

    open: int = 0
    ended: Spent | None = None

    def begin(self, now: bool) -> Spent:
        """Where an account begins: where the last one ended, so that nothing between two stages is lost.

        The first one begins with the process, interpreter and modules included, unless it is to begin ``now`` or that
        is long ago: then this is no command line but a program that uses the package.
        """
        first = self.ended is None and not now
        age = process_tree.age() if first else 0.0
        young = first and age < _STARTING
        WATCH.begin(age if young else 0.0)
        if young:
            self.ended = Spent(time.monotonic() - age, 0.0, 0, Seen())
        elif now or not self.open or self.ended is None:
            self.ended = Spent.now()
        self.open += 1
        return self.ended

    def end(self) -> None:
        self.open -= 1
        WATCH.end()


_account = _Account()


class Meter:
    """Measures the work inside ``with Meter(...)``: this process and the commands it ran.

    A thread looks at memory and GPUs now and then; codecarbon is loaded by another one, after ten, and only where it
    can measure the processor. Neither says anything, opens a socket or writes a file. The first of a process counts
    from its start, unless it is only to measure what happens from ``now`` on. ``modelled``: without codecarbon.
    """

    def __init__(
        self, stage: str, where: carbon_intensity.Intensity | None = None, *,
        tracked: bool = True, now: bool = False, modelled: bool = False,
    ) -> None:  # fmt: skip
        self.stage = stage
        self.where = where or carbon_intensity.world()
        self._tracked, self._now = tracked, now
        self._tracker = (
            codecarbon_counter.Tracker() if tracked and not modelled and codecarbon_counter.can_measure() else None
        )
        self._begun = Spent(0.0, 0.0, 0, Seen())

    def __enter__(self) -> Meter:
        if self._tracked:
            self._begun = _account.begin(self._now)
        if self._tracker:
            self._tracker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._tracker:
            self._tracker.stop()
        if self._tracked:
            _account.end()

    def footprint(self) -> Footprint:
        """What the work cost up to now; ends the measurement. Warns of power that the devices cannot have drawn."""
        measured = self._tracker.stop() if self._tracker else None
        now = Spent.now()
        _account.ended = now
        cost, powers = self._priced(self._begun.until(now), measured)
        for each in powers:
            if each.plausible is False:
                console.warn(f"the power that was found for the {each}: do not publish this footprint")
        return worker_costs.added(cost, ended=True)

    def so_far(self) -> Footprint:
        """What the work has cost by now, the processor's part modelled; the measurement goes on."""
        return worker_costs.added(self._priced(self._begun.until(Spent.now()), None)[0], ended=False)

    def _priced(self, spent: Spent, measured: codecarbon_counter.Measured | None) -> tuple[Footprint, list[Power]]:
        """Energy and CO2e of what was spent, and the mean power of each device."""
        chip, gpus = cpu_power.here(), WATCH.gpus
        device = _device(bool(gpus))
        if measured:
            joules = spent.cpu * measured.joules / measured.busy
            how = f"measured: {measured.how} by codecarbon, our part of the busy time"
            powers = [Power.measured("processor", measured.watts, chip.watts)]
        else:
            joules, how = spent.cpu * chip.watts_per_thread, chip.source
            powers = [Power("processor", joules / spent.at, 0.0, chip.watts)]
        powers += [Power.measured(gpu.name, gpu.whole / gpu.seconds, gpu.limit) for gpu in gpus]
        cost = Footprint(
            stage=self.stage,
            seconds=round(spent.at, 3),
            cpu_seconds=round(spent.cpu, 3),
            kwh_cpu=joules / _JOULES_PER_KWH,
            kwh_gpu=spent.seen.gpu_joules / _JOULES_PER_KWH,
            kwh_ram=spent.seen.gb_seconds * WATTS_PER_GB / _JOULES_PER_KWH,
            **self.where.entry,
            source=_in_short(bool(measured), bool(gpus)),
            hardware=" + ".join(dict.fromkeys([*(gpu.name for gpu in gpus), chip.name])),
            device=device,
            flops=spent.flops or None,
            power={
                "cpu": how,
                "gpu": _NVML if gpus else _NO_COUNTER if device != "cpu" else None,
                "ram": f"modelled: {WATTS_PER_GB:g} W per GB resident",
            },
            watts={each.device: round(each.watts, 3) for each in powers},
            plausible=judged(powers),
        )
        return cost, powers


def _in_short(cpu: bool, gpu: bool) -> str:
    """How the power of the processor and of the GPU, if one worked, was found."""
    if gpu and not cpu:
        return "GPU measured, CPU modelled"
    return "measured" if cpu else "modelled"


def _device(gpu: bool) -> str:
    """Where models ran: cuda, mps or cpu."""
    torch: Any = sys.modules.get("torch")
    if gpu or (torch and torch.cuda.is_initialized()):
        return "cuda"
    return "mps" if torch and torch.backends.mps.is_available() and torch.mps.driver_allocated_memory() else "cpu"
