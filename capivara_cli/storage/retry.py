"""The retry loop for all network access: remote stores, downloads and HTTP services."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from capivara_cli import console
from capivara_cli.errors import CapivaraError

if TYPE_CHECKING:
    import httpx

Result = TypeVar("Result")
Errors = tuple[type[BaseException], ...]

TRIES = 8
FIRST_WAIT = 0.5
LONGEST_WAIT = 30.0
_SILENT_SECONDS = 10.0
_BUSY = frozenset({408, 409, 425, 429})


class HttpStatus(OSError):
    """An HTTP error status. ``wait`` is the pause in seconds that the server asks for; ``detail`` is for people."""

    def __init__(self, status: int, wait: float = 0.0, detail: str = "") -> None:
        super().__init__(f"the server answers HTTP {status}" + (f": {detail}" if detail else ""))
        self.status = status
        self.wait = wait

    @classmethod
    def of(cls, answer: httpx.Response, detail: str = "") -> HttpStatus:
        """The error for an HTTP response. ``Retry-After`` counts if it is a number of seconds, not a date."""
        try:
            wait = max(0.0, float(answer.headers.get("Retry-After", "")))
        except ValueError:
            wait = 0.0
        return cls(answer.status_code, wait, detail)


class Interrupted(OSError):
    """The connection ended before the end of the file."""


class GivenUp(CapivaraError):
    """Several tries in a row failed. Its cause is the error of the last one."""


def is_refusal(status: int) -> bool:
    """Whether an HTTP status is a refusal that a later try would get again."""
    return 400 <= status < 500 and status not in _BUSY


class Retry:
    """Repeats work that fails, with growing pauses, and gives up after ``tries`` failures in a row.

    An error with ``most_tries`` ends it after that number of failures. After ten seconds of pauses it says once what it
    waits for.

    ``shown`` names the file or service in messages. ``caught()`` are the exceptions that lead to another try.
    ``final(error)`` is the ``CapivaraError`` to raise at once, or None if another try may succeed. ``why(error)`` is
    one line for people. ``longest`` limits a pause, in seconds. ``pause`` waits for a number of seconds.
    """

    def __init__(
        self, shown: str, caught: Callable[[], Errors], why: Callable[[BaseException], str] = str,
        final: Callable[[BaseException], CapivaraError | None] = lambda error: None,
        tries: int = 0, longest: float = 0.0, pause: Callable[[float], object] = time.sleep,
    ) -> None:  # fmt: skip
        self._shown, self._caught, self._why, self._final, self._pause = shown, caught, why, final, pause
        self._tries, self._longest = tries or TRIES, longest or LONGEST_WAIT
        self._failed = 0
        self._paused = 0.0

    def progress(self) -> None:
        """Reset the count of failures, because some of the work succeeded."""
        self._failed = 0

    def wait_or_raise(self, error: BaseException, so_far: str = "") -> None:
        """Wait before the next try. Raises ``GivenUp`` after the last one, or the final error, with ``error`` as cause.

        ``so_far`` is the progress of the work, for the message.
        """
        if (fatal := self._final(error)) is not None:
            raise fatal from error
        self._failed += 1
        tries = min(self._tries, getattr(error, "most_tries", self._tries))
        if self._failed >= tries:
            after = f"{so_far}, " if so_far else ""
            raise GivenUp(
                f"{self._shown}: {after}gave up after {self._failed} tries: {self._why(error)}",
                "run the same command again when the server can be reached",
            ) from error
        wait = min(self._longest, FIRST_WAIT * 2 ** (self._failed - 1))
        asked = min(self._longest, getattr(error, "wait", 0.0))
        wait = max(asked, wait * random.uniform(0.75, 1.25))  # many workers must not retry at the same moment
        if self._paused < _SILENT_SECONDS <= self._paused + wait:
            console.warn_once(f"{self._shown}: {self._why(error)}; trying again ({self._failed + 1} of {tries})")
        self._paused += wait
        self._pause(wait)

    def call(self, work: Callable[[], Result]) -> Result:
        """Call ``work()`` until it succeeds, and return its result."""
        while True:
            try:
                return work()
            except self._caught() as error:
                self.wait_or_raise(error)
