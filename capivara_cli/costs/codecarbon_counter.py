"""codecarbon, used only where it can measure the processor: in the background, without any output.

It reads the counters of the whole machine. This process gets the share of their energy that it has of the busy time of
all processors.
"""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capivara_cli.costs import process_tree
from capivara_cli.costs.footprint import JOULES_PER_KWH

AFTER = 10.0
"""Seconds of work before codecarbon is loaded: its import takes one second, its start up to four."""
_AT_LEAST = 5.0  # s: a shorter measurement does not represent the rest of the work
_MODELS = ("cpu_load", "constant")
"""codecarbon's names for its estimates that measure nothing."""


@dataclass(frozen=True)
class ProcessorEnergy:
    """The ``joules`` of the whole processor in ``seconds``; ``busy``: CPU seconds of all processes of the machine.

    ``how`` is the method of codecarbon, such as "intel_rapl".
    """

    joules: float
    seconds: float
    busy: float
    how: str

    @property
    def watts(self) -> float:
        return self.joules / self.seconds


def can_measure() -> bool:
    """Whether this user may read a counter of the processor. On macOS True, because only codecarbon can check it."""
    if sys.platform == "darwin":
        return True
    for counter in Path("/sys/class/powercap").glob("*/energy_uj"):
        try:
            counter.read_text()
        except OSError:
            continue
        return True
    return False


class Tracker:
    """Runs codecarbon in a thread, from ``AFTER`` seconds on until ``stop``. It opens no socket and writes no file."""

    def __init__(self) -> None:
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="capivara-codecarbon", daemon=True)
        self._tracker: Any = None
        self._since = (0.0, 0.0)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> ProcessorEnergy | None:
        """End the measurement and return it; None if there is none, or less than five seconds.

        codecarbon swallows its own errors, so its result is checked here.
        """
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout=6.0)
        if self._tracker is None:
            return None
        seconds, busy = time.monotonic() - self._since[0], process_tree.busy_seconds() - self._since[1]
        tracker, self._tracker = self._tracker, None
        tracker.stop()
        data = getattr(tracker, "final_emissions_data", None)
        how = method(tracker)
        if data is None or not how or seconds < _AT_LEAST or busy <= 0:
            return None
        return ProcessorEnergy(data.cpu_energy * JOULES_PER_KWH, seconds, busy, how)

    def _run(self) -> None:
        if self._stopped.wait(AFTER):
            return
        import logging

        from codecarbon import OfflineEmissionsTracker

        # The level is set here because the import resets it, and the constructor of the tracker logs.
        logging.getLogger("codecarbon").setLevel(logging.CRITICAL)
        tracker = OfflineEmissionsTracker(
            country_iso_code="USA",  # needed, not used: only the energy is taken from it
            tracking_mode="machine",
            output_methods=[],
            measure_power_secs=15,
            log_level="critical",
            allow_multiple_runs=True,
        )
        since = time.monotonic(), process_tree.busy_seconds()
        tracker.start()
        self._since = since
        self._tracker = tracker


def method(tracker: Any) -> str:
    """How codecarbon measured the processor ("intel_rapl"); "" if it estimated."""
    modes = [getattr(each, "_mode", "") for each in getattr(tracker, "_hardware", [])]
    named = [mode for mode in modes if mode]
    kinds = [type(each).__name__ for each in getattr(tracker, "_hardware", [])]
    if "AppleSiliconChip" in kinds:
        return "powermetrics"
    return named[0] if named and named[0] not in _MODELS else ""
