"""Print messages and progress to standard error. Standard output is for data only."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from capivara_cli import terminal
from capivara_cli.errors import CapivaraError
from capivara_cli.terminal import Board, Count, StyledText
from capivara_cli.urls import without_secrets

Item = TypeVar("Item")

_PLAIN_SECONDS = 10.0
_BARS = "▁▂▃▄▅▆▇█"
_WARNING, _INDENT = "warning: ", "  "


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
    if is_terminal():
        terminal.write("")
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


def say(text: str, style: str = "") -> None:
    """Print a message, unless ``--quiet``; ``style`` in rich's words is for terminals with colours."""
    if STREAMS.quiet:
        return
    mark = _WARNING if text.startswith(_WARNING) else ""  # from ``warn``, here or in a worker
    parts = StyledText(mark, "bold yellow"), StyledText(printable(text[len(mark) :]), "yellow" if mark else style)
    terminal.write(terminal.styled(*parts) + "\n")


def warn(text: str, advice: str = "") -> None:
    """Print a warning, and what to do in the next lines, unless ``--quiet``. The command continues."""
    say(f"{_WARNING}{text}")
    hint(advice)


_WARNED: set[str] = set()
_WARNING_ONCE = threading.Lock()


def warn_once(text: str, advice: str = "") -> None:
    """Print a warning the first time that this process has it, in whichever thread."""
    with _WARNING_ONCE:
        known = text in _WARNED
        _WARNED.add(text)
    if not known:
        warn(text, advice)


def hint(text: str) -> None:
    """Print what the user may do next, unless ``--quiet``: indented lines, like the second line of an error."""
    for line in text.splitlines():
        say(f"{_INDENT}{line}", "dim")


def error(message: str, hint: str = "") -> None:
    """Print an error, also with ``--quiet``. Only ``cli.app`` calls this."""
    terminal.LIVE.end()
    head, text = StyledText("capivara: ", "bold red"), StyledText(printable(without_secrets(message)), "bold")
    advice = [StyledText(f"{_INDENT}{printable(without_secrets(line))}", "dim") for line in hint.splitlines()]
    terminal.write("\n".join([terminal.styled(head, text), *map(terminal.styled, advice)]) + "\n")


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


Total = int | Callable[[], int | None] | None
"""The count at the end; a function, which is called when the progress is shown, if it takes time to find; or None."""


def track(items: Iterable[Item], what: str, total: Total = None) -> Iterator[Item]:
    """Yield the items and show count, rate and time left: in a live line on a terminal, else a line every 10 s."""
    bar = Progress(what, total)
    try:
        for item in items:
            yield item
            bar.advance()
    finally:
        bar.close()


class Progress:
    """Shows the progress of a count: the last one that was made, until it is closed. ``advance`` may be called often.

    On a terminal a thread draws it five times per second, as ``terminal`` explains; elsewhere there is a line every
    ten seconds.
    """

    def __init__(self, what: str, total: Total = None) -> None:
        self.what = what
        self._total = total
        self._estimated = False
        self.done = 0
        self.suffix = ""
        output = 1 if STREAMS.data is None else STREAMS.data
        shown = not STREAMS.quiet and terminal.moves_cursor()
        piped = shown and (terminal.is_pipe(0) or terminal.is_pipe(output))
        self._live = shown and terminal.draws(output)
        self._board = Board() if piped else None
        self._started = time.monotonic()
        self._first: tuple[float, int] | None = (
            None  # when the first were done, after models were loaded, and the count
        )
        self._next = self._started + _PLAIN_SECONDS
        if self._live or self._board:
            terminal.LIVE.add(self)

    def advance(self, count: int = 1, suffix: str = "") -> None:
        """Add ``count``; ``suffix`` (for instance a loss) is shown after the rate."""
        self.done += count
        self.suffix = suffix or self.suffix
        now = time.monotonic()
        if self._first is None and self.done:
            self._first = now, self.done
        if now >= self._next and not self._live and not STREAMS.quiet:
            self._next = now + _PLAIN_SECONDS
            if not (self._board and any(each.draws for each in self._board.others())):
                say(f"{self.what}: {self._numbers(self.total, now)}")

    @property
    def total(self) -> int | None:
        """The count at the end, if it is known."""
        if callable(self._total):
            self._total = self._total()
        return self._total

    def expect(self, total: Total) -> None:
        """Set the count at the end, which was not known at the beginning."""
        self._total, self._estimated = total, False

    def estimate(self, parts: int, of: int) -> None:
        """Estimate an unknown total: so many parts of equal size are done."""
        if self._estimated or not self.total:
            self._total, self._estimated = round(self.done * of / parts), True

    def close(self) -> None:
        """Clear the live line; the summary follows."""
        terminal.LIVE.remove(self)

    def show(self) -> None:
        """Draw the live line, or tell the command that draws it how far this one is."""
        others = self._board.others() if self._board else []
        if not self.total and (total := max((each.total for each in others), default=0)):
            self._total, self._estimated = total, True  # commands before this one may drop some
        own = self._count()
        if self._board:
            self._board.put(own)
        if self._live and not STREAMS.quiet:
            at_work = [each for each in others if not each.ended]
            terminal.draw(at_work, own, self._numbers(self.total, time.monotonic()))

    def clear(self) -> None:
        """Clear the live line of this command, or tell the one that draws it that this one has finished."""
        if self._board:
            self._board.end(self._count())
        if self._live:
            terminal.write("")

    def _count(self) -> Count:
        return Count(self.what, self.done, self.total or 0, self._live)

    def _numbers(self, total: int | None, now: float) -> str:
        begun, before = self._first or (now, self.done)
        rate = (self.done - before) / max(now - begun, 1e-9)
        parts = [f"{self.done:,}" + (f"/{'~' * self._estimated}{total:,}" if total else "")]
        parts.append(f"{rate:,.1f}/s" if rate else duration(now - self._started))
        if total and rate:
            parts.append(f"{duration(max(0, total - self.done) / rate)} left")
        return ", ".join([*parts, *[self.suffix] * bool(self.suffix)])


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


def table(rows: Iterable[Iterable[object]], header: Iterable[str], *, result: bool = False) -> str:
    """An aligned table: numbers to the right, text to the left, wide characters as two columns.

    It goes to standard error, or is a ``result`` for standard output. On a terminal that is too narrow, texts take
    several lines. The text has no colours, and untrusted cells are safe for a terminal.
    """
    output = 1 if STREAMS.data is None else STREAMS.data
    cells = [[printable(str(cell)).replace("\n", " ") for cell in row] for row in (header, *rows)]
    return terminal.table(cells, terminal.columns(output if result else 2))
