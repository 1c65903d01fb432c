"""Cells as JSON text with their exact values: long decimals, numbers beyond floats, dates, nested values."""

from __future__ import annotations

import datetime
import decimal
import uuid
from collections.abc import Mapping

from capivara_cli.shards.json_text import text_of

_DEEPEST = 100  # stages refuse a json that is nested twice as deeply
_DATES = (datetime.date, datetime.time)  # a datetime is a date


class ExactFloat(float):
    """A number of a JSON file that a float does not hold exactly; ``text`` is how the file writes it."""

    text: str


def exact_float(text: str) -> float:
    """``parse_float`` for ``json.loads``: a plain float if it is written as in ``text``, else an ``ExactFloat``."""
    value = float(text)
    if repr(value) == text:
        return value
    exact = ExactFloat(value)
    exact.text = text
    return exact


def json_text(cell: object) -> str | None:
    """A cell as JSON text; dates and times become texts in ISO 8601.

    None for what JSON cannot hold, such as bytes, and for values that are nested too deeply.
    """
    try:
        return _text(cell)
    except TypeError:
        return None


def _text(cell: object, depth: int = 0) -> str:
    if depth > _DEEPEST:
        raise TypeError("nested too deeply")
    if isinstance(cell, ExactFloat):
        return cell.text
    if isinstance(cell, decimal.Decimal) and cell.is_finite():
        return str(cell)
    if isinstance(cell, _DATES):
        return text_of(cell.isoformat())
    if isinstance(cell, datetime.timedelta | uuid.UUID):
        return text_of(str(cell))
    if isinstance(cell, Mapping):
        return "{" + ", ".join(f"{text_of(str(key))}: {_text(value, depth + 1)}" for key, value in cell.items()) + "}"
    if isinstance(cell, list | tuple):
        return "[" + ", ".join(_text(value, depth + 1) for value in cell) + "]"
    return text_of(cell)
