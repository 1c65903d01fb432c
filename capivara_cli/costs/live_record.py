"""The cost record of a running command, written at intervals, so that a kill loses at most one minute of it.

Only the code that writes the result knows its folder: it calls ``record_result_at`` for the innermost running command.
A command that fails writes its cost; if it is run again, it adds another record. A command that fails within seconds
writes no record: most errors are found before the work begins.
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
from capivara_cli.storage.signals import signals_held_back

_FIRST, _SELDOM = 5.0, 60.0
"""Seconds between two writes of the record: first and later. A command that fails before the first writes none."""
_PATIENCE = 1.0  # s: how long the record waits for other processes that write theirs
Samples = Callable[[], int | None]
"""Returns the number of samples that are done."""


def unknown_samples() -> None:
    """The number of samples of a command that does not count them: None."""


class LiveRecord:
    """The record of a running command; at the end it is also appended to the ledger ``file``."""

    def __init__(self, meter: Meter, steps: StepCosts, file: str = "") -> None:
        self.name = uuid.uuid4().hex
        self._meter, self._steps, self._file = meter, steps, file
        self._place: Mapping[str, str] = {}
        self._samples: Samples = unknown_samples
        self._began = time.monotonic()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def record_result_at(self, samples: Samples, place: Mapping[str, str]) -> None:
        """Write the record to the folder of the result from now on. Raises ``CapivaraError`` for a damaged ledger."""
        ledger.check(path.parent for path in ledger.places(place))
        self._samples, self._place = samples, place
        if self._thread is None:
            with signals_held_back():  # a thread that has not started cannot be joined
                self._thread = threading.Thread(target=self._write, name="capivara-record", daemon=True)
                self._thread.start()

    def _write(self) -> None:
        pause = _FIRST
        while not self._over.wait(pause):
            with contextlib.suppress(OSError, CapivaraError):  # it will be written the next time, or at the end
                ledger.note(self.name, self._summary(), self._meter.so_far(), _PATIENCE)
            pause = min(1.5 * pause, _SELDOM)

    def _summary(self) -> dict[str, Any]:
        return {**self._place, "read": self._samples()}

    def finish(self, inputs: Sequence[str], summary: dict[str, Any], data: BinaryIO | None) -> ledger.LedgerRecord:
        """Write the final cost beside the result; return the record."""
        self.stop()
        own = ledger.OwnCost(self.name, self._meter.footprint(), self._steps.take())
        return ledger.record(inputs, summary, own, self._file, data)

    def failed(self, error: BaseException) -> None:
        """Write the cost of work that ended without a result.

        A process that ends with exit code 0 has helped another one, which writes the result: that is no failure.
        """
        self.stop()
        helped = isinstance(error, SystemExit) and not error.code
        if (self._place or self._file) and (helped or time.monotonic() - self._began > _FIRST):
            with contextlib.suppress(OSError, CapivaraError):  # the error that ended the work is the one to show
                ledger.note(self.name, self._summary(), self._meter.footprint(), _PATIENCE, self._file, helped)

    def stop(self) -> None:
        """End the thread that writes the record."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()


class LiveRecords:
    """The records of the running commands, the innermost last; None for a command without a record of its own."""

    def __init__(self) -> None:
        self._open: list[LiveRecord | None] = []

    @contextlib.contextmanager
    def recorded(self, record: LiveRecord | None) -> Iterator[LiveRecord | None]:
        """Hold the record of a command while it runs; if it fails, write its cost. Nothing is written later."""
        self._open.append(record)
        try:
            yield record
        except UsageError:
            raise
        except BaseException as error:
            if record is not None:
                record.failed(error)
            raise
        finally:
            self._open.pop()
            if record is not None:
                record.stop()

    def record_result_at(self, samples: Samples, place: Mapping[str, str]) -> None:
        """Write the record of the innermost running command to the folder of its result from now on."""
        if self._open and (record := self._open[-1]) is not None:
            record.record_result_at(samples, place)
