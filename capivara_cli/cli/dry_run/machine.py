"""What this machine is taken to be capable of, where nothing was measured: operations per second, watts, memory."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from capivara_cli.costs import cpu_power
from capivara_cli.costs.sampler import WATTS_PER_GB

_CORE_GFLOPS = 40.0
"""Of one processor core in float32, sustained over a transformer's layers; measured on two cores of a server."""
_CARDS = {
    "h200": (120.0, 600.0), "h100": (100.0, 600.0), "a100": (60.0, 350.0), "l40": (50.0, 300.0), "a6000": (35.0, 270.0),
    "rtx 4090": (50.0, 380.0), "rtx 3090": (25.0, 320.0), "rtx 8000": (25.0, 250.0), "v100": (30.0, 270.0),
    "a10": (25.0, 140.0), "l4": (20.0, 70.0), "t4": (10.0, 70.0),
}  # fmt: skip
"""TFLOP/s sustained in half precision, about an eighth to a half of what is advertised, and watts at work."""
_OTHER = {"cuda": (20.0, 250.0), "mps": (3.0, 25.0)}


@dataclass(frozen=True)
class Machine:
    """``flops``: operations per second; ``gpu_watts``: of a GPU at work; ``memory``: bytes that are free."""

    device: str
    name: str
    flops: float
    gpu_watts: float
    memory: int
    cores: int

    def watts(self, memory: float, threads: float | None = None) -> float:
        """Of work that takes so much memory (bytes) and keeps so many threads of the processor busy.

        When nobody knows: one beside a GPU, else all.
        """
        busy = threads if threads is not None else 1.0 if self.gpu_watts else self.cores
        return self.gpu_watts + busy * cpu_power.here().watts_per_thread + memory / 1e9 * WATTS_PER_GB


def machine(device: str) -> Machine:
    """This machine with the work on ``device`` (cpu, cuda, cuda:1, mps)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if device.startswith("cuda"):
        return _card(device, cores)
    import psutil

    memory = psutil.virtual_memory().available
    if device == "mps":
        teraflops, watts = _OTHER["mps"]
        return Machine(device, "an Apple GPU", teraflops * 1e12, watts, memory, cores)
    name = f"{cores} core{'s' * (cores > 1)}"
    return Machine(device, name, cores * _CORE_GFLOPS * 1e9, 0.0, memory, cores)


def _card(device: str, cores: int) -> Machine:
    import torch

    name = torch.cuda.get_device_name(device)
    teraflops, watts = next((figures for mark, figures in _CARDS.items() if mark in name.lower()), _OTHER["cuda"])
    return Machine(device, name, teraflops * 1e12, watts, torch.cuda.mem_get_info(device)[0], cores)


def free_disk(place: str) -> int:
    """Bytes that are free where a file or folder would be put."""
    path = Path(place).absolute()
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free
