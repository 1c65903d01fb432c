"""Claims on the files of a folder: which process makes which file. Every machine that shares the folder sees them.

A claim is the file ``.NAME.claim``, created with ``O_EXCL`` and kept fresh by a thread. It is stale when its process is
dead (on this machine), or showed no sign of life for ``STALE`` seconds (on another machine); then any process may take
it over. Claims only save work. Every process makes the same bytes, and a file appears by a rename: two processes that
hold the same claim, one of them back from a long sleep, still leave one result.
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
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType

from capivara_cli.storage.files import partial_of
from capivara_cli.storage.signals import signals_held_back
from capivara_cli.urls import without_secrets

HEARTBEAT = 10.0
"""Seconds between two signs of life."""
STALE = 90.0
"""Seconds without a sign of life after which a claim of another machine may be taken over."""
_UNREADABLE = 5.0  # s: a claim is empty between two system calls, and stays so if its process is killed there


class Lost(Exception):
    """Another process has taken over the claim of this one, which seemed to be dead."""


@dataclass(frozen=True)
class Holder:
    """The process that holds a claim. ``machine`` tells apart machines of one name: containers, or before a reboot."""

    host: str
    machine: str
    pid: int
    started: str
    since: float
    command: str
    token: str

    @classmethod
    def here(cls, command: str = "") -> Holder:
        """This process; ``command`` is the command line that its claims show, by default its own."""
        pid = os.getpid()
        command = without_secrets(command or " ".join(sys.argv))[:300]
        return cls(host(), machine(), pid, started(pid), round(time.time(), 3), command, os.urandom(8).hex())

    @classmethod
    def parse(cls, content: bytes) -> Holder | None:
        """The holder in the content of a claim; None when that is empty or incomplete."""
        try:
            entry = json.loads(content)
            return cls(**{each.name: entry[each.name] for each in fields(cls)})
        except (ValueError, KeyError, TypeError):
            return None

    @property
    def local(self) -> bool:
        """Whether it is, or was, a process of this machine."""
        return self.machine == machine()

    @property
    def name(self) -> str:
        return f"{self.host}:{self.pid}"


def host() -> str:
    return os.uname().nodename


@functools.cache
def machine() -> str:
    """The scope in which process ids are unique: a machine between two boots, or a container in it."""
    marks = [host()]
    with contextlib.suppress(OSError):  # elsewhere than on Linux the name must do
        marks.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        marks.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(marks)


def started(pid: int) -> str:
    """When a process of this machine began, in the units of the system; "" when there is none, or only its zombie."""
    if not Path("/proc/self/stat").exists():
        return _started_elsewhere(pid)
    try:
        state, *after = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (OSError, ValueError):
        return ""
    return "" if state in b"ZX" else after[18].decode()


def _started_elsewhere(pid: int) -> str:
    import psutil

    try:
        process = psutil.Process(pid)
        return "" if process.status() == psutil.STATUS_ZOMBIE else str(process.create_time())
    except psutil.Error:
        return ""


def claim_of(path: Path) -> Path:
    return path.with_name(f".{path.name}.claim")


@dataclass(frozen=True)
class ClaimSeen:
    """A claim as it was found: its holder, None when unreadable, and the seconds since its last sign of life."""

    path: Path
    content: bytes
    inode: int
    silent: float

    @property
    def holder(self) -> Holder | None:
        return Holder.parse(self.content)

    @property
    def stale(self) -> bool:
        """Whether its process is gone, as far as can be known from here."""
        holder = self.holder
        if holder is None:
            return self.silent > _UNREADABLE
        if holder.local:
            return started(holder.pid) != holder.started
        return self.silent > STALE


def look(path: Path) -> ClaimSeen | None:
    """The claim at a path, None when there is none. The file is opened, so that network file systems ask the server."""
    try:
        with open(path, "rb") as file:
            content, info = file.read(), os.fstat(file.fileno())
    except FileNotFoundError:
        return None
    holder = Holder.parse(content)
    now = time.time() if holder and holder.local else clock(path.parent)
    return ClaimSeen(path, content, info.st_ino, now - info.st_mtime)


def clock(folder: Path) -> float:
    """The time of the clock that stamps the files of a folder; on a network file system that is the server's."""
    probe = partial_of(folder / "clock")
    try:
        probe.touch()
        return probe.stat().st_mtime
    except OSError:  # a full or read-only folder
        return time.time()
    finally:
        with contextlib.suppress(OSError):
            probe.unlink()


class Claim:
    """One file that this process may make. A ``with`` block releases it, unless it is ``handed_on`` to a thread."""

    def __init__(self, path: Path, content: bytes, owner: Claims) -> None:
        self.path = path
        self.lost = False
        self.handed_on = False
        self.content = content
        self._owner = owner

    def held(self) -> bool:
        """Whether this process still has it. A lost claim stays lost."""
        try:
            self.lost = self.lost or self.path.read_bytes() != self.content
        except FileNotFoundError:
            self.lost = True
        except OSError:
            pass  # the network is away: the next look will tell
        return not self.lost

    def confirm(self) -> None:
        """Raise ``Lost`` if another process has it by now."""
        if not self.held():
            raise Lost(self.path.name)

    def beat(self) -> None:
        if self.held():
            with contextlib.suppress(OSError):
                os.utime(self.path)

    def __enter__(self) -> Claim:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.handed_on:
            self.release()

    def release(self) -> None:
        self._owner.release(self)


@dataclass(frozen=True)
class Claimant:
    """Who claims: the command line that the claims show, by default this process's own.

    ``dead`` are holders ("host:pid") that the process which started this one knows to be dead, on any machine.
    """

    command: str = ""
    dead: frozenset[str] = frozenset()


THIS_PROCESS = Claimant()


class Claims:
    """The claims of this process in a folder. While there are any, a thread keeps them fresh.

    A signal that raises cannot separate a claim from its file: both appear together and disappear together. It can
    still come before the ``with`` block of a claim begins, so ``close`` releases what is held.
    """

    def __init__(self, folder: Path, who: Claimant = THIS_PROCESS) -> None:
        self.folder = folder
        self.who = who
        self._held: list[Claim] = []
        self._lock = threading.Lock()
        self._idle = threading.Event()
        self._thread: threading.Thread | None = None

    def take(self, name: str) -> Claim | None:
        """Claim a file; None while another living process has it."""
        path = claim_of(self.folder / name)
        claim = Claim(path, json.dumps(asdict(Holder.here(self.who.command))).encode(), self)
        while not self._created(claim):
            seen = look(path)
            if seen is None:
                continue
            known_dead = seen.holder is not None and seen.holder.name in self.who.dead
            if not (seen.stale or known_dead):
                return None
            remove_stale(seen)
        return claim

    def _created(self, claim: Claim) -> bool:
        """Create the file of a claim; False when there is one."""
        with signals_held_back(), self._lock:
            if not _create(claim.path, claim.content):
                return False
            self._held.append(claim)
            if self._thread is None:
                self._idle = threading.Event()
                self._thread = threading.Thread(target=self._beat, args=(self._idle,), name="capivara-claims")
                self._thread.daemon = True
                self._thread.start()
        return True

    def _beat(self, idle: threading.Event) -> None:
        while not idle.wait(HEARTBEAT):
            with self._lock:
                held = list(self._held)
            for claim in held:
                claim.beat()

    def release(self, claim: Claim) -> None:
        """Remove the file of a claim, unless another process has taken it over. Nothing happens the second time."""
        with signals_held_back():
            with self._lock:
                if claim not in self._held:
                    return
                self._held.remove(claim)
            if claim.held():
                claim.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Stop the thread and release every claim, except those that are handed on to another thread."""
        self._idle.set()
        self._thread = None
        with self._lock:
            held = [claim for claim in self._held if not claim.handed_on]
        for claim in held:
            self.release(claim)

    @contextlib.contextmanager
    def waiting(self, name: str, patience: float = float("inf")) -> Iterator[Claim | None]:
        """Wait for the claim on a file; None when it is not free within ``patience`` seconds."""
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
    """Create a claim, False when there is one."""
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


def remove_stale(seen: ClaimSeen) -> None:
    """Remove a stale claim. One of several processes moves it; one that moved a fresh claim by mistake puts it back."""
    moved = partial_of(seen.path)
    try:
        seen.path.rename(moved)
    except FileNotFoundError:
        return
    try:
        with open(moved, "rb") as file:
            same = file.read() == seen.content and os.fstat(file.fileno()).st_ino == seen.inode
        if not same:
            _put_back(moved, seen.path)
    finally:
        moved.unlink(missing_ok=True)


def _put_back(moved: Path, path: Path) -> None:
    try:
        os.link(moved, path)
    except FileExistsError:
        pass  # taken in the meantime: the holder of the moved claim will see that it has lost it
    except OSError:  # no hard links here
        moved.rename(path)
