"""Checks of a translation. Each has a name, can be switched off, and counts the translations that fail it."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from capivara_cli.languages import get
from capivara_cli.languages.checks import tables
from capivara_cli.languages.checks.junk import is_junk
from capivara_cli.languages.checks.leftovers import RELATED, is_partly_untranslated
from capivara_cli.languages.checks.length import is_cut_off, is_too_long
from capivara_cli.languages.checks.names import are_names, is_name_like
from capivara_cli.languages.checks.negation import adds_a_negation
from capivara_cli.languages.checks.pair import Pair
from capivara_cli.languages.checks.repetition import is_repetitive
from capivara_cli.languages.scripts import written_in

MAX_NAME_WORDS = 2
"""A text of up to this many words may stay unchanged: it may be a name or a loan word."""
MAX_SHARED_WORDS = 5
"""A translation of up to this many words is not taken for one in a close language."""
_ALIKE = 0.6
"""Texts of languages that share more words are not told apart by identification: Norwegian and Danish 0.78."""


def is_unchanged(text: str, translation: str) -> bool:
    """Whether a translation equals its source, apart from case, spaces and full stops at the ends."""
    return text.casefold().strip(" .") == translation.casefold().strip(" .")


def _is_empty(pair: Pair) -> bool:
    return not any(char.isalnum() for char in pair.translation) and any(char.isalnum() for char in pair.text)


def _is_wordless(pair: Pair) -> bool:
    """Whether the translation has words and its text has none: "!!!" -> "algo". Numbers may be written as words."""
    if any(char.isalpha() for char in pair.text) or not any(char.isalpha() for char in pair.translation):
        return False
    digits = [char for char in pair.text if char.isdigit()]
    return not digits or (len(digits) > 2 and not any(char.isdigit() for char in pair.translation))


def _in_another_script(pair: Pair) -> bool:
    return not written_in(pair.translation, pair.target.script) and not _is_kept_name(pair)


def _is_kept_name(pair: Pair) -> bool:
    return is_unchanged(pair.text, pair.translation) and are_names(pair.text_words, pair.source.code)


def _is_a_copy(pair: Pair) -> bool:
    """Whether the translation is its text unchanged, unless it is short, a name, or right in both languages."""
    if not is_unchanged(pair.text, pair.translation) or len(pair.text.split()) <= MAX_NAME_WORDS:
        return False
    if pair.are_close:
        return any(word.lower() in pair.foreign for word in pair.text_words)
    return any(char.isalpha() for char in pair.text) and not are_names(pair.text_words, pair.source.code)


def _is_partly_untranslated(pair: Pair) -> bool:
    return not is_unchanged(pair.text, pair.translation) and is_partly_untranslated(pair)


def _in_another_language(pair: Pair) -> bool:
    """Whether the translation is clearly in a language other than the target.

    Languages of different scripts are left to the script check, names and words of the text to the checks of copies.
    The limits were set on 12,000 translations of captions to ca, es, gl, pt, hi and xh, of which none fails.
    """
    if pair.source.script != pair.target.script:
        return False
    from capivara_cli.languages import identify  # slow: numpy and half a second

    target = pair.target.code
    if target not in identify.supported_codes():
        return False
    if _are_related_and_told_apart(pair) and pair.is_rather_source(pair.translation):
        return not _is_kept_name(pair)
    code, probability = identify.likeliest(pair.translation)
    if code in (target, "zxx") or probability < 0.9:
        return False
    if tables.are_close(code, target) and len(pair.translation_words) <= MAX_SHARED_WORDS:
        return False
    if identify.probabilities(pair.translation).get(target, 0.0) > 0.01:
        return False
    return any(not is_name_like(word) and word not in pair.text_words for word in pair.translation_words)


def _are_related_and_told_apart(pair: Pair) -> bool:
    shared = tables.shared(pair.source.code, pair.target.code)
    return RELATED <= shared <= _ALIKE and len(pair.translation_words) > MAX_SHARED_WORDS


_CHECKS: dict[str, tuple[str, Callable[[Pair], bool]]] = {
    "empty": ("empty", _is_empty),
    "wordless": ("words for a caption without any", _is_wordless),
    "script": ("in another script", _in_another_script),
    "copy": ("a copy of the source", _is_a_copy),
    "junk": ("junk that translators are known for", is_junk),
    "untranslated": ("partly untranslated", _is_partly_untranslated),
    "repetition": ("repeating itself", is_repetitive),
    "cut": ("cut off", is_cut_off),
    "long": ("far longer than the source", is_too_long),
    "negation": ("negated, which the source is not", adds_a_negation),
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
