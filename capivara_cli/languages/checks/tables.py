"""What the checks of translations know of languages: their frequent words, their lengths, and which are close."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_FOLDER = Path(__file__).parent
_SHORTEST = 3
"""Words of the source language that are shorter may be words of a target language whose words are not known."""


@dataclass(frozen=True)
class Words:
    """The frequent words of a language, in lower case; all sets are empty if the language is not in ``words.tsv``.

    ``frequent`` includes ``unfinished``: articles, prepositions and conjunctions, which cannot end a text. ``scenes``
    are words that many captions have. ``negations`` negate a sentence. A text may also be translated with a negation
    if it has one of the words ``absences``, or one that begins with one of ``absence_prefixes`` or ends with one of
    ``absence_suffixes``.
    """

    unfinished: frozenset[str] = frozenset()
    frequent: frozenset[str] = frozenset()
    scenes: frozenset[str] = frozenset()
    negations: frozenset[str] = frozenset()
    absences: frozenset[str] = frozenset()
    absence_prefixes: tuple[str, ...] = ()
    absence_suffixes: tuple[str, ...] = ()

    def may_be_negated(self, word: str) -> bool:
        """Whether a lower-case word of a text negates, or means that something is missing or not done."""
        if word in self.negations or word in self.absences:
            return True
        return word not in self.frequent and (
            word.startswith(self.absence_prefixes) or word.endswith(self.absence_suffixes)
        )


@dataclass(frozen=True)
class Expansion:
    """How long translations of a pair of languages are: log of characters per character, and how far it may be off."""

    log_ratio: float
    tolerance: float


def _rows(file: str) -> list[list[str]]:
    return [line.split("\t") for line in (_FOLDER / file).read_text("utf-8").splitlines()[1:]]


@cache
def _words() -> dict[str, Words]:
    found = {}
    for code, *columns in _rows("words.tsv"):
        unfinished, others, scenes, negations, absences = (frozenset(column.split()) for column in columns)
        found[code] = Words(
            unfinished,
            unfinished | others | negations,
            scenes,
            negations,
            absences,
            tuple(sorted(each.strip("-") for each in absences if each.endswith("-"))),
            tuple(sorted(each.strip("-") for each in absences if each.startswith("-"))),
        )
    return found


def words(code: str) -> Words:
    """The frequent words of a language by its BCP-47 code."""
    return _words().get(code, Words())


@cache
def only_in(source: str, target: str) -> frozenset[str]:
    """The frequent words of a source language that are not words of the target language, as far as is known.

    If the words of the target are not known, none of a close language, and elsewhere those of three or more letters.
    """
    own, other = words(source), words(target)
    if other.frequent:
        return (own.frequent | own.scenes) - other.frequent - other.scenes
    return (
        frozenset() if are_close(source, target) else frozenset(each for each in own.frequent if len(each) >= _SHORTEST)
    )


@cache
def shared(one: str, other: str) -> float:
    """Which part of their frequent words two languages share; 0 if those of one are not known."""
    own, others = words(one).frequent, words(other).frequent
    return len(own & others) / min(len(own), len(others)) if own and others else 0.0


@cache
def are_close(one: str, other: str) -> bool:
    """Whether two languages are so close that a sentence may be right in both.

    >>> are_close("pt", "gl"), are_close("pt", "en")
    (True, False)
    """
    return any({one, other} <= set(codes.split()) for (codes,) in _rows("close.tsv"))


@cache
def _lengths() -> dict[str, tuple[float, float]]:
    """The ratio of characters to English, and how far its logarithm may be off.

    Measured on captions and, with a tolerance of 0.15 or more, on the messages of programs.
    """
    return {code: (float(ratio), float(tolerance)) for code, ratio, tolerance in _rows("lengths.tsv")}


@cache
def expansion(source: str, target: str) -> Expansion | None:
    """How long translations are; None if the lengths of one of the languages are not known."""
    lengths = _lengths()
    if source not in lengths or target not in lengths:
        return None
    (start, unsure), (end, unsure_too) = lengths[source], lengths[target]
    return Expansion(math.log(end / start), max(unsure, unsure_too))
