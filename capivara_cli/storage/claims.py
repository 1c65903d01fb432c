"""Claims on the files of a folder: which process makes which, known on every machine that sees the folder.

A claim is the file ``.NAME.claim``, created with ``O_EXCL`` and kept fresh by a thread. It is stale when its process is
dead (on this machine), or was not seen for ``STALE`` seconds (on another); then anybody may take it over. A claim saves
work and decides nothing else: what is made under it is the same whoever makes it, and appears by a rename, so even two
that hold the same claim, one of them back from a long sleep, leave one result.
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
from capivara_cli.urls import without_secrets

HEARTBEAT = 10.0
"""Seconds between two signs of life."""
STALE = 90.0
"""Seconds without one after which a claim of another machine may be taken over."""
_UNREADABLE = 5.0  # s: a claim is empty between two system calls, and stays so if its process is killed there


class Lost(Exception):
    """Another process has taken over what this one was working on: it seemed to be dead."""


@dataclass(frozen=True)
class Holder:
    """The process that holds a claim. ``machine`` tells apart what has the same name: containers, before a reboot."""

    host: str
    machine: str
    pid: int
    started: str
    since: float
    command: str
    token: str

    @classmethod
    def here(cls) -> Holder:
        pid = os.getpid()
        command = without_secrets(" ".join(sys.argv))[:300]
        return cls(host(), machine(), pid, started(pid), round(time.time(), 3), command, os.urandom(8).hex())

    @classmethod
    def parse(cls, content: bytes) -> Holder | None:
        """What a claim says; None when it is empty or torn."""
        try:
            entry = json.loads(content)
            return cls(**{each.name: entry[each.name] for each in fields(cls)})
        except (ValueError, KeyError, TypeError):
            return None

    @property
    def local(self) -> bool:
        """Whether its process is, or was, one of this machine."""
        return self.machine == machine()

    @property
    def name(self) -> str:
        return f"{self.host}:{self.pid}"


def host() -> str:
    return os.uname().nodename


@functools.cache
def machine() -> str:
    """What process ids are unique in: a machine between two boots, a container in it."""
    marks = [host()]
    with contextlib.suppress(OSError):  # Linux only; elsewhere the name has to do
        marks.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        marks.append(str(Path("/proc/self/ns/pid").readlink()))
    return " ".join(marks)


def started(pid: int) -> str:
    """When a process of this machine began, in its own units; "" when there is none, or only its zombie."""
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
class Seen:
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


def look(path: Path) -> Seen | None:
    """The claim at a path, None when there is none. Opening it makes network file systems ask the server."""
    try:
        with open(path, "rb") as file:
            content, info = file.read(), os.fstat(file.fileno())
    except FileNotFoundError:
        return None
    holder = Holder.parse(content)
    now = time.time() if holder and holder.local else clock(path.parent)
    return Seen(path, content, info.st_ino, now - info.st_mtime)


def clock(folder: Path) -> float:
    """The time by the clock that stamps the files of a folder, which on a network is the server's."""
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
    """One file that this process may make; use it in a ``with``, which lets go of it."""

    def __init__(self, path: Path, content: bytes, owner: Claims) -> None:
        self.path = path
        self.lost = False
        self._content = content
        self._owner = owner

    def held(self) -> bool:
        """Whether it is still ours; once lost, lost for good."""
        try:
            self.lost = self.lost or self.path.read_bytes() != self._content
        except FileNotFoundError:
            self.lost = True
        except OSError:
            pass  # the network is away: the next look will tell
        return not self.lost

    def confirm(self) -> None:
        """Raise ``Lost`` if somebody else has it by now."""
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
        self._owner.let_go(self)


class Claims:
    """The claims of this process in a folder, with the thread that keeps them fresh while there are any.

    ``dead`` are holders ("host:pid") that whoever started us knows to be dead, on other machines, too.
    """

    def __init__(self, folder: Path, dead: frozenset[str] = frozenset()) -> None:
        self.folder = folder
        self.dead = dead
        self._held: list[Claim] = []
        self._lock = threading.Lock()
        self._idle = threading.Event()
        self._thread: threading.Thread | None = None

    def take(self, name: str) -> Claim | None:
        """The claim on a file, None while another living process has it."""
        path = claim_of(self.folder / name)
        content = json.dumps(asdict(Holder.here())).encode()
        while not _create(path, content):
            seen = look(path)
            if seen is None:
                continue
            known_dead = seen.holder is not None and seen.holder.name in self.dead
            if not (seen.stale or known_dead):
                return None
            bury(seen)
        claim = Claim(path, content, self)
        with self._lock:
            self._held.append(claim)
            if self._thread is None:
                self._idle = threading.Event()
                self._thread = threading.Thread(target=self._beat, args=(self._idle,), name="capivara-claims")
                self._thread.daemon = True
                self._thread.start()
        return claim

    def _beat(self, idle: threading.Event) -> None:
        while not idle.wait(HEARTBEAT):
            with self._lock:
                held = list(self._held)
            for claim in held:
                claim.beat()

    def let_go(self, claim: Claim) -> None:
        with self._lock:
            self._held.remove(claim)
        if claim.held():
            claim.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Stop the thread."""
        self._idle.set()
        self._thread = None

    @contextlib.contextmanager
    def waiting(self, name: str, patience: float = float("inf")) -> Iterator[Claim | None]:
        """The claim on a file, waited for; None when ``patience`` seconds were not enough."""
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


def bury(seen: Seen) -> None:
    """Remove a stale claim. Of several who try, one moves it; who has moved a fresh one by mistake puts it back."""
    grave = partial_of(seen.path)
    try:
        seen.path.rename(grave)
    except FileNotFoundError:
        return
    try:
        with open(grave, "rb") as file:
            same = file.read() == seen.content and os.fstat(file.fileno()).st_ino == seen.inode
        if not same:
            _put_back(grave, seen.path)
    finally:
        grave.unlink(missing_ok=True)


def _put_back(grave: Path, path: Path) -> None:
    try:
        os.link(grave, path)
    except FileExistsError:
        pass  # taken in the meantime: its holder will see that it has lost it
    except OSError:  # no hard links here
        grave.rename(path)
