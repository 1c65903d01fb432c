"""The parts of the page as data; the templates in ``reports/templates/report`` turn them into HTML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from capivara_cli.reports.tables.table import Table
from capivara_cli.reports.templates import render

if TYPE_CHECKING:
    from markupsafe import Markup


@dataclass(frozen=True)
class Missing:
    """Something the page cannot show, and the command that produces it."""

    text: str
    command: str = ""


@dataclass(frozen=True)
class Panel:
    """A titled box with a chart or a table, and a note below it."""

    title: str
    chart: Markup | None = None
    table: Table | None = None
    note: str = ""


@dataclass(frozen=True)
class Section:
    """One part of the page. ``name`` is its anchor and its template, ``values`` fill the template in."""

    name: str
    title: str
    intro: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    missing: Missing | None = None

    @property
    def body(self) -> Markup:
        return render(f"report/{self.name}.html", **self.values)
