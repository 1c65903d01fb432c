"""What can go wrong, in words for the person who has to mend it."""

from __future__ import annotations

from collections.abc import Iterable


class CapivaraError(Exception):
    """Something the user can mend: what happened to which file or key, and a hint what to try."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(CapivaraError):
    """The command line itself is wrong."""

    exit_code = 2


class TruncatedInput(CapivaraError):
    """A stream ended before its end marker: whatever wrote it failed or was killed."""


class BadSample(Exception):
    """One sample cannot be used; whoever reads it drops it with this reason and goes on."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def unknown(kind: str, name: str, known: Iterable[str], hint: str = "") -> CapivaraError:
    """The error for a name that is not there: lists the known ones and guesses which was meant."""
    import difflib

    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    message = f"there is no {kind} {name!r}; there are {', '.join(names) or 'none'}"
    if close:
        message += f" — did you mean {close[0]}?"
    return CapivaraError(message, hint)
