"""Exceptions whose messages tell the user what happened and what to try."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator

RESUME = "run the same command again to resume"
_STORED = "capivara_stored"


class CapivaraError(Exception):
    """An error that the user can fix: the message names the file or key, the hint says what to try."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(CapivaraError):
    """The command line itself is wrong."""

    exit_code = 2


class TruncatedInput(CapivaraError):
    """A stream ended before its end marker, because its writer failed or was killed."""


class Terminated(BaseException):
    """SIGTERM, as an exception, so that unfinished files are removed on the way out."""


class Unsupported(CapivaraError):
    """A plugin lacks what was asked of it, such as a pair of languages: the message names what it knows."""


class BadSample(Exception):
    """A sample that cannot be used; its reader drops it with this reason and continues."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@contextlib.contextmanager
def resumable(stored: Callable[[], str]) -> Iterator[None]:
    """Note on Ctrl-C, SIGTERM and errors of the disk what the work inside has stored, for the message at the end.

    ``stored`` returns it in words, such as "out: 3 of 5 shards are finished"; "" for nothing. It is called when the
    work has stopped. Where several are nested, the innermost that has something counts.
    """
    try:
        yield
    except (KeyboardInterrupt, Terminated, OSError) as stop:
        if not stored_before(stop):
            with contextlib.suppress(CapivaraError, OSError):
                setattr(stop, _STORED, stored())
        raise


def stored_before(stop: BaseException) -> str:
    """What the stopped work has stored and how to resume it, as one line; "" for nothing."""
    found: str = getattr(stop, _STORED, "")
    return f"{found}; {RESUME}" if found else ""


def unknown(kind: str, name: str, known: Iterable[str], hint: str = "") -> CapivaraError:
    """The error for an unknown name. It lists the known names and suggests a similar one."""
    import difflib

    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    message = f"there is no {kind} {name!r}; there are {', '.join(names) or 'none'}"
    if close:
        message += f" — did you mean {close[0]}?"
    return CapivaraError(message, hint)
