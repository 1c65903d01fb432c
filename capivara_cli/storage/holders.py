"""The processes that hold claims: who they are, and whether they run."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from capivara_cli import console
from capivara_cli.storage.typed_json import from_json
from capivara_cli.urls import without_secrets


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

    def described(self) -> str:
        """The process, its command and since when it holds the claim, for people."""
        seconds = time.time() - self.since
        since = f"for {console.duration(seconds)}" if seconds >= 0 else "with a time in the future"
        return f"{self.name} ({self.command}), {since}"


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


def is_stopped(pid: int) -> bool:
    """Whether a process of this machine is stopped: by Ctrl-Z, SIGSTOP or a debugger."""
    if not Path("/proc/self/stat").exists():
        return _is_stopped_without_proc(pid)
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] in b"Tt"
    except (OSError, IndexError):
        return False


def _is_stopped_without_proc(pid: int) -> bool:
    import psutil

    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_STOPPED)
    except psutil.Error:
        return False
