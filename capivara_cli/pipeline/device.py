"""The device that models run on, its free memory, and the cores of this process."""

from __future__ import annotations

import functools
import os

from capivara_cli.errors import CapivaraError


@functools.cache
def resolved(device: str) -> str:
    """``auto`` -> "cuda", "mps" or "cpu", the first that this machine has; any other name as it is.

    ``cpu`` does not import torch. Raises ``CapivaraError`` for a device that torch does not know or cannot use.
    """
    if device == "cpu":
        return device
    import torch

    if device == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.ones(1, device=device).item()
    except (RuntimeError, AssertionError, ValueError) as error:  # which of them depends on how torch was built
        why = str(error).partition("\n")[0]
        raise CapivaraError(f"--device {device}: cannot be used: {why}", "use auto or cpu") from error
    return device


def free_memory(device: str) -> int:
    """Free bytes of a GPU ("cuda", "cuda:1"); for other devices, of the memory of this machine."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    return int(psutil.virtual_memory().available)


def cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
