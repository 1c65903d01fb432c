"""Translations that are too short or too long for their text."""

from __future__ import annotations

import math
import re

from capivara_cli.languages.checks import tables
from capivara_cli.languages.checks.pair import Pair

_SHORTER = 0.38
"""A translation is cut off if the logarithm of its length is this far below what is usual for the languages."""
_SHORTER_WITHOUT_END = 0.32
"""The same if the text ends with a full stop and the translation with no mark."""
_SHORT = 5.0
"""Divided by the characters of the text, this is added to both: the lengths of short texts vary more."""
_MIN_CHARACTERS = 25
"""The length of shorter texts says nothing."""
_MAX_RATIO = 3.0
_MIN_EXTRA = 40
"""A translation is too long if it is more than 3 times as long as its text, and over 40 characters longer."""
_FULL_STOP = re.compile(r"[.!?。！？।॥։။።؟۔][\s\"'”’»)\]]*$")
_MARK = re.compile(r"[^\w\s]\s*$")


def is_cut_off(pair: Pair) -> bool:
    """Whether a translation ends with a word that cannot end a text, or is far shorter than usual."""
    if _is_unfinished(pair):
        return True
    expansion = tables.expansion(pair.source.code, pair.target.code)
    if expansion is None or len(pair.text) < _MIN_CHARACTERS or not pair.translation:
        return False
    lost_its_end = bool(_FULL_STOP.search(pair.text)) and not _MARK.search(pair.translation)
    limit = (_SHORTER_WITHOUT_END if lost_its_end else _SHORTER) + _SHORT / len(pair.text) + expansion.tolerance
    return expansion.log_ratio - math.log(len(pair.translation) / len(pair.text)) > limit


def _is_unfinished(pair: Pair) -> bool:
    """Whether the last word cannot end a text. A text that ends with a frequent word ("looks in") excuses much."""
    words = pair.translation_words
    if len(words) < 3 or not pair.text_words or words[-1] not in tables.words(pair.target.code).unfinished:
        return False
    last = pair.text_words[-1]
    return last != words[-1] and last not in tables.words(pair.source.code).frequent


def is_too_long(pair: Pair) -> bool:
    """Whether a translation is far longer than its text."""
    longer = len(pair.translation) - len(pair.text)
    return longer > _MIN_EXTRA and len(pair.translation) > _MAX_RATIO * len(pair.text)
