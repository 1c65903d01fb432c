"""Limits on waiting for a server: until it answers, and for the bytes of its answer."""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TypeVar, cast

from capivara_cli.errors import UsageError

SECONDS_VARIABLE = "CAPIVARA_NETWORK_SECONDS"
BYTES_VARIABLE = "CAPIVARA_NETWORK_BYTES"
SERVICE_VARIABLE = "CAPIVARA_SERVICE_SECONDS"
MAX_REDIRECTS = 20
_CONNECT_SECONDS = 10.0


@dataclass(frozen=True)
class NetworkLimits:
    """``seconds``: the longest wait for an answer. ``least``: the number of bytes that must arrive in this time."""

    seconds: float = 30.0
    least: int = 10_000

    @classmethod
    def from_environment(cls) -> NetworkLimits:
        """The limits, with the values of the environment variables. Raises ``UsageError`` if one is not a number."""
        return cls(number_in(SECONDS_VARIABLE, cls.seconds), int(number_in(BYTES_VARIABLE, cls.least)))

    @property
    def connect(self) -> float:
        """The longest wait for a connection, in seconds."""
        return min(_CONNECT_SECONDS, self.seconds)

    def no_answer(self) -> TooSlow:
        """The error of a server that did not answer in time."""
        return TooSlow(f"no answer in {self.seconds:g} s ({SECONDS_VARIABLE})")

    def few_bytes(self, count: int, seconds: float) -> TooSlow:
        """The error of a server that sent ``count`` bytes in ``seconds``."""
        sent = f"{count:,} byte{'' if count == 1 else 's'} in {seconds:.0f} s"
        return TooSlow(f"{sent}: too slow (the least is {self.least:,} in {self.seconds:g} s: {BYTES_VARIABLE})")


def service_seconds(default: float) -> float:
    """The longest wait for the whole answer of a service, in seconds."""
    return number_in(SERVICE_VARIABLE, default)


def number_in(variable: str, default: float) -> float:
    """The number in an environment variable, ``default`` if it is not set.

    Raises ``UsageError`` for anything but a number above zero.
    """
    text = os.environ.get(variable, "").strip()
    if not text:
        return default
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise UsageError(f"{variable}={text}: not a number above 0", f"unset it: the default is {default:g}")
    return number


class TooSlow(OSError):
    """A server that does not answer in time, or sends too little. ``most_tries`` limits the tries of ``Retry``."""

    most_tries = 3


class Pace:
    """The pace at which bytes arrive, over all connections to one file. Pauses of the reader do not count."""

    def __init__(self, limits: NetworkLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits
        self.too_slow = False  # stays true until enough bytes have arrived in time
        self._clock = clock
        self._bytes = 0
        self._waited = 0.0

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time of a ``with`` block as time of waiting for the server."""
        began = self._clock()
        try:
            yield
        finally:
            self._waited += self._clock() - began

    def watched(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        """The blocks. Raises ``TooSlow`` after a block if too few bytes have arrived by then."""
        while True:
            with self.waiting():
                block = next(blocks, None)
            if block is None:
                return
            self._bytes += len(block)
            if self._bytes >= self.limits.least:
                self.too_slow = False
                self._bytes, self._waited = 0, 0.0
            yield block
            if self._waited >= self.limits.seconds:
                raise self.stalled()

    def stalled(self) -> TooSlow:
        """The error for too few bytes so far. Starts a new measurement."""
        late = self.limits.few_bytes(self._bytes, self._waited)
        self.too_slow = True
        self._bytes, self._waited = 0, 0.0
        return late


Result = TypeVar("Result")


def answered(send: Callable[[], Result], seconds: float, late: TooSlow) -> Result:
    """The result of ``send()``, which waits for a server. Raises ``late`` if there is none after ``seconds``.

    The timeouts of libraries start anew with each byte. So ``send`` runs in a thread of its own, which is left behind
    when it is late. Its result is closed then, if it has a connection.
    """
    outcome: SimpleQueue[tuple[Result | None, BaseException | None]] = SimpleQueue()
    is_late = threading.Event()

    def work() -> None:
        try:
            result = send()
        except BaseException as error:  # noqa: BLE001  raised in the thread that waits
            outcome.put((None, error))
            return
        outcome.put((result, None))
        if is_late.is_set() and hasattr(result, "close"):
            result.close()

    threading.Thread(target=work, name="capivara-request", daemon=True).start()
    try:
        result, error = outcome.get(timeout=seconds)
    except Empty:
        is_late.set()
        raise late from None
    if error is not None:
        raise error
    return cast("Result", result)
