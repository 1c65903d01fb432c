"""Free disk space."""

from __future__ import annotations

import shutil
from pathlib import Path


def free_disk(place: str) -> int:
    """Free bytes of the disk that a file or folder would be written to."""
    path = Path(place).absolute()
    while not path.exists():
        path = path.parent
    return shutil.disk_usage(path).free
