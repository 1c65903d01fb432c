"""A table of results, independent of its output format, and the texts of its cells."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from capivara_cli.evaluation.results import AnyRow, Interval, ScoredRow, Versus

NONE = "—"
"""The text of a cell without a value."""
LEVEL, HIGHER_LEVEL = 0.05, 0.01
"""A difference with a smaller p-value gets one star, or two."""
WIDE, FEW_IMAGES = 10.0, 100
"""An interval of more points, or a set of fewer images, is worth a warning."""


@dataclass(frozen=True)
class Column:
    """A column: its heading, and whether it contains numbers, which are aligned right.

    ``over``: a heading that neighbouring columns share; only HTML shows it.
    """

    name: str
    numeric: bool = True
    over: str = ""


@dataclass(frozen=True)
class Cell:
    """The text of a cell; ``strong``: in bold.

    The rest is for HTML only. ``tone``: a colour (up, down, same); ``notes``: smaller texts after the text; ``title``:
    shown when the mouse is over the cell.
    """

    text: str
    strong: bool = False
    tone: str = ""
    notes: tuple[Cell, ...] = ()
    title: str = ""


@dataclass(frozen=True)
class Group:
    """Rows under a common heading ("" for none); a row has a cell for each column.

    ``roles``: the HTML classes of the rows; empty, or one for each row.
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

    @classmethod
    def of_rows(cls, title: str, columns: tuple[Column, ...], rows: Iterable[tuple[Cell, ...]]) -> Table:
        """A table whose rows are not grouped."""
        return cls(title, columns, (Group("", tuple(rows)),))


def cells(values: Iterable[str | Cell]) -> tuple[Cell, ...]:
    """A row of cells; texts become plain cells."""
    return tuple(Cell(each) if isinstance(each, str) else each for each in values)


def columns(names: Iterable[str], texts: Sequence[str] = ()) -> tuple[Column, ...]:
    """Columns with these headings; those among ``texts`` contain texts, the others numbers."""
    return tuple(Column(name, name not in texts) for name in names)


def number(value: float | None) -> str:
    """A percentage or points, with one decimal."""
    return NONE if value is None else f"{value:.1f}"


def interval(bounds: Interval | None) -> str:
    """``12.3–45.6``."""
    return NONE if bounds is None else f"{bounds[0]:.1f}–{bounds[1]:.1f}"


def difference(versus: Versus | None, none: str = NONE) -> str:
    """``+1.2**``: the difference from the first model in points, with its stars."""
    return none if versus is None else f"{versus.difference:+.1f}{stars(versus.probability)}"


def stars(p: float | None) -> str:
    """One star for p < 0.05, two for p < 0.01, none for a larger or unknown p."""
    return "" if p is None else "*" * ((p < LEVEL) + (p < HIGHER_LEVEL))


def set_label(row: AnyRow) -> str:
    """The name of the set, with its split."""
    return f"{row.set} ({row.split})" if row.split else row.set


def first_model(rows: Iterable[ScoredRow]) -> str:
    """The model that the others are compared with; "" if there is no comparison."""
    return next((row.versus.model for row in rows if row.versus), "")


def versus_heading(model: str, longest: int = 16) -> str:
    """``vs toy``: the heading of differences from a model. Of a folder it has the last part; a long name is cut."""
    name = model if len(model) <= longest else model.rstrip("/").rpartition("/")[2]
    return f"vs {name if len(name) <= longest else name[: longest - 1] + '…'}"


def synthetic_note(rows: Iterable[ScoredRow]) -> str:
    """A note on captions that a captioner wrote, "" if people wrote all captions of these rows."""
    synthetic = [row for row in rows if row.synthetic]
    origins = [row.provenance for row in synthetic if row.provenance]
    by = ", ".join(dict.fromkeys(who for each in origins for who in each.captions_by or ()))
    return f"(synthetic): captions by a captioner, not by people{f' ({by})' if by else ''}" if synthetic else ""


def translated_note(rows: Iterable[ScoredRow]) -> str:
    """A note on machine-translated captions of these rows with their translators, "" if there are none."""
    translated = [row.provenance for row in rows if row.machine_translated and row.provenance]
    by = dict.fromkeys(who for each in translated for who in each.captions_by or ())
    return f"(MT) captions machine-translated ({', '.join(by)})" if by else ""


def doubtful_sets(rows: Iterable[ScoredRow]) -> list[str]:
    """A warning for each set with so few images that only large differences mean something.

    The reason is the width of the interval. With a hundred images and more, the interval alone decides.
    """
    widest: dict[str, tuple[float, int]] = {}
    for row in rows:
        if row.interval is not None and row.n_images:
            width = row.interval[1] - row.interval[0]
            widest[row.set] = max(widest.get(row.set, (0.0, 0)), (width, row.n_images))
    found = []
    for name, (width, images) in widest.items():
        if width > WIDE:
            needed = math.ceil(images * (width / WIDE) ** 2 / 100) * 100
            found.append(
                f"{name}: few images ({images:,}): a score is known to ±{width / 2:.0f} points only; "
                f"about {needed:,} images would give ±{WIDE / 2:.0f}"
            )
        elif images < FEW_IMAGES:
            found.append(f"{name}: few images ({images:,}): their scores and intervals say little about others")
    return found


def queries_translated_by(rows: Iterable[ScoredRow]) -> str:
    """The translators of the queries of these rows; "" if the queries were not translated."""
    return ", ".join(dict.fromkeys(row.queries_by for row in rows if row.queries_by))
