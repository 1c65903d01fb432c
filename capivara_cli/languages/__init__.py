"""One line per language in ``table.tsv``: its BCP-47 code, name, script, and its codes in FLORES, Argos and Apertium.

The captions of a sample carry the BCP-47 code; every translator looks up its own code here. ``aliases.tsv`` has other
names that people and data sets use. Sources: the FLORES-200 list of languages, the Argos Translate package index, and
ISO 639-3, which Apertium's mode names follow.
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
    """``code`` is BCP-47, ``script`` ISO 15924, ``flores`` "" where FLORES-200 lacks the language.

    ``argos`` and ``apertium`` hold every code these translators use for it, the usual one first; an entry says what
    the language would be called, not that a package exists.
    """

    code: str
    name: str
    script: str
    flores: str
    argos: tuple[str, ...]
    apertium: tuple[str, ...]


_FOLDER = Path(__file__).parent


def _rows(file: str) -> list[list[str]]:
    """The lines of a table beside this file, without its head."""
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
    """Every name a language answers to, folded -> its code; where two claim one, the more specific kind wins."""
    known: dict[str, str] = {}

    def claim(name: str, code: str) -> None:
        known.setdefault(_fold(name), code)

    for code in _languages():
        claim(code, code)
    for alias, code in _rows("aliases.tsv"):
        claim(alias, code)
    for language in _languages().values():
        claim(language.name, language.code)
        claim(language.flores or language.code, language.code)
    for language in _languages().values():
        for name in (*language.argos, *language.apertium, language.flores.partition("_")[0] or language.code):
            claim(name, language.code)
    return known


def _fold(name: str) -> str:
    return " ".join(name.casefold().replace("_", "-").split())


def all_codes() -> list[str]:
    """The BCP-47 code of every language in the table, sorted."""
    return sorted(_languages())


def codes(text: str) -> tuple[str, ...]:
    """``"Hindi, xho, kgp"`` -> ("hi", "xh", "kgp"): the codes of a list, each once; a name nobody knows stays as it is.

    For lists that were checked when they were typed, as in a ``run.json``. "" gives ().
    """
    return tuple(dict.fromkeys(code_of(name) for item in text.split(",") if (name := item.strip())))


def knows(code: str) -> bool:
    """Whether this is the BCP-47 code of a language in the table, and not another of its names."""
    return code in _languages()


def get(code: str) -> Language:
    """The language a code or name means: ``pt``, ``por``, ``pt-BR``, ``por_Latn`` and ``Portuguese`` are one.

    A region is ignored, a script is not (``sr-Latn`` is no ``sr``, which is Cyrillic). Raises ``CapivaraError`` with a
    guess for a language that is not in the table.
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
    """The BCP-47 code of whatever a caption says its language is ("por", "pt-BR"); unknown ones stay as they are."""
    try:
        return get(lang).code
    except CapivaraError:
        return lang


def code_or_unlisted(name: str) -> str:
    """The code of a language; a well-formed code that is not in the table (``kgp``) as it is.

    Raises ``CapivaraError`` for anything else.
    """
    try:
        return get(name).code
    except CapivaraError:
        if not re.fullmatch(r"[a-z]{2,3}(-\w+)*", name):
            raise
        return name


def _is_region(part: str) -> bool:
    """A BCP-47 region (``BR``, ``419``) or a script, which ``get`` has compared already."""
    return (len(part) in (2, 4) and part.isalpha()) or (len(part) == 3 and part.isdigit())


def _unknown(code: str, folded: str) -> CapivaraError:
    """Not ``errors.unknown``: a list of two hundred codes hides the guess."""
    import difflib

    message = f"there is no language {code!r}"
    # A close name outranks a close code: every two letters are one step from some language's code.
    named = {name: known for name, known in _names().items() if len(name) > 3}
    if close := difflib.get_close_matches(folded, named, n=1, cutoff=0.7):
        language = _languages()[named[close[0]]]
        message += f" — did you mean {language.code} ({language.name})?"
    elif close := difflib.get_close_matches(folded, _names(), n=3, cutoff=0.6):
        guesses = dict.fromkeys(_names()[name] for name in close)
        message += " — did you mean " + " or ".join(f"{guess} ({_languages()[guess].name})" for guess in guesses) + "?"
    return CapivaraError(message, f"`capivara list languages` shows all {len(_languages())} codes and names")


def flores(code: str, *, among: Container[str], default: str) -> str:
    """The Flores-200 code of a language, where ``among`` has it; else ``default``."""
    try:
        found = get(code).flores
    except CapivaraError:
        return default
    return found if found in among else default
