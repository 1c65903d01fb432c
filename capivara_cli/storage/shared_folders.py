"""Folders that can be computed again, and that several processes use: made by one of them, opened by all."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from capivara_cli import console
from capivara_cli.errors import CapivaraError
from capivara_cli.storage.arrays import DamagedArrays
from capivara_cli.storage.claims import Claims, claim_path, read_claim
from capivara_cli.storage.files import replacing_folder

T = TypeVar("T")


def opened_or_made(folder: Path, opened: Callable[[Path], T], make: Callable[[Path], None]) -> T:
    """What ``opened`` returns for a folder. A missing or damaged folder is made first, and damage is reported.

    ``make`` writes the content into an empty folder, which then gets its name. If another process is making the folder,
    wait for it. ``opened`` raises ``DamagedArrays`` for a damaged folder. Raises ``CapivaraError`` if a new folder is
    damaged.
    """
    found, _ = _try(folder, opened)
    if found is not None:
        return found
    with waiting_turn(folder):
        found, damage = _try(folder, opened)
        if found is not None:
            return found
        if damage:
            console.warn(f"{folder}: damaged ({damage}), so it is made again")
        with replacing_folder(folder) as partial:
            make(partial)
        found, damage = _try(folder, opened)
    if found is None:
        raise CapivaraError(
            f"{folder}: damaged while it was written ({damage or 'it is gone'})", "check the disk, and try again"
        )
    return found


def _try(folder: Path, opened: Callable[[Path], T]) -> tuple[T | None, str]:
    """The opened folder, or None and what is damaged; "" if there is no such folder."""
    if not folder.exists():
        return None, ""
    try:
        return opened(folder), ""
    except DamagedArrays as error:
        return None, str(error)


@contextlib.contextmanager
def waiting_turn(path: Path) -> Iterator[None]:
    """Hold the claim on a path for this process; if another process holds it, say so and wait."""
    claims = Claims(path.parent)
    try:
        with claims.waiting(path.name, patience=0) as claim:
            if claim is not None:
                yield
                return
        found = read_claim(claim_path(path))
        name = found.holder.name if found and found.holder else "another process"
        console.say(f"{path}: {name} is writing it; waiting for its end")
        with claims.waiting(path.name):
            yield
    finally:
        claims.close()
