"""Claims on files that were found in a folder: whose they are, whether they are stale, and who is said to hold them."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from capivara_cli import console
from capivara_cli.storage.files import partial_path
from capivara_cli.storage.holders import Holder, is_stopped, start_time

HEARTBEAT = 10.0
"""Seconds between two updates of a claim."""
STALE = 90.0
"""Seconds without an update after which a claim of another machine may be taken over."""
SAY_AFTER = 10.0
"""Seconds of waiting after which the holder of a claim is named."""
_SILENT = 3 * HEARTBEAT  # s: a holder that is alive updates its claim more often
_UNREADABLE = 5.0  # s: a claim is empty between two system calls, and stays empty if its process is killed there


def claim_path(path: Path) -> Path:
    """The path of the claim on a file."""
    return path.with_name(f".{path.name}.claim")


@dataclass(frozen=True)
class FoundClaim:
    """A claim that was read from its file.

    ``modified`` is the time of its last update, ``silent`` the number of seconds since then: below zero if that time is
    in the future.
    """

    path: Path
    content: bytes
    inode: int
    silent: float
    modified: float = 0.0

    @property
    def holder(self) -> Holder | None:
        """The process that holds it; None if the content is empty or incomplete."""
        return Holder.parse(self.content)

    @property
    def of_this_process(self) -> bool:
        """Whether this process holds it."""
        holder = self.holder
        return holder is not None and holder.local and holder.pid == os.getpid()

    @property
    def stale(self) -> bool:
        """Whether its process is dead, or seems to be."""
        return self.stale_after(self.silent)

    def stale_after(self, silent: float) -> bool:
        """Whether its process is dead, or seems to be, as it has not updated the claim for ``silent`` seconds."""
        holder = self.holder
        if holder is None:
            return silent > _UNREADABLE
        if holder.local:
            return start_time(holder.pid) != holder.started
        return silent > STALE

    @property
    def in_the_future(self) -> bool:
        """Whether the time of the last update is in the future, so that it says nothing."""
        return self.silent < -HEARTBEAT


def read_claim(path: Path) -> FoundClaim | None:
    """The claim in a file; None if there is none. Opening the file makes a network file system ask its server."""
    try:
        with open(path, "rb") as file:
            content, info = file.read(), os.fstat(file.fileno())
    except FileNotFoundError:
        return None
    holder = Holder.parse(content)
    now = time.time() if holder and holder.local else clock(path.parent)
    return FoundClaim(path, content, info.st_ino, now - info.st_mtime, info.st_mtime)


def clock(folder: Path) -> float:
    """The current time of the clock that sets modification times in a folder: the server's on a network file system."""
    probe = partial_path(folder / "clock")
    try:
        probe.touch()
        return probe.stat().st_mtime
    except OSError:  # a full or read-only folder
        return time.time()
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()


@dataclass
class _Sighting:
    """What this process saw of one claim: when first, with which time of the last update, and its present state."""

    claim: tuple[bytes, int]
    first: float
    first_modified: float
    modified: float
    since: float


class ClaimsOfOthers:
    """The claims that this process found taken, and how long each has not changed, by the clock of this process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._sightings: dict[Path, _Sighting] = {}
        self._said: set[tuple[bytes, str]] = set()

    def _seen(self, found: FoundClaim) -> _Sighting:
        now, claim = self._clock(), (found.content, found.inode)
        seen = self._sightings.get(found.path)
        if seen is None or seen.claim != claim:
            seen = _Sighting(claim, now, found.modified, found.modified, now)
            self._sightings[found.path] = seen
        elif seen.modified != found.modified:
            seen.modified, seen.since = found.modified, now
        return seen

    def silent(self, found: FoundClaim) -> float:
        """The number of seconds since the last update of a claim, by the clock that says more."""
        return max(found.silent, self._clock() - self._seen(found).since)

    def was_updated(self, found: FoundClaim) -> bool:
        """Whether a claim was updated since this process first saw it: its holder is alive."""
        seen = self._seen(found)
        return seen.modified != seen.first_modified

    def name_holder(self, found: FoundClaim, always: bool) -> None:
        """After ``SAY_AFTER`` s, say once who holds a claim: ``always``, or only if that process does not work."""
        holder = found.holder
        if holder is None or self._clock() - self._seen(found).first < SAY_AFTER:
            return
        name = found.path.name[1:].removesuffix(".claim")
        if holder.local and is_stopped(holder.pid):
            why = f"it is stopped: kill -CONT {holder.pid} resumes it, kill -9 {holder.pid} frees the claim"
        elif not holder.local and self.silent(found) > _SILENT:
            why = f"it is silent; after {STALE:.0f} s without a sign of life another process takes over"
        elif always:
            why = "waiting for it"
        else:
            return
        if (found.content, why) not in self._said:
            self._said.add((found.content, why))
            console.warn(f"{name} is claimed by {holder.described()}: {why}")


def remove_stale(found: FoundClaim) -> None:
    """Remove a stale claim. Several processes may try: one that moves a newer claim by mistake puts it back."""
    moved = partial_path(found.path)
    try:
        found.path.rename(moved)
    except FileNotFoundError:
        return
    try:
        with open(moved, "rb") as file:
            same = file.read() == found.content and os.fstat(file.fileno()).st_ino == found.inode
        if not same:
            _put_back(moved, found.path)
    finally:
        moved.unlink(missing_ok=True)


def _put_back(moved: Path, path: Path) -> None:
    try:
        os.link(moved, path)
    except FileExistsError:
        pass  # claimed meanwhile: the holder of the moved claim will find that it lost it
    except OSError:  # the file system has no hard links
        moved.rename(path)
