"""A table for the terminal that is no wider than the terminal: long cells are wrapped."""

from __future__ import annotations

import itertools
import shutil
import textwrap
from collections.abc import Iterable, Sequence

from capivara_cli import console

_NARROWEST = 8
_GAP = 2


def table(rows: Iterable[Iterable[object]], header: Iterable[str]) -> str:
    """``console.table``, wrapped if standard output is a terminal; as wide as its cells elsewhere."""
    cells = [[console.printable(str(cell)).replace("\n", " ") for cell in row] for row in rows]
    names = list(header)
    return console.table(wrapped(cells, names, columns()) if console.is_terminal() else cells, names)


def columns() -> int:
    """The width of the terminal, or of the variable COLUMNS."""
    return shutil.get_terminal_size().columns


def wrapped(rows: Sequence[Sequence[str]], header: Sequence[str], width: int) -> list[list[str]]:
    """The rows with the cells of the widest columns wrapped, the first column last: a row becomes several.

    A table with many columns may stay wider than ``width``, because no column gets narrower than its title.
    """
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    while sum(widths) + _GAP * (len(widths) - 1) > width:
        narrowable = [column for column, own in enumerate(widths) if own > max(_NARROWEST, len(header[column]))]
        if not narrowable:
            break
        widest = max(narrowable, key=lambda column: (column > 0, widths[column]))
        widths[widest] -= 1
    return [[*line] for row in rows for line in _lines(row, widths)]


def _lines(row: Sequence[str], widths: Sequence[int]) -> Iterable[tuple[str, ...]]:
    cells = [
        textwrap.wrap(cell, width, break_on_hyphens=False) or [""] for cell, width in zip(row, widths, strict=True)
    ]
    return itertools.zip_longest(*cells, fillvalue="")
