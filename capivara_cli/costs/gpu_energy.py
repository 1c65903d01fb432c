"""The energy of NVIDIA GPUs, by their own counters, and which part of it is ours.

A counter counts for a whole GPU, and several commands of a pipe may use one GPU. What it counts between two samples
is split equally among the processes that hold a context on it at the second sample. So all shares add up to the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class Gpu:
    """One GPU: our ``joules``, and the joules of the ``whole`` GPU in the ``seconds`` in which we used it."""

    name: str
    limit: float
    handle: Any
    counted: float
    joules: float = 0.0
    whole: float = 0.0
    seconds: float = 0.0


class Gpus:
    """All GPUs that the driver shows; none where there is no driver."""

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self.all = [self._open(index) for index in range(nvml.nvmlDeviceGetCount())] if nvml else []

    @classmethod
    def here(cls) -> Gpus:
        if not any(Path("/dev").glob("nvidia[0-9]*")):
            return cls(None)
        try:
            import pynvml
        except ImportError:
            return cls(None)
        try:
            pynvml.nvmlInit()
            return cls(pynvml)
        except pynvml.NVMLError:
            return cls(None)

    def _open(self, index: int) -> Gpu:
        handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
        name = self._nvml.nvmlDeviceGetName(handle)
        try:
            limit = self._nvml.nvmlDeviceGetPowerManagementLimit(handle) / 1000
        except self._nvml.NVMLError:
            limit = 0.0
        gpu = Gpu(name if isinstance(name, str) else name.decode(), limit, handle, 0.0)
        gpu.counted = self._counter(gpu, 0.0)
        return gpu

    def sample(self, processes: Sequence[int], seconds: float) -> None:
        """Add the energy used since the last sample, ``seconds`` ago; ``processes`` are ours."""
        for index, gpu in enumerate(self.all):
            before, gpu.counted = gpu.counted, self._counter(gpu, seconds)
            share = self._share(index, gpu, processes)
            if share:
                gpu.joules += share * (gpu.counted - before)
                gpu.whole += gpu.counted - before
                gpu.seconds += seconds

    def _counter(self, gpu: Gpu, seconds: float) -> float:
        """Joules since a fixed moment; from the present power where a GPU has no counter (before Volta)."""
        try:
            return float(self._nvml.nvmlDeviceGetTotalEnergyConsumption(gpu.handle)) / 1000
        except self._nvml.NVMLError:
            pass
        try:
            return gpu.counted + float(self._nvml.nvmlDeviceGetPowerUsage(gpu.handle)) / 1000 * seconds
        except self._nvml.NVMLError:
            return gpu.counted

    def _share(self, index: int, gpu: Gpu, processes: Sequence[int]) -> float:
        """Our share of the processes on a GPU.

        In a container the driver's process ids may not be ours; then the open files of our processes tell.
        """
        try:
            users = [each.pid for each in self._nvml.nvmlDeviceGetComputeRunningProcesses(gpu.handle)]
        except self._nvml.NVMLError:
            users = []
        ours = len(set(users) & set(processes))
        if not ours and not any(Path(f"/proc/{user}").exists() for user in users):
            ours = sum(_holds(process, index) for process in processes)
        return min(1.0, ours / max(len(users), 1))


def _holds(process: int, index: int) -> bool:
    """Whether a process has opened a GPU."""
    try:
        return any(str(link.readlink()) == f"/dev/nvidia{index}" for link in Path(f"/proc/{process}/fd").iterdir())
    except OSError:
        return False
