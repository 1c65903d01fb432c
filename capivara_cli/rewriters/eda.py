"""Easy data augmentation: a synonym, an insertion, a swap or a deletion (--synonyms); needs no model."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from capivara_cli import console
from capivara_cli.generation import Ask, Setup
from capivara_cli.languages import Language, is_unspaced
from capivara_cli.rewriters._synonyms import Synonyms, synonyms

ALPHA = 0.1
"""The share of words that an operation changes (Wei & Zou 2019, arXiv 1901.11196), one at least."""
_FEWEST = 2  # a deletion leaves so many words that are no stop words

Edit = Callable[[list[str], random.Random], list[str]]


class Eda:
    """One of the four operations per rewrite, drawn by its seed; the next one where that one changes nothing.

    Words are what spaces part; in scripts without spaces, characters as they are read (with their marks). Stop words
    are neither replaced nor inserted. Without synonyms there are only swaps and deletions.
    """

    by = "rewrite:eda"

    def __init__(self, language: Language, known: Synonyms | None) -> None:
        self.unspaced = is_unspaced(language.script)
        self.stop_words = stop_words(language.code)
        self.known = known
        edits: list[Edit] = [self.swap, self.delete]
        self.edits = edits if known is None else [self.replace, self.insert, *edits]

    def __call__(self, asks: Sequence[Ask]) -> list[str]:
        return [self._edited(ask) for ask in asks]

    def _edited(self, ask: Ask) -> str:
        source = random.Random(ask.seed)
        words = self.words(ask.text)
        for edit in source.sample(self.edits, len(self.edits)):
            edited = edit(list(words), source)
            if edited != words:
                return ("" if self.unspaced else " ").join(edited)
        return ask.text

    def words(self, text: str) -> list[str]:
        """The units that are moved about."""
        if not self.unspaced:
            return text.split()
        import regex  # transformers needs it too

        return regex.findall(r"\X", text)

    def replace(self, words: list[str], source: random.Random) -> list[str]:
        """Synonyms for a tenth of the words."""
        for place, other in self._chosen(words, source):
            words[place] = _like(words[place], other)
        return words

    def insert(self, words: list[str], source: random.Random) -> list[str]:
        """Synonyms of a tenth of the words, anywhere."""
        for _, other in self._chosen(list(words), source):
            words.insert(source.randrange(len(words) + 1), other)
        return words

    def _chosen(self, words: list[str], source: random.Random) -> list[tuple[int, str]]:
        """Places of words that have synonyms, each with one of them."""
        places = [place for place in range(len(words)) if self._others(words[place])]
        chosen = source.sample(places, min(_count(words), len(places)))
        return [(place, source.choice(self._others(words[place]))) for place in chosen]

    def swap(self, words: list[str], source: random.Random) -> list[str]:
        """Two words change places, as often as a tenth of the words."""
        for _ in range(_count(words) if len(words) > 1 else 0):
            here, there = source.sample(range(len(words)), 2)
            words[here], words[there] = words[there], words[here]
        return words

    def delete(self, words: list[str], source: random.Random) -> list[str]:
        """Some words less, but never so many that nothing is said."""
        for place in sorted(source.sample(range(len(words)), _count(words)) if words else (), reverse=True):
            rest = words[:place] + words[place + 1 :]
            if sum(self._has_content(word) for word in rest) >= _FEWEST:
                words = rest
        return words

    def _others(self, word: str) -> Sequence[str]:
        core = _core(word).casefold()
        if self.known is None or not core or core in self.stop_words:
            return ()
        return self.known(core)

    def _has_content(self, word: str) -> bool:
        core = _core(word).casefold()
        return bool(core) and core not in self.stop_words


def _count(words: Sequence[str]) -> int:
    return max(1, round(ALPHA * len(words)))


def _core(word: str) -> str:
    """A word without the punctuation that hangs on it."""
    return word.strip(" .,;:!?\"'()[]{}…-–—“”‘’«»¿¡।。，、！？")


def _like(word: str, other: str) -> str:
    """``other`` in place of ``word``, with its capital and its punctuation."""
    core = _core(word)
    return word.replace(core, other.capitalize() if core[:1].isupper() else other, 1)


@cache
def stop_words(code: str) -> frozenset[str]:
    """The words of a language that carry little meaning; none where no list is known (stopwords-iso has 57)."""
    import stopwordsiso

    return frozenset(stopwordsiso.stopwords(code)) if stopwordsiso.has_lang(code) else frozenset()


def load(variant: str, *, language: Language, setup: Setup, options: Any) -> Eda:
    """Neither ``variant`` nor ``setup`` is used."""
    known = synonyms(options.synonyms, language)
    if known is None:
        console.warn(
            f"eda: no synonyms in {language.name}, so words are only swapped and deleted; --synonyms FILE brings some"
            + (", and so does WordNet (apt install wordnet-base)" if language.code == "en" else "")
        )
    return Eda(language, known)
