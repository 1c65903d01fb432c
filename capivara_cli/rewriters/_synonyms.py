"""Words that may stand for another: from a file, or from a WordNet database that is on the machine (English)."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from capivara_cli.errors import CapivaraError
from capivara_cli.languages import Language

Synonyms = Callable[[str], Sequence[str]]
"""A word in small letters -> its synonyms, none of them itself."""

_KINDS = ("noun", "verb", "adj", "adv")


def synonyms(file: str, language: Language) -> Synonyms | None:
    """From a file if one is given, else from WordNet for English; None where there is nothing."""
    if file:
        return _of_file(Path(file).expanduser())
    folder = wordnet() if language.code == "en" else None
    return WordNet(folder) if folder else None


def _of_file(file: Path) -> Synonyms:
    try:
        lines = file.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CapivaraError(f"--synonyms {file}: cannot be read: {error}", "lines WORD<tab>SYNONYM,SYNONYM") from error
    table: dict[str, list[str]] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        word, tab, others = line.partition("\t")
        if not tab or not word.strip() or not others.strip():
            raise CapivaraError(f"--synonyms {file}: line {number}: not WORD<tab>SYNONYM,SYNONYM")
        found = (other.strip() for other in others.split(","))
        table[word.strip().casefold()] = [other for other in found if other and other.casefold() != word.casefold()]
    return lambda word: table.get(word, ())


def wordnet() -> Path | None:
    """The folder of a WordNet database: ``$WNSEARCHDIR``, Debian's, or one that NLTK has unpacked."""
    nltk = [Path(part) for part in os.environ.get("NLTK_DATA", "").split(os.pathsep) if part]
    homes = [*nltk, Path.home() / "nltk_data", Path("/usr/share/nltk_data"), Path("/usr/local/share/nltk_data")]
    places = [
        Path(os.environ.get("WNSEARCHDIR") or "/usr/share/wordnet"),
        *(each / "corpora/wordnet" for each in homes),
    ]
    return next((each for each in places if (each / "index.noun").is_file()), None)


class WordNet:
    """The synonyms in the first, commonest sense of a word as noun, verb, adjective and adverb.

    ``index.KIND`` has a line per word with the places of its senses in ``data.KIND`` (wndb(5WN)).
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, word: str) -> Sequence[str]:
        return _first_senses(self.folder, word)


@cache
def _index(folder: Path, kind: str) -> dict[str, int]:
    """Word -> the place of its first sense."""
    found: dict[str, int] = {}
    with open(folder / f"index.{kind}", encoding="ascii", errors="replace") as lines:
        for line in lines:
            if not line.startswith(" "):  # the licence
                parts = line.split()
                found[parts[0]] = int(parts[-int(parts[2])])
    return found


@cache
def _first_senses(folder: Path, word: str) -> tuple[str, ...]:
    others: dict[str, None] = {}
    for kind in _KINDS:
        place = _index(folder, kind).get(word.replace(" ", "_"))
        if place is not None:
            with open(folder / f"data.{kind}", "rb") as data:
                data.seek(place)
                parts = data.readline().decode("ascii", "replace").split()
            words = parts[4 : 4 + 2 * int(parts[3], 16) : 2]
            others.update(dict.fromkeys(each.partition("(")[0].replace("_", " ") for each in words))
    return tuple(each for each in others if each.casefold() != word)
