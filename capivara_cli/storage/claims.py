"""Claims on the files of a folder: which process makes which file, visible to all machines that share the folder.

A claim is the file ``.NAME.claim``, created with ``O_EXCL``. A thread updates its modification time. A claim is stale
if its process is dead (on this machine), or if it was not updated for ``STALE`` seconds (on another machine). Any
process may take over a stale claim.

Claims only save work. Every process makes the same bytes and renames the finished file, so two processes with the same
claim, for example after a long sleep of one, still give one correct file.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType

from capivara_cli.storage.files import partial_path
from capivara_cli.storage.signals import signals_held_back
from capivara_cli.storage.typed_json import from_json
from capivara_cli.urls import without_secrets

HEARTBEAT = 10.0
"""Seconds between two updates of a claim."""
STALE = 90.0
"""Seconds without an update after which a claim of another machine may be taken over."""
_UNREADABLE = 5.0  # s: a claim is empty between two system calls, and stays empty if its process is killed there


class LostClaim(Exception):
    """Another process has taken over a claim of this process, because this process seemed to be dead."""


@dataclass(frozen=True)
class Holder:
    """The process that holds a claim. ``machine`` distinguishes machines with one host name, such as containers."""

    host: str
    machine: str
    pid: int
    started: str
    since: float
    command: str
    token: str

    @classmethod
    def of_this_process(cls, command: str = "") -> Holder:
        """This process. ``command`` is the command line that its claims show, by default its own."""
        pid = os.getpid()
        command = without_secrets(command or " ".join(sys.argv))[:300]
        return cls(host(), machine(), pid, start_time(pid), round(time.time(), 3), command, os.urandom(8).hex())

    @classmethod
    def parse(cls, content: bytes) -> Holder | None:
        """The holder in the content of a claim; None if the content is empty, incomplete or of other types."""
        try:
            holder = from_json(cls, json.loads(content), "a claim")
        except (ValueError, RecursionError):
            return None
        return holder if 0 < holder.pid < 1 << 31 else None

    @property
    def local(self) -> bool:
        """Whether the process runs or ran on this machine."""
        return self.machine == machine()

    @property
    def name(self) -> str:
        return f"{self.host}:{self.pid}"


def host() -> str:
    return os.uname().nodename


@functools.cache
def machine() -> str:
    """An identifier of the scope in which process ids are unique: this machine since its boot, or a container on it."""
    marks = [host()]
    with contextlib.suppress(OSError):  # other systems than Linux have only the name
        marks.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        marks.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(marks)


def start_time(pid: int) -> str:
    """The start time of a process on this machine, in units of the system; "" if it does not run or is a zombie."""
    if not Path("/proc/self/stat").exists():
        return _start_time_without_proc(pid)
    try:
        state, *after = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (OSError, ValueError):
        return ""
    return "" if state in b"ZX" else after[18].decode()


def _start_time_without_proc(pid: int) -> str:
    import psutil

    try:
        process = psutil.Process(pid)
        return "" if process.status() == psutil.STATUS_ZOMBIE else str(process.create_time())
    except psutil.Error:
        return ""


def claim_path(path: Path) -> Path:
    """The path of the claim on a file."""
    return path.with_name(f".{path.name}.claim")


@dataclass(frozen=True)
class FoundClaim:
    """A claim that was read from its file. ``silent`` is the number of seconds since its last update."""

    path: Path
    content: bytes
    inode: int
    silent: float

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
        holder = self.holder
        if holder is None:
            return self.silent > _UNREADABLE
        if holder.local:
            return start_time(holder.pid) != holder.started
        return self.silent > STALE


def read_claim(path: Path) -> FoundClaim | None:
    """The claim in a file; None if there is none. Opening the file makes a network file system ask its server."""
    try:
        with open(path, "rb") as file:
            content, info = file.read(), os.fstat(file.fileno())
    except FileNotFoundError:
        return None
    holder = Holder.parse(content)
    now = time.time() if holder and holder.local else clock(path.parent)
    return FoundClaim(path, content, info.st_ino, now - info.st_mtime)


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

    def __init__(self, folder: Path, claimant: Claimant = THIS_PROCESS) -> None:
        self.folder = folder
        self.claimant = claimant
        self._held: list[Claim] = []
        self._lock = threading.Lock()
        self._idle = threading.Event()
        self._thread: threading.Thread | None = None

    def take(self, name: str) -> Claim | None:
        """Claim a file. Returns None if another process, which is alive, holds the claim."""
        path = claim_path(self.folder / name)
        claim = Claim(path, json.dumps(asdict(Holder.of_this_process(self.claimant.command))).encode(), self)
        while not self._created(claim):
            found = read_claim(path)
            if found is None:
                continue
            known_dead = found.holder is not None and found.holder.name in self.claimant.dead
            if not (found.stale or known_dead):
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

    def held_by_others(self) -> bool:
        """Whether another process, which is alive, holds a claim in the folder."""
        found = [read_claim(path) for path in self.folder.glob(".*.claim")]
        return any(not (each.stale or each.of_this_process) for each in found if each is not None)

    def close(self) -> None:
        """Stop the thread and release every claim, except those that are handed over to a thread."""
        self._idle.set()
        self._thread = None
        with self._lock:
            held = [claim for claim in self._held if not claim.handed_over]
        for claim in held:
            self.release(claim)

    @contextlib.contextmanager
    def waiting(self, name: str, patience: float = float("inf")) -> Iterator[Claim | None]:
        """Claim a file in a ``with`` block, waiting at most ``patience`` seconds. None if it is not free by then."""
        until = time.monotonic() + patience
        pause = 0.005
        while (claim := self.take(name)) is None and time.monotonic() < until:
            time.sleep(pause)
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
        os.write(descriptor, content)
    except OSError as error:
        path.unlink(missing_ok=True)
        error.filename = str(path)
        raise
    finally:
        os.close(descriptor)
    return True


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
