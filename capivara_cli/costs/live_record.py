"""The cost record of a command at work, written now and then, so that a kill loses a minute of it at most.

The folder of the result is known only to the code that makes it: ``record_result_at`` names it to the innermost command
at work. A command that fails records what it took; run again, it adds a record of its own. A command that fails within
seconds leaves no record: most errors are found before the work begins.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

from capivara_cli.costs import ledger
from capivara_cli.costs.meter import Meter
from capivara_cli.costs.per_step import StepCosts
from capivara_cli.errors import CapivaraError, UsageError

_FIRST, _SELDOM = 5.0, 60.0
"""Seconds until the record is written: at first, and later. A command that fails before the first leaves none."""
_PATIENCE = 1.0  # s: that a live record waits for other processes that write theirs
Samples = Callable[[], int | None]
"""Returns how many samples are done."""


def unknown_samples() -> None:
    """The number of samples where nobody counts them."""


class LiveRecord:
    """The record of a command at work; ``file`` is a ledger that gets it, too, when the work has ended."""

    def __init__(self, meter: Meter, steps: StepCosts, file: str = "") -> None:
        self.name = uuid.uuid4().hex
        self._meter, self._steps, self._file = meter, steps, file
        self._place: Mapping[str, str] = {}
        self._samples: Samples = unknown_samples
        self._began = time.monotonic()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def record_result_at(self, samples: Samples, place: Mapping[str, str]) -> None:
        """Write the record to the folder of the result from now on."""
        self._samples, self._place = samples, place
        if self._thread is None:
            self._thread = threading.Thread(target=self._write, name="capivara-record", daemon=True)
            self._thread.start()

    def _write(self) -> None:
        pause = _FIRST
        while not self._over.wait(pause):
            with contextlib.suppress(OSError, CapivaraError):  # it is written the next time, or at the end
                ledger.note(self.name, self._summary(), self._meter.so_far(), _PATIENCE)
            pause = min(1.5 * pause, _SELDOM)

    def _summary(self) -> dict[str, Any]:
        return {**self._place, "read": self._samples()}

    def ended(self, inputs: Sequence[str], summary: dict[str, Any], data: BinaryIO | None) -> ledger.LedgerRecord:
        """Write the whole cost beside the result; returns the record."""
        self._stop()
        own = ledger.Own(self.name, self._meter.footprint(), self._steps.taken())
        return ledger.record(inputs, summary, own, self._file, data)

    def left(self, error: BaseException) -> None:
        """Write the cost of work that ended without a result.

        A process that leaves with exit code 0 has helped another one, which makes the result; that is no failure.
        """
        self._stop()
        helped = isinstance(error, SystemExit) and not error.code
        if (self._place or self._file) and (helped or time.monotonic() - self._began > _FIRST):
            with contextlib.suppress(OSError, CapivaraError):  # the error that ended the work is the one to show
                ledger.note(self.name, self._summary(), self._meter.footprint(), _PATIENCE, self._file, helped)

    def _stop(self) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()


class LiveRecords:
    """The records of the commands at work, the innermost last; None for a command without a record of its own."""

    def __init__(self) -> None:
        self._open: list[LiveRecord | None] = []

    @contextlib.contextmanager
    def recorded(self, record: LiveRecord | None) -> Iterator[LiveRecord | None]:
        """Keep the record of a command while it is at work; if it fails, write what it took."""
        self._open.append(record)
        try:
            yield record
        except UsageError:
            raise
        except BaseException as error:
            if record is not None:
                record.left(error)
            raise
        finally:
            self._open.pop()

    def record_result_at(self, samples: Samples, place: Mapping[str, str]) -> None:
        """Tell the innermost command at work where its result will be."""
        if self._open and (record := self._open[-1]) is not None:
            record.record_result_at(samples, place)
