"""Delay signals during a few lines that must not be interrupted."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def signals_held_back() -> Iterator[None]:
    """Delay the handlers of SIGINT and SIGTERM to the end of the block, in the main thread.

    Other threads run no handlers. A signal mask would not help: the system delivers a masked signal to another thread,
    and Python still runs the handler in the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with _held_back(signal.SIGINT), _held_back(signal.SIGTERM):
        yield


@contextlib.contextmanager
def _held_back(number: int) -> Iterator[None]:
    handler = signal.getsignal(number)
    if not callable(handler):  # the signal is ignored or ends the process: no handler can raise
        yield
        return
    arrived: list[int] = []
    try:
        signal.signal(number, lambda number, frame: arrived.append(number))
        yield
    finally:
        signal.signal(number, handler)
        if arrived:
            signal.raise_signal(number)
