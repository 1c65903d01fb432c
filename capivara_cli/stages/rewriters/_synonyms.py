"""Synonyms from a file, or from a WordNet database on the machine (English)."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Protocol

from capivara_cli.errors import CapivaraError
from capivara_cli.languages import Language

_SHAPE = "lines WORD<tab>SYNONYM,SYNONYM"
_KINDS = ("adj", "noun", "verb", "adv")
"""The parts of speech (file suffixes of a WordNet database); the first wins a tie: "red" is an adjective."""


class Synonyms(Protocol):
    """Maps a lower-case word to its synonyms, without the word itself.

    ``words`` are the known words, needed to find words in a script without spaces.
    """

    words: Collection[str]

    def __call__(self, word: str, /) -> Sequence[str]: ...


def synonyms(file: str, language: Language) -> Synonyms | None:
    """Synonyms from a file if one is given, else from WordNet for English; None if there are none."""
    if file:
        return SynonymTable(read_synonyms(Path(file).expanduser()))
    database = wordnet() if language.code == "en" else None
    return WordNet(database) if database else None


class SynonymTable:
    """Synonyms from a file of the user: word -> synonyms."""

    def __init__(self, table: dict[str, list[str]]) -> None:
        self._table = table
        self.words: Collection[str] = table.keys()

    def __call__(self, word: str) -> Sequence[str]:
        return self._table.get(word, ())


def read_synonyms(file: Path) -> dict[str, list[str]]:
    """Word -> synonyms, from a file with one line per word. Raises ``CapivaraError`` that names the first bad line."""
    try:
        lines = file.read_text("utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise CapivaraError(f"--synonyms {file}: cannot be read: {error}", _SHAPE) from error
    table: dict[str, list[str]] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        word, tab, others = line.partition("\t")
        found = [other for part in others.split(",") if (other := " ".join(part.split()))]
        if not tab or not word.strip() or not found:
            raise CapivaraError(f"--synonyms {file}: line {number}: not WORD<tab>SYNONYM,SYNONYM")
        key = word.strip().casefold()
        table.setdefault(key, []).extend(other for other in found if other.casefold() != key)
    return table


def wordnet() -> Path | None:
    """The path of a WordNet database: ``$WNSEARCHDIR``, Debian's folder, or NLTK's download (a folder or a zip)."""
    given = [Path(part) for part in os.environ.get("NLTK_DATA", "").split(os.pathsep) if part]
    homes = [*given, Path.home() / "nltk_data", Path("/usr/share/nltk_data"), Path("/usr/local/share/nltk_data")]
    own = [Path(os.environ.get("WNSEARCHDIR") or "/usr/share/wordnet")]
    corpora = [home / "corpora" / name for home in homes for name in ("wordnet", "wordnet.zip")]
    return next((place for place in own + corpora if _is_database(place)), None)


def _is_database(place: Path) -> bool:
    needed = [f"{part}.{kind}" for part in ("index", "data") for kind in _KINDS]
    if zipfile.is_zipfile(place):
        with zipfile.ZipFile(place) as archive:
            return {f"wordnet/{name}" for name in needed} <= set(archive.namelist())
    return all((place / name).is_file() for name in needed)


class _IndexEntry(NamedTuple):
    """A word as one part of speech: how many of its senses occur in tagged texts, and the offset of its first sense."""

    tagged: int
    offset: int


class WordNet:
    """The synonyms of a word in its first, most common sense, as its most common part of speech.

    ``index.KIND`` has a line per word with the offsets of its senses in ``data.KIND`` (wndb(5WN)). Only dictionary
    forms are found: the synonyms of "dogs" would be singular.
    """

    words: Collection[str] = ()

    def __init__(self, database: Path) -> None:
        self.database = database
        self._known: dict[str, tuple[str, ...]] = {}

    def __call__(self, word: str) -> Sequence[str]:
        if word not in self._known:
            self._known[word] = self._first_sense(word)
        return self._known[word]

    def _first_sense(self, word: str) -> tuple[str, ...]:
        key = word.replace(" ", "_")
        kinds = [kind for kind in _KINDS if key in self._indexes[kind]]
        if not kinds:
            return ()
        kind = max(kinds, key=lambda each: self._indexes[each][key].tagged)
        data, offset = self._data[kind], self._indexes[kind][key].offset
        fields = data[offset : data.index(b"\n", offset)].decode("ascii", "replace").split()
        listed = fields[4 : 4 + 2 * int(fields[3], 16) : 2]
        others = dict.fromkeys(each.partition("(")[0].replace("_", " ") for each in listed)
        return tuple(each for each in others if each.casefold() != word)

    @cached_property
    def _indexes(self) -> dict[str, dict[str, _IndexEntry]]:
        return {kind: _index(self._read(f"index.{kind}")) for kind in _KINDS}

    @cached_property
    def _data(self) -> dict[str, bytes]:
        return {kind: self._read(f"data.{kind}") for kind in _KINDS}

    def _read(self, name: str) -> bytes:
        if self.database.is_dir():
            return (self.database / name).read_bytes()
        with zipfile.ZipFile(self.database) as archive:
            return archive.read(f"wordnet/{name}")


def _index(data: bytes) -> dict[str, _IndexEntry]:
    """Word -> entry, from lines ``word kind senses pointers … senses tagged offset …`` after an indented licence."""
    found: dict[str, _IndexEntry] = {}
    for line in data.decode("ascii", "replace").splitlines():
        if line and not line.startswith(" "):
            fields = line.split()
            senses = int(fields[2])
            found[fields[0]] = _IndexEntry(int(fields[-senses - 1]), int(fields[-senses]))
    return found
