"""Samples memory use and the energy of GPUs in one thread of this process.

The costs of the commands of a pipe are added up. So each command counts only its own memory and its share of a GPU. No
command counts the power that a machine draws when idle.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from capivara_cli.costs import process_tree
from capivara_cli.costs.gpu_energy import Gpu, Gpus

WATTS_PER_GB = 0.375
"""Memory: 3 W for 8 GB (Crucial's figure, codecarbon's until its version 3; Green Algorithms has 0.3725)."""
_OFTEN, _SELDOM = 0.5, 10.0
"""Seconds between two samples: first and later. Sampling a process with two gigabytes takes 10 ms."""


@dataclass(frozen=True)
class Usage:
    """Usage up to a moment: memory in gigabytes × seconds, and GPU energy in joules, of our ``processes``."""

    gb_seconds: float = 0.0
    gpu_joules: float = 0.0
    processes: Sequence[int] = ()

    def until(self, later: Usage) -> Usage:
        """The usage between the two moments."""
        return Usage(later.gb_seconds - self.gb_seconds, later.gpu_joules - self.gpu_joules, later.processes)


class Sampler:
    """Samples this process and its descendants, from the first ``begin`` to the last ``end``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._idle = threading.Event()
        self._at = 0.0
        self._gb = 0.0
        self._gb_seconds = 0.0
        self._gpus: Gpus | None = None

    def begin(self, before: float) -> None:
        """Start sampling for one more meter, whose work began ``before`` seconds ago."""
        with self._lock:
            self._users += 1
            if self._users > 1:
                return
            self._at, self._gb = time.monotonic() - before, 0.0
            self._idle = threading.Event()
            threading.Thread(target=self._run, args=(self._idle,), name="capivara-energy", daemon=True).start()

    def end(self) -> None:
        """End sampling for one meter; the thread ends with the last one."""
        with self._lock:
            self._users -= 1
            if not self._users:
                self._idle.set()

    def _run(self, idle: threading.Event) -> None:
        pause = _OFTEN
        while not idle.wait(pause):
            self.sample()
            pause = min(1.2 * pause, _SELDOM)

    def sample(self) -> Usage:
        """Sample now; return the usage so far."""
        with self._lock:
            if self._gpus is None:
                self._gpus = Gpus.of_this_machine()
            processes = process_tree.processes()
            gb = process_tree.resident_bytes(processes) / 1e9
            now = time.monotonic()
            self._gb_seconds += (now - self._at) * (gb + self._gb) / 2
            self._gpus.sample(processes, now - self._at)
            self._at, self._gb = now, gb
            return Usage(self._gb_seconds, sum(gpu.joules for gpu in self._gpus.all), processes)

    @property
    def gpus(self) -> list[Gpu]:
        """The GPUs that this process has used."""
        return [gpu for gpu in self._gpus.all if gpu.seconds] if self._gpus else []
