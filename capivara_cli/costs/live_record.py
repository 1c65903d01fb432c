"""What work costs that may not end: its record is written while it goes on, so that a kill loses a minute of it.

Where the result will be is known in the midst of the work only, to what makes it: ``goes_to`` tells the innermost
command that is at work. A command that fails enters what it took; run again, it adds a record of its own. What was
over within seconds leaves nothing: most errors are found before the work begins.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO

from capivara_cli.costs import Meter, ledger
from capivara_cli.errors import CapivaraError, UsageError

_FIRST, _SELDOM = 5.0, 60.0
"""Seconds until the record is written: at first, and after a while. What fails before leaves none."""
_PATIENCE = 1.0  # s: with others who write theirs at the same time


class Ongoing:
    """The record of a command at work; ``file`` is the ledger that gets it, too, when the work has ended."""

    def __init__(self, meter: Meter, file: str = "") -> None:
        self.name = uuid.uuid4().hex
        self._meter, self._file = meter, file
        self._place: dict[str, Any] = {}
        self._samples: Callable[[], int | None] = lambda: None
        self._began = time.monotonic()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def goes_to(self, samples: Callable[[], int | None], place: dict[str, Any]) -> None:
        self._samples, self._place = samples, place
        if self._thread is None:
            self._thread = threading.Thread(target=self._write, name="capivara-ongoing", daemon=True)
            self._thread.start()

    def _write(self) -> None:
        pause = _FIRST
        while not self._over.wait(pause):
            with contextlib.suppress(OSError, CapivaraError):  # the next time, or in the end
                ledger.note(self.name, self._summary(), self._meter.so_far(), _PATIENCE)
            pause = min(1.5 * pause, _SELDOM)

    def _summary(self) -> dict[str, Any]:
        return {**self._place, "read": self._samples()}

    def ended(self, inputs: Sequence[str], summary: dict[str, Any], data: BinaryIO | None) -> ledger.Record:
        """Write the whole cost beside the result; returns the record."""
        self._stop()
        return ledger.record(inputs, summary, self._meter.footprint(), self._file, data, self.name)

    def left(self, error: BaseException) -> None:
        """Write what it cost where the result would have been, or is made by another process, which is no error."""
        self._stop()
        helped = isinstance(error, SystemExit) and not error.code
        if (self._place or self._file) and (helped or time.monotonic() - self._began > _FIRST):
            with contextlib.suppress(OSError, CapivaraError):  # the error that ended the work is the one to show
                ledger.note(self.name, self._summary(), self._meter.footprint(), _PATIENCE, self._file, helped)

    def _stop(self) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()


_open: list[Ongoing | None] = []


@contextlib.contextmanager
def measured(meter: Meter, file: str, wanted: bool) -> Iterator[Ongoing | None]:
    """A command at work, None for one that is not ``wanted`` to have a record of its own."""
    work = Ongoing(meter, file) if wanted else None
    _open.append(work)
    try:
        yield work
    except UsageError:
        raise
    except BaseException as error:
        if work is not None:
            work.left(error)
        raise
    finally:
        _open.pop()


def goes_to(samples: Callable[[], int | None] = lambda: None, **place: str) -> None:
    """Say where the result of the innermost command at work will be, ``out`` or ``run``, once there is such a folder.

    ``samples``: how many of them are done.
    """
    if _open and (work := _open[-1]) is not None:
        work.goes_to(samples, place)
