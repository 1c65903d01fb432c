"""The energy of NVIDIA GPUs by their counters, and the share of this process and its children.

A counter measures a whole GPU, but several commands of a pipe may use it. The energy between two samples is split
equally among the processes that have a context on the GPU at the second sample. So the shares add up to the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass
class Gpu:
    """One GPU: our share in ``joules``, and the joules of the ``whole`` GPU in the ``seconds`` of our use."""

    name: str
    limit: float
    handle: Any
    counted: float
    joules: float = 0.0
    whole: float = 0.0
    seconds: float = 0.0


class Gpus:
    """All GPUs that the driver lists; none without a driver."""

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        self.all = [self._open(index) for index in range(nvml.nvmlDeviceGetCount())] if nvml else []

    @classmethod
    def of_this_machine(cls) -> Gpus:
        """The GPUs of this machine that pynvml can read; none without pynvml."""
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
        """Joules since a fixed moment. For a GPU without a counter (before Volta), estimated from its present power."""
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

        In a container the driver's process ids may differ from ours. Then the open files of our processes are checked.
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
    """Whether a process has opened the device file of a GPU."""
    try:
        return any(str(link.readlink()) == f"/dev/nvidia{index}" for link in Path(f"/proc/{process}/fd").iterdir())
    except OSError:
        return False
