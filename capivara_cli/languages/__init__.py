"""Look up a language by any of its codes or names.

``table.tsv`` has one line per language: its BCP-47 code, name, script, and its codes in FLORES, Argos and Apertium.
``aliases.tsv`` has other names that people and data sets use. Captions store the BCP-47 code; a translator looks up its
own code here. Sources: the FLORES-200 list of languages, the Argos Translate package index, and ISO 639-3, which
Apertium's mode names follow.
"""

from __future__ import annotations

import re
from collections.abc import Container
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from capivara_cli.errors import CapivaraError


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


_FOLDER = Path(__file__).parent


def _rows(file: str) -> list[list[str]]:
    """The lines of a table in this folder, without the header."""
    lines = (_FOLDER / file).read_text("utf-8").splitlines()
    return [line.split("\t") for line in lines[1:]]


@cache
def _languages() -> dict[str, Language]:
    found = {}
    for code, name, script, flores, argos, apertium in _rows("table.tsv"):
        codes = [tuple(column.split(",")) if column else () for column in (argos, apertium)]
        found[code] = Language(code, name, script, f"{flores}_{script}" if flores else "", *codes)
    return found


@cache
def _names() -> dict[str, str]:
    """Every code and name, folded -> the BCP-47 code. If two languages share a name, the more specific kind wins."""
    known: dict[str, str] = {}

    def add(name: str, code: str) -> None:
        known.setdefault(_fold(name), code)

    for code in _languages():
        add(code, code)
    for alias, code in _rows("aliases.tsv"):
        add(alias, code)
    for language in _languages().values():
        add(language.name, language.code)
        add(language.flores or language.code, language.code)
    for language in _languages().values():
        for name in (*language.argos, *language.apertium, language.flores.partition("_")[0] or language.code):
            add(name, language.code)
    return known


def _fold(name: str) -> str:
    return " ".join(name.casefold().replace("_", "-").split())


def all_codes() -> list[str]:
    """The BCP-47 code of every language in the table, sorted."""
    return sorted(_languages())


def codes(text: str) -> tuple[str, ...]:
    """``"Hindi, xho, kgp"`` -> ("hi", "xh", "kgp"): the distinct codes of a list. An unknown name stays unchanged.

    For lists that were validated earlier, as in ``run.json``. "" gives ().
    """
    return tuple(dict.fromkeys(code_of(name) for item in text.split(",") if (name := item.strip())))


def knows(code: str) -> bool:
    """Whether the text is the BCP-47 code of a language in the table; its other names do not count."""
    return code in _languages()


def get(code: str) -> Language:
    """The language of a code or name: ``pt``, ``por``, ``pt-BR``, ``por_Latn`` and ``Portuguese`` are the same.

    A region is ignored. A script is not: ``sr-Latn`` does not match ``sr``, which is Cyrillic. Raises ``CapivaraError``
    with a suggestion if the language is not in the table.
    """
    folded = _fold(code)
    names = _names()
    if folded in names:
        return _languages()[names[folded]]
    head, _, rest = folded.partition("-")
    if head in names:
        language = _languages()[names[head]]
        scripts = [part for part in rest.split("-") if len(part) == 4 and part.isalpha()]
        if all(script == language.script.casefold() for script in scripts) and _is_region(rest.split("-")[-1]):
            return language
    raise _unknown(code, folded)


@cache
def code_of(lang: str) -> str:
    """The BCP-47 code of a caption's language ("por", "pt-BR"); an unknown language is returned unchanged."""
    try:
        return get(lang).code
    except CapivaraError:
        return lang


def code_or_unlisted(name: str) -> str:
    """The BCP-47 code of a language; a well-formed code that is not in the table (``kgp``) is returned unchanged.

    Raises ``CapivaraError`` for anything else.
    """
    try:
        return get(name).code
    except CapivaraError:
        if not re.fullmatch(r"[a-z]{2,3}(-\w+)*", name):
            raise
        return name


def _is_region(part: str) -> bool:
    """Whether a subtag is a BCP-47 region (``BR``, ``419``), or a script, which ``get`` has already compared."""
    return (len(part) in (2, 4) and part.isalpha()) or (len(part) == 3 and part.isdigit())


def _unknown(code: str, folded: str) -> CapivaraError:
    """The error for an unknown language. ``errors.unknown`` would list two hundred codes and hide the suggestion."""
    import difflib

    message = f"there is no language {code!r}"
    # A similar name is tried before a similar code: any two letters are one edit away from some code.
    named = {name: known for name, known in _names().items() if len(name) > 3}
    if close := difflib.get_close_matches(folded, named, n=1, cutoff=0.7):
        language = _languages()[named[close[0]]]
        message += f" — did you mean {language.code} ({language.name})?"
    elif close := difflib.get_close_matches(folded, _names(), n=3, cutoff=0.6):
        guesses = dict.fromkeys(_names()[name] for name in close)
        message += " — did you mean " + " or ".join(f"{guess} ({_languages()[guess].name})" for guess in guesses) + "?"
    return CapivaraError(message, f"`capivara list languages` shows all {len(_languages())} codes and names")


def flores(code: str, *, among: Container[str], default: str) -> str:
    """The FLORES-200 code of a language if it is in ``among``, else ``default``."""
    try:
        found = get(code).flores
    except CapivaraError:
        return default
    return found if found in among else default
