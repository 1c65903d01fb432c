"""The cache folders of this machine, their sizes, and what is in them. Nothing is created."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict

from capivara_cli.storage import cache

_SECONDS = 1.0
"""A cache with very many files is counted no longer than this."""
_NOT_COUNTED = -1


class Cache(TypedDict):
    """A cache: ``parts`` are its entries with their bytes, the largest first; ``problem`` says why it cannot be read.

    ``complete`` is False if there were too many files to count: ``bytes`` is less than its size then.
    """

    cache: str
    folder: str
    bytes: int
    complete: bool
    parts: dict[str, int]
    problem: str


def caches() -> list[Cache]:
    """Every cache that a command may use."""
    return [_cache(name, place) for name, place in _PLACES.items()]


def _cache(name: str, place: Callable[[], Path]) -> Cache:
    found: Cache = {"cache": name, "folder": "", "bytes": 0, "complete": True, "parts": {}, "problem": ""}
    try:
        folder = place()
        found["folder"] = str(folder)
        deadline = time.monotonic() + _SECONDS
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name) if folder.is_dir() else []
        sizes = {_shown(entry.name): _bytes(entry, deadline) for entry in entries}
    except (OSError, ValueError, ImportError) as error:
        found["problem"] = str(getattr(error, "strerror", None) or error)
        return found
    found["complete"] = _NOT_COUNTED not in sizes.values()
    found["parts"] = dict(sorted(((part, max(size, 0)) for part, size in sizes.items()), key=lambda item: -item[1]))
    found["bytes"] = sum(found["parts"].values())
    return found


def _bytes(entry: os.DirEntry[str], deadline: float) -> int:
    """The bytes of a file or of all files in a folder; links are not followed. ``_NOT_COUNTED`` past the deadline."""
    if not entry.is_dir(follow_symlinks=False):
        return 0 if entry.is_symlink() else entry.stat().st_size
    total = 0
    for folder, _, names in os.walk(entry.path):
        if time.monotonic() > deadline:
            return _NOT_COUNTED
        for name in names:
            path = os.path.join(folder, name)  # noqa: PTH118  a cache may have a million files
            if not os.path.islink(path):  # noqa: PTH114
                total += os.lstat(path).st_size
    return total


def _shown(name: str) -> str:
    """``models--ORG--NAME`` of the hub's cache -> "ORG/NAME"."""
    kind, separator, rest = name.partition("--")
    return rest.replace("--", "/") if separator and kind in ("models", "datasets") else name


def _hub() -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def _argos() -> Path:
    from capivara_cli.stages.translators.argos import packages_folder

    return packages_folder()


def _home(*parts: str) -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", *parts)


_PLACES: dict[str, Callable[[], Path]] = {
    "capivara": cache.folder,
    "Hugging Face hub": _hub,
    "Argos packages": _argos,
    "open_clip": lambda: Path.home() / ".cache" / "clip",
    "torch": lambda: Path(os.environ.get("TORCH_HOME") or _home("torch")),
}
