"""Look up a language by any of its codes or names.

**The rule.** A language is a language in a script. Regions, orthographies and extensions do not distinguish languages:
``pt``, ``pt-BR``, ``pt_PT``, ``por``, ``por_Latn`` and "Português (Brasil)" are the same one, in a request (``--lang``)
as in the mark of a caption. So ``--lang pt`` and ``--lang pt-BR`` both take every caption in Portuguese. A script other
than the usual one does: ``zh`` is Chinese in simplified characters and does not include ``zh-Hant``, ``sr`` does not
include ``sr-Latn``. A region that implies a script counts as that script: ``zh-TW`` is ``zh-Hant``.

Why regions do not select: no model, eval set or table of scores here has a Portuguese of Brazil beside another, so a
run for ``pt-BR`` must be comparable to one for ``pt``; and most captions carry no region, so that a caption marked
``pt`` may be either. Dropping captions for their region would lose data in silence.

Every command compares ``code_of``. What a command writes is the code of the table: ``pt``. Captions that come marked
keep their mark, byte for byte.

``table.tsv`` has one line per language: its BCP-47 code, name, script, and its codes in FLORES, Argos and Apertium.
``aliases.tsv`` has other names that people and data sets use, ``cldr.tsv`` the names in Unicode's CLDR, whose licence
is beside it. A translator looks its own code up here. Sources: the FLORES-200 list of languages, the Argos Translate
package index, ISO 639-3, which Apertium's mode names follow, and CLDR.
"""

from __future__ import annotations

from collections.abc import Container
from functools import cache

from capivara_cli.errors import CapivaraError
from capivara_cli.languages import _reading, _table
from capivara_cli.languages._table import Language as Language


def all_codes() -> list[str]:
    """The BCP-47 code of every language in the table, sorted."""
    return sorted(_table.languages())


def codes(text: str) -> tuple[str, ...]:
    """``"Hindi, xho, kgp"`` -> ("hi", "xh", "kgp"): the distinct codes of a list. An unknown name stays unchanged.

    For lists that were validated earlier, as in ``run.json``. "" gives ().
    """
    return tuple(dict.fromkeys(code_of(name) for item in text.split(",") if (name := item.strip())))


def knows(code: str) -> bool:
    """Whether the text is the BCP-47 code of a language in the table; its other names do not count."""
    return code in _table.languages()


def get(name: str) -> Language:
    """The language of a code or name: ``pt``, ``por``, ``pt-BR``, ``por_Latn`` and ``Portuguese`` are the same.

    Raises ``CapivaraError`` with a suggestion if the language is not in the table.
    """
    code = _reading.read(name)
    if code is None or not knows(code):
        raise _unknown(name, code)
    return _table.languages()[code]


def code_of(lang: str) -> str:
    """The code of a caption's language, which commands compare; a mark that names no language is returned unchanged.

    >>> code_of("por"), code_of("pt-BR"), code_of("srp_Latn"), code_of("?")
    ('pt', 'pt', 'sr-Latn', '?')
    """
    return _reading.read(lang) or lang


def code_or_unlisted(name: str) -> str:
    """The BCP-47 code of a language, whether it is in the table or a well-formed code of another one (``kgp``).

    Raises ``CapivaraError`` for anything else.
    """
    code = _reading.read(name)
    if code is None:
        raise _unknown(name, code)
    return code


def _unknown(name: str, code: str | None) -> CapivaraError:
    """The error for an unknown language. ``errors.unknown`` would list two hundred codes and hide the suggestion.

    ``code``: the code of the name if it is a language that the table lacks, or has in another script only.
    """
    table = _table.languages()
    message = f"there is no language {name!r}"
    if code and (usual := table.get(code.partition("-")[0])) and "-" in code:
        message += f" — {usual.code} ({usual.name}) is written in {usual.script}"
    elif guesses := _guesses(name):
        message += " — did you mean " + " or ".join(f"{guess} ({table[guess].name})" for guess in guesses) + "?"
    return CapivaraError(message, f"`capivara list languages` shows all {len(table)} codes and names")


@cache
def _guesses(name: str) -> list[str]:
    """The codes of the languages whose names are most similar, or else of those whose codes are."""
    import difflib

    known, wanted = _reading.names_of_table(), _reading.folded(name)
    # A similar name is tried before a similar code: any two letters are one edit away from some code.
    close = difflib.get_close_matches(wanted, [each for each in known if len(each) > 3], n=1, cutoff=0.7)
    close = close or [word for word in wanted.split()[-1:] if len(word) > 3 and word in known]
    close = close or difflib.get_close_matches(wanted, known, n=3, cutoff=0.6)
    return list(dict.fromkeys(known[each] for each in close))


def flores(code: str, *, among: Container[str], default: str) -> str:
    """The FLORES-200 code of a language if it is in ``among``, else ``default``."""
    language = _table.languages().get(code_of(code))
    return language.flores if language and language.flores in among else default
