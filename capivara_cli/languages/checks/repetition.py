"""Translations that say the same several times."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Sequence

from capivara_cli.languages.checks import tables
from capivara_cli.languages.checks.pair import Pair

# The same few characters six times in a row, inside a word: other repetitions are found by their words.
_REPETITION = re.compile(r"(\S.{0,11}?)\1{5,}")
_LONG_WORD = 11
_CHARACTER = re.compile(r"([^\W\d_])\1{5,}")
_MIN_WORDS = 8
"""The halves of shorter texts may be equal by chance."""
_MAX_PERIOD = 60
"""Repeats of longer phrases are not looked for, so that long texts take no time."""


def is_repetitive(pair: Pair) -> bool:
    """Whether the translation repeats a word three times in a row, a phrase twice, or itself, and its text does not."""
    words = pair.lowered_translation
    if len(words) >= 10 and 3 * len(set(words)) < len(words):
        return True
    if _repeats_characters(words, pair.translation) and not _repeats_characters(pair.lowered_text, pair.text):
        return True
    if len(words) - len(set(words)) < 2:
        return False
    frequent = tables.words(pair.target.code).frequent
    if not (repeats_a_phrase(words, frequent) or _has_equal_halves(words)):
        return False
    text = pair.lowered_text
    if len(words) == 4 and _repeats_around_a_word(text):
        return False
    return not (repeats_a_phrase(text, frozenset()) or _has_equal_halves(text) or 2 * len(set(text)) <= len(text))


def _repeats_around_a_word(words: Sequence[str]) -> bool:
    """Whether a text is like "little by little", which is "a poc a poc" in Catalan."""
    return len(words) == 3 and words[0] == words[2]


def _repeats_characters(words: Sequence[str], text: str) -> bool:
    """Whether a text repeats a letter or a syllable six times in a row."""
    if _CHARACTER.search(text):
        return True
    long = [word for word in words if len(word) >= _LONG_WORD]
    return any(_has_a_letter(match[1]) for word in long for match in _REPETITION.finditer(word))


def repeats_a_phrase(words: Sequence[str], frequent: Container[str] = ()) -> bool:
    """Whether a word or phrase comes three times in a row, or a phrase of three words twice; or all words come twice.

    A phrase that comes twice has two words that are not ``frequent``: "main dans la main dans la rue" is right. Numbers
    alone are no phrase.

    >>> [repeats_a_phrase(text.split()) for text in ("cor cor cor", "um dia a dia", "na sala azul na sala azul")]
    [True, False, True]
    """
    size = len(words)
    for period in range(1, min(size // 2, _MAX_PERIOD) + 1):
        equal = 0
        for place in range(size - period):
            equal = equal + 1 if words[place] == words[place + period] else 0
            if equal < period:
                continue
            phrase = words[place : place + period]
            if equal >= 2 * period and any(map(_has_a_letter, phrase)):
                return True
            if period > 2 and sum(word not in frequent and _has_a_letter(word) for word in phrase) >= 2:
                return True
            if size == 2 * period and period > 1 and any(map(_has_a_letter, phrase)):
                return True
    return False


def _has_equal_halves(words: Sequence[str]) -> bool:
    """Whether three quarters of the words of one half are also in the other."""
    if len(words) < _MIN_WORDS:
        return False
    middle = len(words) // 2
    first, second = Counter(words[:middle]), Counter(words[middle:])
    return 4 * (first & second).total() >= 3 * middle


def _has_a_letter(word: str) -> bool:
    return any(char.isalpha() for char in word)
