"""What a translation must not be: each guard has a name, may be switched off, and is counted under it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from capivara_cli.languages import Language, get
from capivara_cli.languages.scripts import written_in

LONGEST = 3.0
"""A translation so many times longer than its source, and 40 characters longer, is no translation of it."""
NAME_WORDS = 2
"""Up to so many words may stay as they are: a name, a loan word."""


@dataclass(frozen=True)
class Pair:
    """A text and its translation, with their languages; white space is collapsed."""

    text: str
    translation: str
    source: Language
    target: Language


def _is_empty(pair: Pair) -> bool:
    return not any(char.isalnum() for char in pair.translation) and any(char.isalnum() for char in pair.text)


def _in_another_script(pair: Pair) -> bool:
    return not written_in(pair.translation, pair.target.script)


def _is_a_copy(pair: Pair) -> bool:
    return is_unchanged(pair.text, pair.translation) and len(pair.text.split()) > NAME_WORDS


def is_unchanged(text: str, translation: str) -> bool:
    """Whether nothing was translated; one or two words may be a name."""
    return text.casefold().strip(" .") == translation.casefold().strip(" .")


# The same few characters six times on end: "gato gato gato gato gato gato", "的的的的的的". A text may do so by itself.
_AGAIN = re.compile(r"(\S.{0,11}?)\1{5,}")


def _runs_away(pair: Pair) -> bool:
    """It says the same again and again, or three times as much as its source did."""
    longer = len(pair.translation) - len(pair.text)
    if longer > 40 and len(pair.translation) > LONGEST * len(pair.text):
        return True
    words = re.findall(r"\w+", pair.translation.casefold())
    if len(words) >= 10 and 3 * len(set(words)) < len(words):
        return True
    return bool(_AGAIN.search(pair.translation)) and not _AGAIN.search(pair.text)


# What translators have learnt from subtitles, web pages and stock-photo sites, and marks of their own alphabet.
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
    """Beyond doubt the source language still, or another one that is not the target.

    Of 12,000 translations of captions to ca, es, gl, pt, hi and xh none was taken for another language; of 1,000
    captions that had stayed English, 82 % were found; the limits were set on these same texts. Between
    languages of different scripts the script says it.
    """
    if pair.source.script != pair.target.script:
        return False
    from capivara_cli.languages import identify  # numpy and half a second, for those who need it

    wanted = pair.target.code
    if wanted not in identify.known():
        return False
    code, share = identify.likeliest(pair.translation)
    if code in (wanted, "zxx") or share < 0.9:
        return False
    return identify.probabilities(pair.translation).get(wanted, 0.0) <= 0.01


_GUARDS: dict[str, tuple[str, Callable[[Pair], bool]]] = {
    "empty": ("empty", _is_empty),
    "script": ("in another script", _in_another_script),
    "copy": ("a copy of the source", _is_a_copy),
    "repetition": ("repeating itself", _runs_away),
    "junk": ("junk that translators are known for", _is_junk),
    "language": ("in another language", _in_another_language),
}
NAMES = tuple(_GUARDS)
"""The checks in the order in which they are made."""


@lru_cache(maxsize=10_000)  # captions come again and again
def objection(text: str, translation: str, source: str, target: str, names: tuple[str, ...]) -> str | None:
    """What is wrong with a translation between two languages, in words for a count; None when nothing is.

    >>> objection("a dog on a beach", "a dog on a beach", "en", "pt", NAMES)
    'a copy of the source'
    """
    pair = Pair(text, translation, get(source), get(target))
    return next((words for name, (words, fails) in _GUARDS.items() if name in names and fails(pair)), None)
