"""Memory over time and the energy of GPUs, looked at by one thread of this process.

Nothing of a machine is a process's own but its time on the processors. So that the figures of the commands of a pipe
can be added up, each counts what it holds itself: its memory, and its share of a GPU. Power that a machine draws
whether anything runs or not belongs to none of them and is counted by none.
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
"""Seconds between two looks: at first, and after a while. One at two gigabytes takes 10 ms."""


@dataclass(frozen=True)
class Seen:
    """What was held up to a moment: gigabytes times seconds, and joules of GPUs; and which ``processes`` are ours."""

    gb_seconds: float = 0.0
    gpu_joules: float = 0.0
    processes: Sequence[int] = ()

    def until(self, later: Seen) -> Seen:
        """What was held between the two."""
        return Seen(later.gb_seconds - self.gb_seconds, later.gpu_joules - self.gpu_joules, later.processes)


class Watch:
    """Looks at this process and the commands it has started, from its first ``begin`` to its last ``end``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._idle = threading.Event()
        self._at = 0.0
        self._gb = 0.0
        self._gb_seconds = 0.0
        self._gpus: Gpus | None = None

    def begin(self, before: float) -> None:
        """Somebody wants to know; ``before`` is how many seconds ago what they measure began."""
        with self._lock:
            self._users += 1
            if self._users > 1:
                return
            self._at, self._gb = time.monotonic() - before, 0.0
            self._idle = threading.Event()
            threading.Thread(target=self._run, args=(self._idle,), name="capivara-energy", daemon=True).start()

    def end(self) -> None:
        """Nobody of them does any more."""
        with self._lock:
            self._users -= 1
            if not self._users:
                self._idle.set()

    def _run(self, idle: threading.Event) -> None:
        pause = _OFTEN
        while not idle.wait(pause):
            self.look()
            pause = min(1.2 * pause, _SELDOM)

    def look(self) -> Seen:
        """Look now, and say what was seen so far."""
        with self._lock:
            if self._gpus is None:
                self._gpus = Gpus.here()
            processes = process_tree.processes()
            gb = process_tree.resident_bytes(processes) / 1e9
            now = time.monotonic()
            self._gb_seconds += (now - self._at) * (gb + self._gb) / 2
            self._gpus.look(processes, now - self._at)
            self._at, self._gb = now, gb
            return Seen(self._gb_seconds, sum(gpu.joules for gpu in self._gpus.all), processes)

    @property
    def gpus(self) -> list[Gpu]:
        """Those that were ours for a while."""
        return [gpu for gpu in self._gpus.all if gpu.seconds] if self._gpus else []


WATCH = Watch()
"""Of this process: however many measure, one looks."""
