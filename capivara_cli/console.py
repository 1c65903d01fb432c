"""Print messages and progress to standard error. Standard output is for data only."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from capivara_cli.errors import CapivaraError
from capivara_cli.urls import without_secrets

Item = TypeVar("Item")

_PLAIN_SECONDS = 10.0
_BAR_SECONDS = 0.1
_BARS = "▁▂▃▄▅▆▇█"


class Streams:
    """The standard streams of this process. ``quiet`` prints errors only. ``data`` is the moved standard output."""

    def __init__(self) -> None:
        self.quiet = False
        self.data: int | None = None


STREAMS = Streams()
"""The only instance. Descriptors 1 and 2 belong to the whole process, and a warning in a callback of a library must
reach the same standard error, so no part of the program can have its own."""


def be_quiet(quiet: bool) -> None:
    """``--quiet``: print errors only from now on."""
    STREAMS.quiet = quiet


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Print errors only, inside the ``with`` block: for the parts of a command that has its own summary."""
    before = STREAMS.quiet
    be_quiet(True)
    try:
        yield
    finally:
        be_quiet(before)


def open_closed_streams() -> None:
    """Put the null device in place of standard streams that are closed.

    Otherwise the next file that is opened would be standard error, and messages would be written into it. Messages are
    discarded; a result written to closed standard output is an error, because the null device is open for reading.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            lowest_free = os.open(os.devnull, os.O_WRONLY if name == "stderr" else os.O_RDONLY)
            os.set_inheritable(lowest_free, True)  # programs that we start have the same streams
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115  as long as the process


def is_writable(descriptor: int) -> bool:
    """Whether a descriptor is open for writing: standard output is not if it was closed."""
    import fcntl

    return fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY


def claim_stdout() -> int:
    """Reserve standard output for data and return its new descriptor. Prints of libraries go to standard error."""
    if STREAMS.data is None:
        sys.stdout.flush()
        STREAMS.data = os.dup(1)
        os.dup2(2, 1)
    return STREAMS.data


def print_result(text: str) -> None:
    """Write the result of a command such as ``show``, ``list`` or ``--json`` to the real standard output.

    Bytes of file names that are not UTF-8 are written as they are. Raises ``CapivaraError`` if it cannot be written,
    and ``BrokenPipeError`` if nobody reads it.
    """
    with writing_to_stdout():
        if STREAMS.data is None:
            sys.stdout.write(text)
            sys.stdout.flush()
        else:
            with open(STREAMS.data, "w", encoding="utf-8", errors="surrogateescape", closefd=False) as out:
                out.write(text)


@contextlib.contextmanager
def writing_to_stdout() -> Iterator[None]:
    """Raise ``CapivaraError`` for an error of standard output inside. What Python has not written yet is discarded."""
    try:
        yield
    except OSError as error:
        if STREAMS.data is None:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # at its exit, Python would write again and show the error
        if isinstance(error, BrokenPipeError):
            raise
        why = "is closed" if error.errno == errno.EBADF else f"cannot be written: {error.strerror}"
        raise CapivaraError(f"standard output {why}") from error


def is_terminal() -> bool:
    """Whether ``print_result`` writes to a terminal."""
    return sys.stdout.isatty() if STREAMS.data is None else os.isatty(STREAMS.data)


def say(text: str) -> None:
    """Print one line, unless ``--quiet``."""
    if not STREAMS.quiet:
        _write(printable(text) + "\n")


def warn(text: str) -> None:
    """Print a warning, unless ``--quiet``. The command continues."""
    say(f"warning: {text}")


@functools.cache
def warn_once(text: str) -> None:
    """Print a warning the first time that this process has it."""
    warn(text)


def error(message: str, hint: str = "") -> None:
    """Print an error, also with ``--quiet``. Only ``cli.app`` calls this."""
    _write(f"capivara: {printable(without_secrets(message))}\n")
    for line in hint.splitlines():
        _write(f"  {printable(without_secrets(line))}\n")


def _write(text: str) -> None:
    with contextlib.suppress(OSError, ValueError):  # a closed terminal must not turn success into failure
        sys.stderr.write(text)
        sys.stderr.flush()


def printable(text: str) -> str:
    """Make untrusted text safe for a terminal: control and bidirectional characters become escapes."""
    return "".join(
        char if char.isprintable() or char in "\n\t\u200c\u200d" else char.encode("unicode_escape").decode()
        for char in text
    )


def one_line(text: str, longest: int) -> str:
    """Untrusted text in one line, safe for a terminal. A longer line is cut, and its length is added."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= longest else f"{line[:longest]}… ({len(line):,} characters)"


def track(items: Iterable[Item], what: str, total: int | None = None) -> Iterator[Item]:
    """Yield the items and show count, rate and time left: in a live line on a terminal, else a line every 10 s."""
    bar = Progress(what, total)
    try:
        for item in items:
            yield item
            bar.advance()
    finally:
        bar.close()


class Progress:
    """Shows the progress of a count. ``advance`` may be called often: it prints at most ten times per second."""

    def __init__(self, what: str, total: int | None = None) -> None:
        self.what = what
        self.total = total
        self.done = 0
        self.suffix = ""
        self._started = time.monotonic()
        # Commands of a pipe share the terminal, and their live lines would overwrite each other.
        self._live = sys.stderr.isatty() and sys.stdin is not None and sys.stdin.isatty() and not STREAMS.quiet
        self._next = self._started + (_BAR_SECONDS if self._live else _PLAIN_SECONDS)
        self._drawn = False

    def advance(self, count: int = 1, suffix: str = "") -> None:
        """Add ``count``; ``suffix`` (for instance a loss) is shown after the rate."""
        self.done += count
        self.suffix = suffix or self.suffix
        now = time.monotonic()
        if now >= self._next and not STREAMS.quiet:
            self._next = now + (_BAR_SECONDS if self._live else _PLAIN_SECONDS)
            self._draw(now)

    def close(self) -> None:
        """Clear the live line; the summary follows."""
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


def size(count: float) -> str:
    """A number of bytes: ``999`` -> "999 B", ``1.5e9`` -> "1.5 GB"."""
    amount = float(round(count))
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 999.5:
            return f"{amount:.3g} {unit}"
        amount /= 1000
    return f"{amount:,.3g} TB"


def sparkline(heights: Iterable[float | None]) -> str:
    """A line of bars: each height from 0 (the lowest bar) to 1 (the highest) gives one, None a space.

    >>> sparkline([0, 0.5, None, 1])
    '▁▅ █'
    """
    return "".join(" " if height is None else _BARS[round(height * (len(_BARS) - 1))] for height in heights)


def table(rows: Iterable[Iterable[object]], header: Iterable[str]) -> str:
    """An aligned table, safe for a terminal: numbers to the right, text to the left, wide characters as two columns."""
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
