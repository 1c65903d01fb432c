"""Everything people read: lines and progress on standard error. Standard output belongs to data."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from capivara_cli.urls import without_secrets

Item = TypeVar("Item")

_quiet = False
_stdout: int | None = None
_PLAIN_SECONDS = 10.0
_BAR_SECONDS = 0.1


def be_quiet(quiet: bool) -> None:
    """``--quiet``: from now on, errors only."""
    global _quiet
    _quiet = quiet


@contextlib.contextmanager
def hushed() -> Iterator[None]:
    """Say nothing but errors in here: for the parts of something that says it all at its end."""
    before = _quiet
    be_quiet(True)
    try:
        yield
    finally:
        be_quiet(before)


def claim_stdout() -> int:
    """Keep standard output for data: its descriptor is moved, and what libraries print goes to standard error."""
    global _stdout
    if _stdout is None:
        sys.stdout.flush()
        _stdout = os.dup(1)
        os.dup2(2, 1)
    return _stdout


def page(text: str) -> None:
    """Text that is itself the result (``show``, ``list``, ``--json``), to the real standard output."""
    if _stdout is None:
        sys.stdout.write(text)
        return
    with open(_stdout, "w", encoding="utf-8", closefd=False) as out:
        out.write(text)


def is_terminal() -> bool:
    """Whether what ``page`` writes goes to a terminal."""
    return sys.stdout.isatty() if _stdout is None else os.isatty(_stdout)


def say(text: str) -> None:
    """One line for people."""
    if not _quiet:
        _write(printable(text) + "\n")


def warn(text: str) -> None:
    """Something that needs attention and stops nothing."""
    say(f"warning: {text}")


def error(message: str, hint: str = "") -> None:
    """The one place an error is printed; ``--quiet`` does not silence it."""
    _write(f"capivara: {printable(without_secrets(message))}\n")
    for line in hint.splitlines():
        _write(f"  {printable(without_secrets(line))}\n")


def _write(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # a closed terminal must not turn success into failure
        sys.stderr.write(text)
        sys.stderr.flush()


def printable(text: str) -> str:
    """Text from strangers made safe for a terminal: control and bidi characters shown as escapes."""
    return "".join(
        char if char.isprintable() or char in "\n\t\u200c\u200d" else char.encode("unicode_escape").decode()
        for char in text
    )


def track(items: Iterable[Item], what: str, total: int | None = None) -> Iterator[Item]:
    """Yield the items while showing count, rate and time left: a live line on a terminal, else one every 10 s."""
    bar = Progress(what, total)
    try:
        for item in items:
            yield item
            bar.advance()
    finally:
        bar.close()


class Progress:
    """A count that grows: ``advance`` as often as you like, it draws seldom."""

    def __init__(self, what: str, total: int | None = None) -> None:
        self.what = what
        self.total = total
        self.done = 0
        self.suffix = ""
        self._started = time.monotonic()
        # In a pipe several commands share the terminal: a live line each would overwrite the others'.
        self._live = sys.stderr.isatty() and sys.stdin is not None and sys.stdin.isatty() and not _quiet
        self._next = self._started + (_BAR_SECONDS if self._live else _PLAIN_SECONDS)
        self._drawn = False

    def advance(self, count: int = 1, suffix: str = "") -> None:
        """Count ``count`` more; ``suffix`` (a loss, say) is shown behind the rate."""
        self.done += count
        self.suffix = suffix or self.suffix
        now = time.monotonic()
        if now >= self._next and not _quiet:
            self._next = now + (_BAR_SECONDS if self._live else _PLAIN_SECONDS)
            self._draw(now)

    def close(self) -> None:
        """Clear the live line: what remains to be said is in the summary."""
        if self._live and self._drawn:
            _write("\r\x1b[2K")

    def _draw(self, now: float) -> None:
        rate = self.done / max(now - self._started, 1e-9)
        parts = [f"{self.done:,}" + (f"/{self.total:,}" if self.total else ""), f"{rate:,.1f}/s"]
        if self.total:
            parts.append(f"{duration((self.total - self.done) / max(rate, 1e-9))} left")
        if self.suffix:
            parts.append(self.suffix)
        line = f"{self.what}: {', '.join(parts)}"
        if self._live and self.total:
            filled = min(20, 20 * self.done // self.total)
            line = f"{self.what} {'█' * filled}{'░' * (20 - filled)} {', '.join(parts)}"
        _write(f"\r\x1b[2K{line}" if self._live else line + "\n")
        self._drawn = True


def duration(seconds: float) -> str:
    """``4.2`` -> "4.2 s", ``75`` -> "1 min 15 s", ``7300`` -> "2 h 01 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def table(rows: Iterable[Iterable[object]], header: Iterable[str]) -> str:
    """A plain aligned table, safe for a terminal: numbers right, text left; wide characters count as two columns."""
    cells = [[printable(str(cell)).replace("\n", " ") for cell in row] for row in (header, *rows)]
    widths = [max(_width(row[column]) for row in cells) for column in range(len(cells[0]))]
    right = [all(_numeric(row[column]) for row in cells[1:]) for column in range(len(cells[0]))]
    lines = []
    for row in cells:
        padded = [
            " " * (width - _width(cell)) + cell if aligned else cell + " " * (width - _width(cell))
            for cell, width, aligned in zip(row, widths, right, strict=True)
        ]
        lines.append("  ".join(padded).rstrip())
    return "\n".join([lines[0], "  ".join("─" * width for width in widths), *lines[1:]])


def _numeric(cell: str) -> bool:
    return not cell or cell[0] in "0123456789+-−–." or cell in {"—", "n/a"}


def _width(text: str) -> int:
    import unicodedata

    return sum(
        0
        if unicodedata.combining(char) or unicodedata.category(char) in {"Mn", "Cf"}
        else 2
        if unicodedata.east_asian_width(char) in "WF"
        else 1
        for char in text
    )
