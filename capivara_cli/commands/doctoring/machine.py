"""The machine: versions of the libraries, devices with the precision they multiply in, memory and disk."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypedDict

from capivara_cli import __version__
from capivara_cli.costs.cpu_power import described
from capivara_cli.pipeline.device import cores, free_memory
from capivara_cli.storage import cache

LIBRARIES = (
    "torch", "open_clip_torch", "transformers", "peft", "huggingface-hub", "argostranslate", "ctranslate2",
    "sentencepiece", "webdataset", "numpy", "pillow", "scikit-learn", "codecarbon", "typer", "rich",
)  # fmt: skip


class Device(TypedDict):
    """A device: its name for ``--device``, what it is, free bytes, and the precision of ``--precision auto``."""

    device: str
    what: str
    free: int
    precision: str


class Disk(TypedDict):
    """A disk by what is on it, with its folder, and free and all bytes."""

    what: str
    folder: str
    free: int
    total: int


def versions() -> dict[str, str]:
    """Each library -> its version, "" if it is not installed or its metadata are damaged."""
    found = {"capivara": __version__, "python": platform.python_version(), "system": platform.platform()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except (PackageNotFoundError, OSError, ValueError, KeyError):
            found[name] = ""
    return found


def devices() -> list[Device]:
    """The devices that torch can use, the one of ``--device auto`` first. Raises ``ImportError`` if torch is broken."""
    import torch

    found = [_device(f"cuda:{number}") for number in range(torch.cuda.device_count())]
    found += [_device("mps")] if torch.backends.mps.is_available() else []
    return [*found, _device("cpu")]


def _device(name: str) -> Device:
    from capivara_cli.models.precision import supports_bf16

    what = ", ".join(_facts(name))
    return {
        "device": name,
        "what": what,
        "free": free_memory(name),
        "precision": "bf16" if supports_bf16(name) else "fp32",
    }


def _facts(name: str) -> Iterator[str]:
    import torch

    if name.startswith("cuda"):
        yield torch.cuda.get_device_name(name)
        yield f"capability {'.'.join(map(str, torch.cuda.get_device_capability(name)))}"
    elif name == "mps":
        yield "the GPU of this Mac"
    else:
        yield described()[0]
        yield f"{cores()} cores"
        yield torch.backends.cpu.get_cpu_capability().lower().replace(" ", "-")
        for feature, test in (("avx512_bf16", "_is_avx512_bf16_supported"), ("amx", "_is_amx_tile_supported")):
            if getattr(torch.cpu, test, bool)():
                yield feature


def memory() -> dict[str, int]:
    """Free and all bytes of memory."""
    import psutil

    found: Any = psutil.virtual_memory()
    return {"free": int(found.available), "total": int(found.total)}


def disks() -> list[Disk]:
    """The disks of the current folder, of the caches, and of temporary files; one that cannot be asked is left out."""
    import tempfile

    places = {"this folder": Path.cwd(), "the cache": cache.folder(), "temporary files": Path(tempfile.gettempdir())}
    found: dict[int, Disk] = {}
    for what, path in places.items():
        try:
            place = next(each for each in (path, *path.parents) if each.exists())
            free, number = shutil.disk_usage(place), place.stat().st_dev
        except (OSError, StopIteration):
            continue
        if number in found:
            found[number]["what"] += f", {what}"
        else:
            found[number] = {"what": what, "folder": str(place), "free": free.free, "total": free.total}
    return [*found.values()]
