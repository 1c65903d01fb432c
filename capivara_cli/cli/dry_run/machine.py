"""Free memory of the device that models run on, and free disk space."""

from __future__ import annotations

import shutil
from pathlib import Path


def free_memory(device: str) -> int:
    """Free bytes of a GPU ("cuda", "cuda:1"); for other devices, of the memory of this machine."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    return int(psutil.virtual_memory().available)


def free_disk(place: str) -> int:
    """Free bytes of the disk that a file or folder would be written to."""
    path = Path(place).absolute()
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free
