"""Splits captions into sentences: translation models are trained on sentences and cut off longer texts."""

from __future__ import annotations

import re
from collections.abc import Sequence

from capivara_cli.languages.scripts import is_unspaced

_STOPS = ".!?…।॥؟۔።"
_WIDE_STOPS = "。！？｡"
_CLOSING = "\"'”’»)\\]}」』）"
# A sentence ends with a stop, closing quotes or brackets, and a space, unless a small letter or a digit follows:
# "approx. two" and "No. 5" do not end. Chinese and Japanese stops need no space after them.
_END = re.compile(
    rf"(?<=[{_STOPS}])([{_CLOSING}]*)\s+(?=[^\Wa-zà-öø-ÿ\d]|[\"'“‘«(\[¿¡「『])|(?<=[{_WIDE_STOPS}])([{_CLOSING}]*)\s*(?=\S)"
)
# Words whose full stop does not end a sentence: titles and common abbreviations.
_ABBREVIATION = re.compile(
    r"(?:^|[\s(])(?:Mr|Mrs|Ms|Dr|Prof|St|Sr|Sra|Jr|Mt|Ft|No|Nr|vs|etc|approx|ca|cf|e\.g|i\.e|[A-Za-z]|(?:[A-Za-z]\.)+[A-Za-z])\.$"
)


def split(text: str) -> list[str]:
    """The sentences of a text, in order; a text of one sentence is returned unchanged.

    >>> split("A dog. Two cats!"), split("Dr. Smith, approx. 3.5 m")
    (['A dog.', 'Two cats!'], ['Dr. Smith, approx. 3.5 m'])
    """
    if not any(stop in text for stop in _STOPS + _WIDE_STOPS):
        return [text]
    sentences: list[str] = []
    start = 0
    for match in _END.finditer(text):
        closed = text[start : match.end(1) if match[1] is not None else match.end(2)]
        if _ABBREVIATION.search(closed):
            continue
        sentences.append(closed.strip())
        start = match.end()
    rest = text[start:].strip()
    return [*sentences, rest] if rest else sentences or [text]


def join(sentences: Sequence[str], script: str) -> str:
    """Join translated sentences; without spaces when the script (ISO 15924) has none."""
    return ("" if is_unspaced(script) else " ").join(" ".join(each.split()) for each in sentences if each.strip())
