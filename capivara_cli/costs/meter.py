"""Measures the cost of work: the difference between what this process had spent before and after it."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from capivara_cli import console
from capivara_cli.costs import carbon_intensity, codecarbon_counter, cpu_power, process_tree
from capivara_cli.costs.codecarbon_counter import ProcessorEnergy
from capivara_cli.costs.flops import Operations
from capivara_cli.costs.footprint import JOULES_PER_KWH, Footprint, Power, all_plausible
from capivara_cli.costs.sampler import WATTS_PER_GB, Sampler, Usage
from capivara_cli.costs.worker_costs import WorkerCosts

_NVML = "measured: NVML, shared equally among the processes on it"
_NO_COUNTER = "NOT COUNTED: there is no counter that can be read"
_STARTING = 10.0  # s: the start of an interpreter and its imports take less


@dataclass(frozen=True)
class Spent:
    """What this process had spent at a moment: seconds, CPU seconds, operations, memory and GPU energy."""

    at: float
    cpu: float
    flops: int
    held: Usage

    def until(self, later: Spent) -> Spent:
        """What was spent between the two moments."""
        return Spent(later.at - self.at, later.cpu - self.cpu, later.flops - self.flops, self.held.until(later.held))


class Account:
    """The spending of this process, for all its meters: the number of running meters, and where the last one ended."""

    def __init__(self, operations: Operations, workers: WorkerCosts) -> None:
        self.operations, self.workers = operations, workers
        self.sampler = Sampler()
        self.ended: Spent | None = None
        self._open = 0

    def now(self) -> Spent:
        """What was spent so far."""
        held = self.sampler.sample()
        return Spent(time.monotonic(), process_tree.cpu_seconds(held.processes), self.operations.total, held)

    def begin(self, now: bool) -> Spent:
        """Start a meter; return the point that it measures from: the end of the last meter, so that no cost is lost.

        The first meter measures from the start of the process, interpreter and imports included. It measures from the
        present if ``now`` is true, or if the process is old: then another program uses the package.
        """
        first = self.ended is None and not now
        age = process_tree.age() if first else 0.0
        young = first and age < _STARTING
        self.sampler.begin(age if young else 0.0)
        if young:
            self.ended = Spent(time.monotonic() - age, 0.0, 0, Usage())
        elif now or not self._open or self.ended is None:
            self.ended = self.now()
        self._open += 1
        return self.ended

    def end(self) -> None:
        """End one meter."""
        self._open -= 1
        self.sampler.end()


class Meter:
    """Measures the work inside ``with Meter(...)``: of this process and the commands it ran.

    A thread samples memory and GPUs. After ten seconds another thread loads codecarbon, if that can measure the
    processor. Neither prints anything, opens a socket or writes a file. The first meter of a process counts from the
    start of the process, unless ``now`` is set. ``modelled``: without codecarbon. ``tracked=False`` measures nothing.
    """

    def __init__(
        self, account: Account, stage: str, where: carbon_intensity.Intensity | None = None, *,
        tracked: bool = True, now: bool = False, modelled: bool = False,
    ) -> None:  # fmt: skip
        self.stage = stage
        self.where = where or carbon_intensity.world()
        self._account = account
        self._tracked, self._now = tracked, now
        self._tracker = (
            codecarbon_counter.Tracker() if tracked and not modelled and codecarbon_counter.can_measure() else None
        )
        self._begun = Spent(0.0, 0.0, 0, Usage())

    def __enter__(self) -> Meter:
        if self._tracked:
            self._begun = self._account.begin(self._now)
        if self._tracker:
            self._tracker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._tracker:
            self._tracker.stop()
        if self._tracked:
            self._account.end()

    def footprint(self) -> Footprint:
        """The cost of the work; ends the measurement. Warns of power values that the devices cannot have drawn."""
        measured = self._tracker.stop() if self._tracker else None
        now = self._account.now()
        self._account.ended = now
        cost, powers = self._priced(self._begun.until(now), measured)
        for each in powers:
            if each.plausible is False:
                console.warn(f"the power that was found for the {each}: do not publish this footprint")
        return self._account.workers.added(cost, ended=True)

    def so_far(self) -> Footprint:
        """The cost of the work until now, with the processor's part modelled; the measurement continues."""
        cost, _ = self._priced(self._begun.until(self._account.now()), None)
        return self._account.workers.added(cost, ended=False)

    def _priced(self, spent: Spent, measured: ProcessorEnergy | None) -> tuple[Footprint, list[Power]]:
        """The cost of what was spent, and the mean power of each device."""
        chip, gpus = cpu_power.this_processor(), self._account.sampler.gpus
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
            kwh_cpu=joules / JOULES_PER_KWH,
            kwh_gpu=spent.held.gpu_joules / JOULES_PER_KWH,
            kwh_ram=spent.held.gb_seconds * WATTS_PER_GB / JOULES_PER_KWH,
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
            plausible=all_plausible(powers),
        )
        return cost, powers


def _in_short(cpu: bool, gpu: bool) -> str:
    """How the power of the processor, and of a GPU that was used, was found."""
    if gpu and not cpu:
        return "GPU measured, CPU modelled"
    return "measured" if cpu else "modelled"


def _device(gpu: bool) -> str:
    """The device that models ran on: cuda, mps or cpu."""
    torch = _imported("torch")
    if gpu or (torch and torch.cuda.is_initialized()):
        return "cuda"
    return "mps" if torch and torch.backends.mps.is_available() and torch.mps.driver_allocated_memory() else "cpu"


def _imported(name: str) -> Any:
    """A module that is imported as a whole, or None. Another thread may be in the middle of its import."""
    module = sys.modules.get(name)
    return None if module is None or getattr(module.__spec__, "_initializing", False) else module
