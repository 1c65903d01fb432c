"""What is free on this machine: memory where models run, and disk space."""

from __future__ import annotations

import shutil
from pathlib import Path


def free_memory(device: str) -> int:
    """Bytes that are free on ``device``: on a GPU ("cuda", "cuda:1"), else of this machine."""
    if device.startswith("cuda"):
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    import psutil

    return int(psutil.virtual_memory().available)


def free_disk(place: str) -> int:
    """Bytes that are free where a file or folder would be written."""
    path = Path(place).absolute()
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free
