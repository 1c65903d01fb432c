"""Exceptions whose messages tell the user what happened and what to try."""

from __future__ import annotations

from collections.abc import Iterable


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


class Unsupported(CapivaraError):
    """A plugin lacks what was asked of it, such as a pair of languages: the message names what it knows."""


class BadSample(Exception):
    """A sample that cannot be used; its reader drops it with this reason and continues."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def unknown(kind: str, name: str, known: Iterable[str], hint: str = "") -> CapivaraError:
    """The error for an unknown name. It lists the known names and suggests a similar one."""
    import difflib

    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    message = f"there is no {kind} {name!r}; there are {', '.join(names) or 'none'}"
    if close:
        message += f" — did you mean {close[0]}?"
    return CapivaraError(message, hint)
