"""A text and its translation, cut into words once for all checks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from capivara_cli.languages import Language
from capivara_cli.languages.checks import tables
from capivara_cli.languages.words import words_of

_RATHER = 4.5
"""A text is in the language of the source if that is so many times as probable as the language of the translation."""
_MAX_WORDS = 300
"""Checks read this many words of a text, so that a long one takes no longer than some milliseconds."""


@dataclass(frozen=True)
class Pair:
    """A text and its translation, both with collapsed white space, and their languages."""

    text: str
    translation: str
    source: Language
    target: Language

    @cached_property
    def text_words(self) -> list[str]:
        """The words of the text, with their upper-case letters."""
        return words_of(self.text)[:_MAX_WORDS]

    @cached_property
    def translation_words(self) -> list[str]:
        """The words of the translation, with their upper-case letters."""
        return words_of(self.translation)[:_MAX_WORDS]

    @cached_property
    def lowered_text(self) -> list[str]:
        """The words of the text, in lower case."""
        return [word.lower() for word in self.text_words]

    @cached_property
    def lowered_translation(self) -> list[str]:
        """The words of the translation, in lower case."""
        return [word.lower() for word in self.translation_words]

    @property
    def are_close(self) -> bool:
        """Whether the two languages may share a sentence."""
        return tables.are_close(self.source.code, self.target.code)

    @property
    def foreign(self) -> frozenset[str]:
        """The frequent words of the source language that are not words of the target language."""
        return tables.only_in(self.source.code, self.target.code)

    def is_rather_source(self, words: str) -> bool:
        """Whether words are identified as the language of the text rather than as that of the translation."""
        from capivara_cli.languages import identify  # slow: numpy and half a second

        source, target = self.source.code, self.target.code
        if not identify.supported_codes() >= {source, target}:
            return False
        found = identify.probabilities(words.lower())
        return found.get(source, 0.0) > _RATHER * found.get(target, 0.0)
