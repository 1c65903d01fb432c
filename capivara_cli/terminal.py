"""Standard error as a terminal: whole messages, and one line of progress below them.

The commands of a pipe write to one terminal at the same time, without a lock. Two rules keep their lines whole. A line
of progress never ends, and fits the terminal. Every message is a single write that clears the line of progress first;
whoever draws that line draws it again a moment later. Only one command of a pipe draws it (``draws``); the others leave
their counts in files for it (``Board``).
"""

from __future__ import annotations

import atexit
import contextlib
import os
import stat
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

CLEAR = "\r\x1b[2K"
_EVERY = 0.2  # s: between two drawings of the line of progress
_STALE = 10.0  # s: counts that were not renewed for so long are of a command that was killed
_OLD = 3600.0  # s: after this, counts that a finished command has left for the one that draws are deleted
_BAR = 20  # columns
_WIDEST = 10_000  # columns of a table that goes to no terminal
_GAP, _NARROWEST = 2, 8  # columns between two columns of a table, and of a column of texts


def is_terminal() -> bool:
    """Whether standard error is a terminal."""
    with contextlib.suppress(AttributeError, ValueError):  # none at all, or closed
        return sys.stderr.isatty()
    return False


def moves_cursor() -> bool:
    """Whether standard error is a terminal that can clear a line."""
    return is_terminal() and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")


def in_foreground() -> bool:
    """Whether this command may draw on the terminal: it is no background job of its shell."""
    try:
        return os.tcgetpgrp(2) == os.getpgrp()
    except OSError:  # it is not the terminal that controls this process
        return True


def is_pipe(descriptor: int) -> bool:
    """Whether a descriptor is a pipe to or from another command."""
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:  # closed
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def draws(standard_output: int) -> bool:
    """Whether this command draws the line of progress: of a pipe, its last command, in the foreground.

    If the reader of ``standard_output`` is a program that does not know of the line, nobody draws it.
    """
    return moves_cursor() and in_foreground() and not is_pipe(standard_output)


def write(text: str) -> None:
    """Write whole lines, in place of a line of progress. A closed terminal must not turn success into failure."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(CLEAR + text if moves_cursor() else text)
        sys.stderr.flush()


class StyledText(NamedTuple):
    """A text, and its style in rich's words: "bold red". Markup in the text means nothing."""

    text: str
    style: str = ""


def styled(*parts: StyledText) -> str:
    """The texts joined: with the codes for their styles on a terminal that has colours, unless NO_COLOR is set."""
    if not is_terminal() or not any(each.style for each in parts):
        return "".join(each.text for each in parts)
    from rich.text import Text

    console = rich_console()
    with console.capture() as found:
        console.print(Text.assemble(*((each.text, each.style) for each in parts)), end="", soft_wrap=True)
    return found.get()


def rich_console(width: int | None = None) -> Console:
    """A console of rich for standard error that takes every text as it is."""
    from rich.console import Console  # 50 ms, which a command that writes to no terminal saves

    return Console(file=sys.stderr, width=width, highlight=False, markup=False, emoji=False)


def columns(descriptor: int) -> int | None:
    """The width of the terminal at a descriptor; None if it is no terminal."""
    with contextlib.suppress(OSError, ValueError):
        if os.isatty(descriptor):
            return int(os.environ.get("COLUMNS") or os.get_terminal_size(descriptor).columns) or None
    return None


def table(rows: Sequence[Sequence[str]], width: int | None) -> str:
    """A table without colours, of which the first row is the header: numbers to the right, texts to the left.

    In ``width`` columns, texts take several lines; numbers never do, so the table may be wider.
    """
    import io

    from rich.box import SIMPLE_HEAD
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    header, *body = rows
    needed = -_GAP
    found = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for index, name in enumerate(header):
        numeric = all(_is_number(row[index]) for row in body)
        found.add_column(Text(name), justify="right" if numeric else "left", overflow="fold", no_wrap=numeric)
        widest = max(cell_len(row[index]) for row in rows)
        needed += _GAP + (widest if numeric else min(widest, _NARROWEST))
    for row in body:
        found.add_row(*map(Text, row))
    out = io.StringIO()
    console = Console(file=out, width=max(width, needed) if width else _WIDEST, color_system=None)
    console.print(found)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def _is_number(cell: str) -> bool:
    return not cell or cell[0] in "0123456789+-−–.<?" or cell in {"—", "n/a"}


class Count(NamedTuple):
    """What a command has done, such as 12 of 100 samples; 0 of an unknown total.

    ``draws``: it draws the line. ``ended``: it has finished, and only its total is of interest.
    """

    name: str
    done: int
    total: int = 0
    draws: bool = False
    ended: bool = False


def draw(before: Sequence[Count], own: Count, about: str) -> None:
    """Draw the line of progress: the counts of the commands before this one in its pipe, a bar, and ``about``."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        console = rich_console()
        with console.capture() as found:
            console.print(_line(before, own, about, console.width - 1), end="", no_wrap=True, overflow="ellipsis")
        sys.stderr.write(CLEAR + found.get().rstrip("\n"))
        sys.stderr.flush()


def _line(before: Sequence[Count], own: Count, about: str, width: int) -> RenderableType:
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    earlier = "".join(f"{each.name} {each.done:,} | " for each in before)
    name = Text.assemble((earlier, "dim"), (own.name, "bold"), no_wrap=True, overflow="ellipsis")
    numbers = Text(about, no_wrap=True, overflow="ellipsis")
    spare = width - name.cell_len - numbers.cell_len - 2
    if not own.total or spare < _BAR // 2:
        line = Text.assemble(name, " ", numbers)
        line.truncate(width, overflow="ellipsis")
        return line
    bar = min(_BAR, spare)
    grid = Table.grid(padding=(0, 1))
    done = min(own.done, own.total)
    drawn = ProgressBar(total=own.total, completed=done, width=bar, complete_style="cyan", finished_style="green")
    grid.add_row(name, drawn, numbers)
    return grid


class Board:
    """The counts of the commands of one pipe, which share a process group: a small file for each."""

    def __init__(self) -> None:
        import tempfile  # these three are imported here: most commands need none of them

        parent = os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir()
        self._folder = Path(parent) / f"capivara-progress-{os.getuid()}-{os.getpgrp()}"
        self._own = self._folder / str(os.getpid())

    def put(self, count: Count) -> None:
        """Store the counts of this command for the one that draws."""
        import json

        with contextlib.suppress(OSError):  # without a folder for them, the line has this command's counts only
            self._folder.mkdir(mode=0o700, exist_ok=True)
            if not self._is_ours():
                return
            new = self._own.with_suffix(".new")
            new.write_text(json.dumps(count), "utf-8")
            new.replace(self._own)

    def others(self) -> list[Count]:
        """The counts of the other commands, in the order in which the shell started them: that of the pipe."""
        import json

        found = {}
        with contextlib.suppress(OSError):
            for path in self._folder.iterdir() if self._is_ours() else ():
                if path.name.isdecimal() and path != self._own:
                    with contextlib.suppress(ValueError, TypeError):
                        count = Count(*json.loads(path.read_text("utf-8")))
                        if time.time() - path.stat().st_mtime < (_OLD if count.ended else _STALE):
                            found[int(path.name)] = count
        return [found[process] for process in sorted(found)]

    def end(self, count: Count) -> None:
        """Leave the last counts of this command for the one that draws; that one removes them all."""
        if not count.draws:
            self.put(count._replace(ended=True))
            return
        import shutil

        with contextlib.suppress(OSError):
            if self._is_ours():
                shutil.rmtree(self._folder, ignore_errors=True)
        for other in self._folder.parent.glob(f"capivara-progress-{os.getuid()}-*"):
            with contextlib.suppress(OSError):
                if time.time() - other.stat().st_mtime > _OLD:
                    shutil.rmtree(other, ignore_errors=True)

    def _is_ours(self) -> bool:
        """Whether the folder belongs to this user: in a folder for all, another one could have made it."""
        return self._folder.lstat().st_uid == os.getuid() and not self._folder.is_symlink()


class Shown(Protocol):
    """What is shown in the line of progress."""

    def show(self) -> None:
        """Draw the line, or tell the command that draws it how far this one is."""

    def clear(self) -> None:
        """Clear the line, or tell the command that draws it that this one has finished."""


class LiveLine:
    """What is open in the line of progress, and the thread that shows the last of it five times per second."""

    def __init__(self) -> None:
        self._open: list[Shown] = []
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def add(self, progress: Shown) -> None:
        """Show this from now on."""
        with self._lock:
            self._open.append(progress)
            if self._thread is None:
                atexit.register(self.end)
                self._thread = threading.Thread(target=self._show, name="capivara-progress", daemon=True)
                self._thread.start()

    def remove(self, progress: Shown) -> None:
        """Show this no longer."""
        with self._lock:
            if progress in self._open:
                self._open.remove(progress)
                progress.clear()

    def end(self) -> None:
        """Clear the line for good: an error or the end of the program follows."""
        for progress in list(self._open):
            self.remove(progress)

    def _show(self) -> None:
        while True:
            time.sleep(_EVERY)
            with self._lock:
                if self._open:
                    self._open[-1].show()


LIVE = LiveLine()
"""The only one: there is one standard error."""
