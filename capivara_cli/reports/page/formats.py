"""Numbers and names as the page writes them."""

from __future__ import annotations

import math

from capivara_cli import languages
from capivara_cli.reports.tables.table import LEVEL, Cell, number

MINUS = "\N{MINUS SIGN}"


def score(value: float | None) -> str:
    """A percentage with one decimal."""
    return number(value).replace("-", MINUS)


def signed(value: float, digits: int = 1) -> str:
    """A difference with its sign; zero has none."""
    text = f"{value:+.{digits}f}"
    return text.replace("-", MINUS) if float(text) else text[1:]


def points(value: float, mark: str = "") -> Cell:
    """A difference in points, coloured by its sign."""
    return Cell(signed(value) + mark, tone=_tone(value))


def compared(before: float, after: float) -> Cell:
    """A spread after adaptation, coloured by whether it became smaller."""
    return Cell(score(after), tone=_tone(round(before, 1) - round(after, 1)))


def _tone(gain: float) -> str:
    return "up" if round(gain, 1) > 0 else "down" if round(gain, 1) < 0 else "same"


def significance(p: float | None) -> str:
    """The mark after a difference: an asterisk if it is significant, "n.s." if not, nothing if p is unknown."""
    return "" if p is None else "*" if p < LEVEL else " n.s."


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
