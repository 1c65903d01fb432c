"""Claims on the files of a folder: which process makes which file, visible to all machines that share the folder.

A claim is the file ``.NAME.claim``, created with ``O_EXCL``. A thread updates its modification time. A claim is stale
if its process is dead (on this machine), or if it was not updated for ``STALE`` seconds (on another machine). Any
process may take over a stale claim.

Two clocks tell when a claim was last updated: that of the file system, and that of the process that waits, from when it
first saw the present state of the claim. So a claim with a time in the future is not waited for without end. A process
that is stopped (Ctrl-Z) keeps its claims; who waits for them is told so.

Claims only save work. Every process makes the same bytes and renames the finished file, so two processes with the same
claim, for example after a long sleep of one, still give one correct file.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from capivara_cli.storage.found_claims import (
    HEARTBEAT,
    ClaimsOfOthers,
    claim_path,
    read_claim,
    remove_stale,
)
from capivara_cli.storage.holders import Holder
from capivara_cli.storage.signals import signals_held_back


class LostClaim(Exception):
    """Another process has taken over a claim of this process, because this process seemed to be dead."""


class Claim:
    """The right of this process to make one file. A ``with`` block releases it, unless it is ``handed_over``."""

    def __init__(self, path: Path, content: bytes, owner: Claims) -> None:
        self.path = path
        self.lost = False
        self.handed_over = False  # a thread releases it
        self.content = content
        self._owner = owner

    def held(self) -> bool:
        """Whether this process still holds the claim. A lost claim stays lost."""
        try:
            self.lost = self.lost or self.path.read_bytes() != self.content
        except FileNotFoundError:
            self.lost = True
        except OSError:
            pass  # the network is down: the next call will find out
        return not self.lost

    def confirm(self) -> None:
        """Raise ``LostClaim`` if another process holds the claim now."""
        if not self.held():
            raise LostClaim(self.path.name)

    def update(self) -> None:
        """Set the modification time to now."""
        if self.held():
            with contextlib.suppress(OSError):
                os.utime(self.path)

    def __enter__(self) -> Claim:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.handed_over:
            self.release()

    def release(self) -> None:
        self._owner.release(self)


@dataclass(frozen=True)
class Claimant:
    """The owner of new claims. ``command`` is the command line that they show, by default that of this process.

    ``dead`` are the names ("host:pid") of processes on any machine that are known to be dead.
    """

    command: str = ""
    dead: frozenset[str] = frozenset()


THIS_PROCESS = Claimant()


class Claims:
    """The claims of this process in a folder. A thread updates them.

    A signal that raises an exception cannot come between a claim and its file: both appear together and disappear
    together. It can come before the ``with`` block of a claim starts, so ``close`` releases all claims.
    """

    def __init__(
        self, folder: Path, claimant: Claimant = THIS_PROCESS, clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:  # fmt: skip
        self.folder = folder
        self.claimant = claimant
        self._clock, self._pause = clock, pause
        self._others = ClaimsOfOthers(clock)
        self._held: list[Claim] = []
        self._lock = threading.Lock()
        self._idle = threading.Event()
        self._thread: threading.Thread | None = None

    def take(self, name: str) -> Claim | None:
        """Claim a file. Returns None if another process, which is alive, holds the claim.

        If that process is stopped or silent, the second call after ten seconds says so.
        """
        return self._take(name, says_always=False)

    def _take(self, name: str, says_always: bool) -> Claim | None:
        path = claim_path(self.folder / name)
        claim = Claim(path, json.dumps(asdict(Holder.of_this_process(self.claimant.command))).encode(), self)
        while not self._created(claim):
            found = read_claim(path)
            if found is None:
                continue
            known_dead = found.holder is not None and found.holder.name in self.claimant.dead
            if not (known_dead or found.stale_after(self._others.silent(found))):
                self._others.name_holder(found, says_always)
                return None
            remove_stale(found)
        return claim

    def _created(self, claim: Claim) -> bool:
        """Create the file of a claim. False if it exists."""
        with signals_held_back(), self._lock:
            if not _create(claim.path, claim.content):
                return False
            self._held.append(claim)
            if self._thread is None:
                self._idle = threading.Event()
                self._thread = threading.Thread(target=self._update_all, args=(self._idle,), name="capivara-claims")
                self._thread.daemon = True
                self._thread.start()
        return True

    def _update_all(self, idle: threading.Event) -> None:
        while not idle.wait(HEARTBEAT):
            with self._lock:
                held = list(self._held)
            for claim in held:
                claim.update()

    def release(self, claim: Claim) -> None:
        """Remove the file of a claim, unless another process has taken it over. A second call does nothing."""
        with signals_held_back():
            with self._lock:
                if claim not in self._held:
                    return
                self._held.remove(claim)
            if claim.held():
                claim.path.unlink(missing_ok=True)

    def holder_of(self, name: str) -> str:
        """The process that holds the claim on a file, for people; "" if none is known."""
        found = read_claim(claim_path(self.folder / name))
        return found.holder.described() if found is not None and found.holder is not None else ""

    def held_by_others(self) -> bool:
        """Whether another process, which is alive, holds a claim in the folder or in a hidden folder in it."""
        found = [read_claim(path) for pattern in (".*.claim", ".*/.*.claim") for path in self.folder.glob(pattern)]
        return any(not (each.stale or each.of_this_process) for each in found if each is not None)

    def close(self) -> None:
        """Stop the thread and release every claim, except those that are handed over to a thread."""
        self._idle.set()
        self._thread = None
        with self._lock:
            held = [claim for claim in self._held if not claim.handed_over]
        for claim in held:
            self.release(claim)

    def _is_dubious(self, name: str) -> bool:
        """Whether a claim of another machine has a time in the future, and was not updated since it was first seen."""
        found = read_claim(claim_path(self.folder / name))
        if found is None or not found.in_the_future or (found.holder is not None and found.holder.local):
            return False
        return not self._others.was_updated(found)

    @contextlib.contextmanager
    def waiting(self, name: str, patience: float = float("inf")) -> Iterator[Claim | None]:
        """Claim a file in a ``with`` block, waiting at most ``patience`` seconds. None if it is not free by then.

        After ten seconds it says who holds the claim. A claim with a time in the future is watched for as long as a
        claim of a dead process stays, whatever ``patience``.
        """
        until = self._clock() + patience
        pause = 0.005
        while (claim := self._take(name, says_always=True)) is None and (
            self._clock() < until or self._is_dubious(name)
        ):
            self._pause(pause)
            pause = min(2 * pause, 1.0)
        if claim is None:
            yield None
        else:
            with claim:
                yield claim


def _create(path: Path, content: bytes) -> bool:
    """Create the file of a claim. False if it exists."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        return False
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        return _create(path, content)
    try:
        while content:  # a disk that becomes full takes a part first
            content = content[os.write(descriptor, content) :]
    except OSError as error:
        path.unlink(missing_ok=True)
        error.filename = str(path)
        raise
    finally:
        os.close(descriptor)
    return True
