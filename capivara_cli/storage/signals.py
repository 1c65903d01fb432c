"""Signals held back for a few lines that must run to their end."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def signals_held_back() -> Iterator[None]:
    """Let no handler of SIGINT or SIGTERM interrupt the block: one that raises does so at the end of the block.

    Handlers run in the main thread, so there is nothing to hold back in another one. A signal mask does not help: the
    system delivers a masked signal to another thread, and Python still runs the handler in the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with _held_back(signal.SIGINT), _held_back(signal.SIGTERM):
        yield


@contextlib.contextmanager
def _held_back(number: int) -> Iterator[None]:
    handler = signal.getsignal(number)
    if not callable(handler):  # ignored, or it ends the process at once: nothing can raise
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
