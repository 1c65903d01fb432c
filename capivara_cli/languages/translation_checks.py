"""Checks of a translation. Each has a name, can be switched off, and counts the translations that fail it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from capivara_cli.languages import Language, get
from capivara_cli.languages.scripts import written_in

MAX_LENGTH_RATIO = 3.0
"""A translation fails if it is more than this many times as long as its source, and over 40 characters longer."""
MAX_NAME_WORDS = 2
"""A text of up to this many words may stay unchanged: it may be a name or a loan word."""


@dataclass(frozen=True)
class Pair:
    """A text and its translation, both with collapsed white space, and their languages."""

    text: str
    translation: str
    source: Language
    target: Language


def _is_empty(pair: Pair) -> bool:
    return not any(char.isalnum() for char in pair.translation) and any(char.isalnum() for char in pair.text)


def _in_another_script(pair: Pair) -> bool:
    return not written_in(pair.translation, pair.target.script)


def _is_a_copy(pair: Pair) -> bool:
    return is_unchanged(pair.text, pair.translation) and len(pair.text.split()) > MAX_NAME_WORDS


def is_unchanged(text: str, translation: str) -> bool:
    """Whether a translation equals its source, apart from case, spaces and full stops at the ends."""
    return text.casefold().strip(" .") == translation.casefold().strip(" .")


# The same few characters six times in a row: "gato gato gato gato gato gato", "的的的的的的".
_REPETITION = re.compile(r"(\S.{0,11}?)\1{5,}")


def _is_repetitive(pair: Pair) -> bool:
    """Whether the translation repeats itself and its source does not, or is far longer than its source."""
    longer = len(pair.translation) - len(pair.text)
    if longer > 40 and len(pair.translation) > MAX_LENGTH_RATIO * len(pair.text):
        return True
    words = re.findall(r"\w+", pair.translation.casefold())
    if len(words) >= 10 and 3 * len(set(words)) < len(words):
        return True
    return bool(_REPETITION.search(pair.translation)) and not _REPETITION.search(pair.text)


# Text that translators learned from subtitles, web pages and stock-photo sites, and tokens of their vocabularies.
_JUNK = re.compile(
    r"<unk>|⁇|▁|@@|&(?:quot|amp|apos|lt|gt|#\d+);|https?://|www\.|♪|amara\.org|"
    r"^(?:legendas?|tradução|subt[ií]tulos?|sous-titres?|untertitel|subtitles?|sottotitoli)\b.*\b(?:por|by|von|par|di)\b|"
    r"\b(?:imagem|imagen|foto|fotografia) (?:em alta resolução|de stock|de archivo|livre de direitos)|"
    r"^(?:translate|translation|tradução|traducción)\s*:",
    re.IGNORECASE,
)


def _is_junk(pair: Pair) -> bool:
    return bool(_JUNK.search(pair.translation)) and not _JUNK.search(pair.text)


def _in_another_language(pair: Pair) -> bool:
    """Whether the translation is clearly in a language other than the target, usually still the source language.

    Languages of different scripts are left to the script check. The limits were set on 12,000 translations of captions
    to ca, es, gl, pt, hi and xh, of which none fails, and on 1,000 captions left in English, of which 82 % fail.
    """
    if pair.source.script != pair.target.script:
        return False
    from capivara_cli.languages import identify  # slow: numpy and half a second

    target = pair.target.code
    if target not in identify.supported_codes():
        return False
    code, probability = identify.likeliest(pair.translation)
    if code in (target, "zxx") or probability < 0.9:
        return False
    return identify.probabilities(pair.translation).get(target, 0.0) <= 0.01


_CHECKS: dict[str, tuple[str, Callable[[Pair], bool]]] = {
    "empty": ("empty", _is_empty),
    "script": ("in another script", _in_another_script),
    "copy": ("a copy of the source", _is_a_copy),
    "repetition": ("repeating itself", _is_repetitive),
    "junk": ("junk that translators are known for", _is_junk),
    "language": ("in another language", _in_another_language),
}
NAMES = tuple(_CHECKS)
"""The names of the checks, in the order in which they run."""


@lru_cache(maxsize=10_000)  # captions repeat
def objection(text: str, translation: str, source: str, target: str, names: tuple[str, ...]) -> str | None:
    """Why a translation fails the first of the checks ``names``, as text for a count; None if it passes all.

    ``source`` and ``target`` are language codes. Raises ``CapivaraError`` for an unknown language.

    >>> objection("a dog on a beach", "a dog on a beach", "en", "pt", NAMES)
    'a copy of the source'
    """
    pair = Pair(text, translation, get(source), get(target))
    return next((reason for name, (reason, fails) in _CHECKS.items() if name in names and fails(pair)), None)
