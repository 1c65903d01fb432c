"""The one retry loop for everything that a network can interrupt: stores, downloads and HTTP services."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any, TypeVar

from capivara_cli.errors import CapivaraError

Result = TypeVar("Result")
Errors = tuple[type[BaseException], ...]

TRIES = 8
FIRST_WAIT = 0.5
LONGEST_WAIT = 30.0
_BUSY = frozenset({408, 409, 425, 429})


class HttpStatus(OSError):
    """The answer of a server that refuses a request, or cannot answer it now. ``wait``: the seconds it asks for."""

    def __init__(self, status: int, wait: float = 0.0, said: str = "") -> None:
        super().__init__(f"the server answers HTTP {status}" + (f": {said}" if said else ""))
        self.status = status
        self.wait = wait

    @classmethod
    def of(cls, answer: Any, said: str = "") -> HttpStatus:
        """The error for an httpx answer. A ``Retry-After`` in seconds is obeyed, a date is not."""
        try:
            wait = max(0.0, float(answer.headers.get("Retry-After", "")))
        except ValueError:
            wait = 0.0
        return cls(answer.status_code, wait, said)


class Interrupted(OSError):
    """The connection ended before the file did."""


class GivenUp(CapivaraError):
    """Several tries in a row failed."""


def is_refusal(status: int) -> bool:
    """Whether the same request gets the same answer again."""
    return 400 <= status < 500 and status not in _BUSY


class Retry:
    """Repeats one piece of work when it fails, with growing pauses, and gives up after ``tries`` failures in a row.

    ``caught()`` are the exceptions that it handles. ``final(error)`` is the ``CapivaraError`` to raise at once, None
    where another try may succeed. ``why(error)`` is one line for people. ``pause`` waits a number of seconds.
    """

    def __init__(
        self, shown: str, caught: Callable[[], Errors], why: Callable[[BaseException], str] = str,
        final: Callable[[BaseException], CapivaraError | None] = lambda error: None,
        tries: int = 0, longest: float = 0.0, pause: Callable[[float], object] = time.sleep,
    ) -> None:  # fmt: skip
        self._shown, self._caught, self._why, self._final, self._pause = shown, caught, why, final, pause
        self._tries, self._longest = tries or TRIES, longest or LONGEST_WAIT
        self._failed = 0

    def progress(self) -> None:
        """Count failures from zero again: some of the work succeeded."""
        self._failed = 0

    def wait_or_raise(self, error: BaseException, so_far: str = "") -> None:
        """Wait before the next try; ``so_far`` says how far the work came. Raises ``GivenUp``, or the final error."""
        if (fatal := self._final(error)) is not None:
            raise fatal from None
        self._failed += 1
        if self._failed >= self._tries:
            after = f"{so_far}, " if so_far else ""
            raise GivenUp(
                f"{self._shown}: {after}given up after {self._tries} tries: {self._why(error)}",
                "run the same command again when the server can be reached: what is finished stays finished",
            ) from None
        wait = min(self._longest, FIRST_WAIT * 2 ** (self._failed - 1))
        asked = min(self._longest, getattr(error, "wait", 0.0))
        self._pause(max(asked, wait * random.uniform(0.75, 1.25)))  # many workers must not come back all at once

    def over(self, work: Callable[[], Result]) -> Result:
        """The result of ``work()``, which is called again until it succeeds."""
        while True:
            try:
                return work()
            except self._caught() as error:
                self.wait_or_raise(error)
