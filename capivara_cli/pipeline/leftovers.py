"""Removal of what killed processes leave in a shared output folder: claims, journals and temporary files."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from capivara_cli.storage import holders
from capivara_cli.storage.found_claims import STALE, claim_path, read_claim, remove_stale


def remove(folder: Path, is_done: Callable[[str], bool], final: bool, other_folders: Sequence[Path] = ()) -> None:
    """Remove stale claims and journals of finished files, and temporary files of dead processes.

    ``is_done`` returns whether a file name is finished. Temporary files in ``other_folders`` are removed too.
    ``final``: all work is finished. Then stale claims and journals of files that nobody will finish, because their
    inputs are gone, are removed too, and temporary files of other machines without waiting.
    """
    for place in (folder, *other_folders):
        for path in list(place.glob(".*")) if place.is_dir() else []:
            target, dot, kind = path.name[1:].rpartition(".")
            if ".partial-" in path.name:
                _remove_partial(path, claim_path(folder / path.name[1:].rpartition(".partial-")[0]), final)
            elif place is folder and dot and kind in ("claim", "journal") and (is_done(target) or final):
                seen = read_claim(claim_path(folder / target))
                if seen is not None and seen.stale:
                    remove_stale(seen)
                if kind == "journal" and (seen is None or seen.stale or is_done(target)):
                    path.unlink(missing_ok=True)


def _remove_partial(partial: Path, claim: Path, final: bool) -> None:
    """Remove a temporary file if its process is dead.

    A process of another machine counts as dead if it has no claim on the file and has not written for ``STALE`` s.
    """
    host, _, process = partial.name.rpartition(".partial-")[2].rpartition("-")[0].rpartition("-")
    seen = read_claim(claim)
    if seen and not seen.stale and seen.holder and seen.holder.name == f"{host}:{process}":
        return
    if host == holders.host() and process.isdigit():
        removable = not holders.start_time(int(process))
    else:
        removable = final or time.time() - _modified(partial) > STALE
    if removable and partial.is_dir():
        shutil.rmtree(partial, ignore_errors=True)
    elif removable:
        partial.unlink(missing_ok=True)


def _modified(path: Path) -> float:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_mtime
    return 0.0
