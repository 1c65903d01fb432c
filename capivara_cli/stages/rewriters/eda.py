"""Easy data augmentation: replaces, inserts, swaps or deletes words (--synonyms); needs no model."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import regex

from capivara_cli import console
from capivara_cli.languages import Language
from capivara_cli.languages.scripts import is_unspaced
from capivara_cli.models.generation import RewriteRequest, Setup
from capivara_cli.plugins import RewriterOptions
from capivara_cli.stages.rewriters._stop_words import stop_words
from capivara_cli.stages.rewriters._synonyms import Synonyms, synonyms

ALPHA = 0.1
"""The share of words that an operation changes (Wei & Zou 2019, arXiv 1901.11196); at least one word."""
_FEWEST = 2  # a deletion leaves at least this many words that are not stop words
_NOUNS_WITH_CAPITALS = frozenset({"de", "lb"})

# A word, from its first letter or digit to its last, with combining marks: \w does not match Devanagari vowel signs.
_WORD = regex.compile(r"[\p{L}\p{N}](?:.*[\p{L}\p{N}\p{M}])?", regex.DOTALL)
_CHARACTER = r"[\p{Latin}\p{N}]+|\s+|\X"  # a run of Latin letters or digits is one word


class Unit(NamedTuple):
    """A word (a character in scripts without spaces) with the punctuation before and after it.

    ``word`` is "" for punctuation alone, which stays in place.
    """

    before: str
    word: str
    after: str


Units = list[Unit]
Edit = Callable[[Units, random.Random], Units]


class Eda:
    """Applies one of four operations per rewrite; its seed chooses which, and the next one if that changes nothing.

    Stop words are neither replaced nor inserted. Without synonyms there are only swaps and deletions. Punctuation
    and the capital at the beginning stay in place.
    """

    by = "rewrite:eda"

    def __init__(self, language: Language, synonyms: Synonyms | None) -> None:
        self.language = language
        self.unspaced = is_unspaced(language.script)
        self.stop_words = stop_words(language)
        self.synonyms = synonyms
        self.edits: list[Edit] = [self.swap, self.delete]
        if synonyms is not None:
            self.edits = [self.replace, self.insert, *self.edits]
        words = sorted(synonyms.words, key=len, reverse=True) if synonyms is not None else []
        self._parts = regex.compile("|".join([*map(re.escape, words), _CHARACTER]), regex.IGNORECASE)

    def __call__(self, requests: Sequence[RewriteRequest]) -> list[str]:
        """One edited text per request; the text itself if nothing can be edited."""
        return [self._edited(request) for request in requests]

    def _edited(self, request: RewriteRequest) -> str:
        rng = random.Random(request.seed)
        units = self.units(request.text)
        for edit in rng.sample(self.edits, len(self.edits)):
            edited = self._recased(units, edit(list(units), rng))
            if edited != units:
                return ("" if self.unspaced else " ").join("".join(unit) for unit in edited)
        return request.text

    def units(self, text: str) -> Units:
        """Split a text at spaces; in scripts without spaces, into characters with their combining marks.

        In those scripts the words of ``--synonyms`` and runs of Latin letters or digits are units too.
        """
        return [_unit(part) for part in (self._parts.findall(text) if self.unspaced else text.split())]

    def replace(self, units: Units, rng: random.Random) -> Units:
        """Replace a tenth of the words by synonyms."""
        for place, synonym in self._chosen_synonyms(units, rng):
            capital = units[place].word[:1].isupper()
            units[place] = units[place]._replace(word=_capitalised(synonym) if capital else synonym)
        return units

    def insert(self, units: Units, rng: random.Random) -> Units:
        """Insert synonyms of a tenth of the words at random places."""
        for _, synonym in self._chosen_synonyms(units, rng):
            place = rng.randrange(len(units) + 1)
            last = units[-1]
            if place == len(units):  # the punctuation at the end stays last
                units[-1] = last._replace(after="")
                units.append(Unit("", synonym, last.after))
            else:
                units.insert(place, Unit("", synonym, ""))
        return units

    def _chosen_synonyms(self, units: Units, rng: random.Random) -> list[tuple[int, str]]:
        """A tenth of the words, among those with synonyms, by place; each with one of its synonyms."""
        found = {place: others for place, unit in enumerate(units) if (others := self._synonyms_of(unit.word))}
        chosen = rng.sample(list(found), min(_count(units), len(found)))
        return [(place, rng.choice(found[place])) for place in chosen]

    def _synonyms_of(self, word: str) -> Sequence[str]:
        small = word.casefold()
        return () if self.synonyms is None or small in self.stop_words else self.synonyms(small)

    def swap(self, units: Units, rng: random.Random) -> Units:
        """Swap two random words; repeat for a tenth of the words."""
        places = _words(units)
        for _ in range(_count(units) if len(places) > 1 else 0):
            here, there = rng.sample(places, 2)
            one, other = units[here], units[there]
            units[here], units[there] = one._replace(word=other.word), other._replace(word=one.word)
        return units

    def delete(self, units: Units, rng: random.Random) -> Units:
        """Delete a tenth of the words, but keep at least two words that are not stop words."""
        places = _words(units)
        for place in sorted(rng.sample(places, min(_count(units), len(places))), reverse=True):
            rest = _without(units, place)
            if sum(self._has_content(unit.word) for unit in rest) >= _FEWEST:
                units = rest
        return units

    def _has_content(self, word: str) -> bool:
        return bool(word) and word.casefold() not in self.stop_words

    def _recased(self, before: Units, after: Units) -> Units:
        """Keep the capital at the beginning of the sentence; the word that had it may move."""
        first = next((unit.word for unit in before if unit.word), "")
        start = next((place for place, unit in enumerate(after) if unit.word), None)
        if start is None or not first[:1].isupper() or after[start].word == first:
            return after
        is_capitalised = first[1:] == first[1:].lower() and len(first) > 1
        lower = is_capitalised and self.language.code not in _NOUNS_WITH_CAPITALS
        recased = [unit._replace(word=unit.word.lower()) if lower and unit.word == first else unit for unit in after]
        recased[start] = recased[start]._replace(word=_capitalised(after[start].word))
        return recased


def _unit(part: str) -> Unit:
    match = _WORD.search(part)
    return Unit(part[: match.start()], match[0], part[match.end() :]) if match else Unit(part, "", "")


def _words(units: Iterable[Unit]) -> list[int]:
    """The places of the units that are words."""
    return [place for place, unit in enumerate(units) if unit.word]


def _count(units: Iterable[Unit]) -> int:
    return max(1, round(ALPHA * len(_words(units))))


def _without(units: Units, place: int) -> Units:
    """Remove a word; punctuation after it moves to the word before it."""
    unit, rest = units[place], units[:place] + units[place + 1 :]
    if unit.after and not unit.before and place and not units[place - 1].after:
        rest[place - 1] = rest[place - 1]._replace(after=unit.after)
    return rest


def _capitalised(word: str) -> str:
    return word[:1].upper() + word[1:]


def load(variant: str, *, language: Language, setup: Setup, options: RewriterOptions) -> Eda:
    """Neither ``variant`` nor ``setup`` is used."""
    found = synonyms(options.synonyms, language)
    if found is None:
        console.warn(
            f"eda: no synonyms in {language.name}, so words are only swapped and deleted; --synonyms FILE adds some"
            + (", and so does WordNet (apt install wordnet-base)" if language.code == "en" else "")
        )
    return Eda(language, found)
