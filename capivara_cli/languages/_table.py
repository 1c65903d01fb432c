"""The languages of ``table.tsv``, and the lines of the other tables in this folder."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Language:
    """A language of the table: ``code`` is BCP-47, ``script`` is ISO 15924.

    ``flores`` is "" if FLORES-200 lacks the language. ``argos`` and ``apertium`` hold every code that these translators
    use for it, the usual one first. A code does not mean that a translation package exists.
    """

    code: str
    name: str
    script: str
    flores: str
    argos: tuple[str, ...]
    apertium: tuple[str, ...]


def rows(file: str) -> list[list[str]]:
    """The lines of a table in this folder, without the header."""
    lines = (_FOLDER / file).read_text("utf-8").splitlines()
    return [line.split("\t") for line in lines[1:]]


@cache
def languages() -> dict[str, Language]:
    """Code -> language, in the order of the table."""
    found = {}
    for code, name, script, flores, argos, apertium in rows("table.tsv"):
        codes = [tuple(column.split(",")) if column else () for column in (argos, apertium)]
        found[code] = Language(code, name, script, f"{flores}_{script}" if flores else "", *codes)
    return found
