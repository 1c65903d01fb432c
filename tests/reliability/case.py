"""One bad input, and what must happen with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from reliability.made_bad import Make


def nothing(folder: Path) -> None:
    """An empty folder."""


@dataclass(frozen=True)
class Case:
    """``wrong``: what is wrong, in words; ``line``: the command line behind "capivara"; ``make`` makes the folder it
    runs in.

    ``says`` is a regular expression that standard error matches. ``read``, ``written`` and ``dropped`` are those of the
    summary, where the command goes on. ``stdin``: a file in the folder. ``changes``: inputs that may be another after.
    """

    wrong: str
    line: str
    make: Make
    says: str
    code: int = 1
    read: int | None = None
    written: int | None = None
    dropped: dict[str, int] = field(default_factory=dict)
    stdin: str = ""
    changes: tuple[str, ...] = ()
