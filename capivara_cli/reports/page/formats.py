"""Numbers and names as the page writes them."""

from __future__ import annotations

import math

from capivara_cli import languages
from capivara_cli.reports.tables.table import Cell, number

MINUS = "\N{MINUS SIGN}"


def score(value: float | None) -> str:
    """A percentage with one decimal."""
    return number(value).replace("-", MINUS)


def signed(value: float, digits: int = 1) -> str:
    """A difference with its sign; zero has none."""
    text = f"{value:+.{digits}f}"
    return text.replace("-", MINUS) if float(text) else text[1:]


def points(value: float, significant: bool | None) -> Cell:
    """A difference in points with its mark: coloured by its sign if it is significant, grey if not or not tested."""
    tone = ("up" if round(value, 1) > 0 else "down" if round(value, 1) < 0 else "same") if significant else "same"
    title = {True: "significant", False: "not significant", None: "not tested for significance"}[significant]
    return Cell(signed(value) + mark(significant), tone=tone, title=title)


def mark(significant: bool | None) -> str:
    """The mark after a difference: an asterisk if it is significant, "n.s." if not, nothing if that was not tested."""
    return {True: "*", False: " n.s.", None: ""}[significant]


def significant(value: float, digits: int) -> str:
    """A number with at least ``digits`` significant digits and no exponent: 0.0073, 12, 1,234."""
    if not value:
        return "0"
    decimals = max(digits - 1 - math.floor(math.log10(abs(value))), 0)
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def energy(kwh: float) -> str:
    return f"{significant(kwh, 3)} kWh" if kwh >= 0.1 else f"{significant(kwh * 1000, 2)} Wh"


def mass(grams: float) -> str:
    return f"{significant(grams / 1000, 3)} kg" if grams >= 1000 else f"{significant(grams, 2)} g"


def probability(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def language(code: str) -> str:
    """``pt`` -> "Portuguese"; an unknown code stays as it is."""
    return languages.get(code).name if languages.knows(code) else code
