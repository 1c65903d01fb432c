"""A table of results, which the writers print, save as Markdown or LaTeX, or show as HTML; and what its cells say."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from capivara_cli.evaluation.results import AnyRow, Interval, ScoredRow, Versus

NONE = "—"
"""What a cell shows where there is no value."""
LEVEL, HIGHER_LEVEL = 0.05, 0.01
"""Differences with a smaller p-value get one or two stars."""


@dataclass(frozen=True)
class Column:
    """A column's heading, and whether it holds numbers, which are aligned right.

    ``over`` is a heading that neighbouring columns share; only HTML shows it.
    """

    name: str
    numeric: bool = True
    over: str = ""


@dataclass(frozen=True)
class Cell:
    """The text of a cell; ``strong``: it stands out.

    The rest is for HTML only: ``tone`` is a colour (up, down, same), ``notes`` are smaller texts after the text, and
    ``title`` appears under the mouse.
    """

    text: str
    strong: bool = False
    tone: str = ""
    notes: tuple[Cell, ...] = ()
    title: str = ""


@dataclass(frozen=True)
class Group:
    """Rows that belong together, under a heading ("" for none); a row has a cell for each column.

    ``roles`` are the HTML classes of the rows; empty, or one for each row.
    """

    heading: str
    rows: tuple[tuple[Cell, ...], ...]
    roles: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """A title, a caption, columns, rows in groups, and notes below."""

    title: str
    columns: tuple[Column, ...]
    groups: tuple[Group, ...]
    caption: str = ""
    notes: tuple[str, ...] = ()

    @property
    def spans(self) -> list[tuple[str, int]]:
        """The headings that columns share, each with the number of its columns; empty if there are none."""
        spans = [(over, len(list(group))) for over, group in groupby(each.over for each in self.columns)]
        return spans if any(over for over, _ in spans) else []


def cells(values: Iterable[str | Cell]) -> tuple[Cell, ...]:
    """A row of cells; texts become plain cells."""
    return tuple(Cell(each) if isinstance(each, str) else each for each in values)


def columns(names: Iterable[str], texts: Sequence[str] = ()) -> tuple[Column, ...]:
    """Columns of numbers, but for those whose names are among ``texts``."""
    return tuple(Column(name, name not in texts) for name in names)


def number(value: float | None) -> str:
    """A percentage or points, with one decimal."""
    return NONE if value is None else f"{value:.1f}"


def interval(bounds: Interval | None) -> str:
    """``12.3–45.6``."""
    return NONE if bounds is None else f"{bounds[0]:.1f}–{bounds[1]:.1f}"


def difference(versus: Versus | None, none: str = NONE) -> str:
    """``+1.2**``: points more than the first model, and stars."""
    return none if versus is None else f"{versus.difference:+.1f}{stars(versus.probability)}"


def stars(p: float | None) -> str:
    """One for p < 0.05, two for p < 0.01, none for a larger or unknown p."""
    return "" if p is None else "*" * ((p < LEVEL) + (p < HIGHER_LEVEL))


def place(row: AnyRow) -> str:
    """The set, with its split."""
    return f"{row.set} ({row.split})" if row.split else row.set


def first_model(rows: Iterable[ScoredRow]) -> str:
    """The model that the others are compared with, "" where none is."""
    return next((row.versus.model for row in rows if row.versus), "")


def queries_translated_by(rows: Iterable[ScoredRow]) -> str:
    """Who translated the queries of these rows, "" where none were."""
    return ", ".join(dict.fromkeys(row.queries_by for row in rows if row.queries_by))
