"""Removes the spaces of tokenised output ("l ' home", "( foto ) .") from translations. Their words stay as they are."""

from __future__ import annotations

import re
from functools import cache

# A text with spaces before punctuation, inside brackets or around an apostrophe: its translation may have them too.
_IS_TOKENISED = re.compile(r"\w\s[.,;!?)\]…।،؟](?!\w)|[(\[]\s\w|\w\s['’]\s\w")
# A text with a dash, a colon or a semicolon: its translation may have a dash with spaces.
_HAS_DASH = re.compile(r"\s[-–—]|[-–—:;]\s")
_FRENCH = frozenset({"br", "fr"})  # a space belongs before ; : ! ? » and after «
# Languages that join words by hyphens. In Russian, Polish … " - " stands for "is".
_WITH_HYPHENS = frozenset(
    {"af", "ca", "da", "de", "en", "es", "eu", "fr", "gl", "id", "it", "ms", "nb", "nl", "nn", "oc", "pt", "ro", "sv",
     "tl"}
)  # fmt: skip
# "senta - se", but not a tail that translators add: "um homem - Imagem em Alta Resolução".
_HYPHEN = re.compile(
    r"(?<=[^\W\d_]) - (?=[^\W\d_A-ZÀ-Þ])(?!(?:ima[gx]|immagin|foto|photo|bild|stock|v[ií]deo|ve[ck]?to))"
)
_BEFORE_APOSTROPHES = {
    "ca": "d|l|m|n|s|t",
    "fr": "aujourd|c|d|j|jusqu|l|lorsqu|m|n|puisqu|qu|quelqu|s|t",
    "gl": "d|n",
    "it": "all|bell|c|coll|d|dall|dell|l|m|n|nell|quell|s|sull|t|un|v",
    "oc": "c|d|l|m|n|qu|s|t",
    "pt": "d",
}
_AFTER_APOSTROPHES = {"en": "d|ll|m|re|s|t|ve"}


def detokenised(translation: str, source: str, code: str) -> str:
    """A translation without the spaces of tokenised output, if its source has none.

    It removes spaces before punctuation, inside brackets and quotes, around apostrophes, around the hyphens of words,
    and in numbers that the source has. French keeps the space before ";:!?". A source with such spaces, as in data sets
    that were tokenised, changes nothing. ``code`` is the language of the translation.

    >>> detokenised("Uma mulher senta - se na d ' água ( foto ) .", "A woman sits down in the water (photo).", "pt")
    "Uma mulher senta-se na d'água (foto)."
    >>> detokenised("um gato .", "a cat .", "pt"), detokenised("Quel chien !", "What a dog!", "fr")
    ('um gato .', 'Quel chien !')
    """
    if " " not in translation or _IS_TOKENISED.search(source):
        return translation
    code = code.partition("-")[0]
    text = _with_apostrophes(_with_numbers(translation, source), code)
    if code in _WITH_HYPHENS and " - " in text and not _may_have_a_dash(text, source):
        text = _HYPHEN.sub("-", text)
    if text.count('"') % 2 == 0:
        text = re.sub(r'(?<!\S)" ([^"]+) "', r'"\1"', text)
    text = re.sub(r"“ ([^“”„]+) ”", r"“\1”", text)
    for pattern in _spaces_at_punctuation(code):
        text = pattern.sub("", text)
    return text


def _may_have_a_dash(text: str, source: str) -> bool:
    """Whether " - " may be a dash in a translation: it has others, or its source has one or more commas than it."""
    return bool(re.search("[–—]", text) or _HAS_DASH.search(source)) or source.count(", ") > text.count(",")


@cache
def _spaces_at_punctuation(code: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    after, before = (".,…)]}।،؟。、", "([{¿¡") if code in _FRENCH else (".,;:!?…)]}»।،؛؟。！？、", "([{¿¡«")
    ends = re.escape(after)
    return (
        # not before ".NET" or ":)", and not where the mark stands between numbers, as in "3 : 2"
        re.compile(rf"""(?<=[^\s(\[{{«¿¡.,;:])\s+(?=(?:[{ends}]|\.\.\.)(?:[\s"'”’»]|$))(?!:\s\d)"""),
        re.compile(rf"(?<=[{re.escape(before)}])\s+(?=\w)"),
    )


def _with_numbers(text: str, source: str) -> str:
    """Join "10 , 000" where the source has that number, whatever its separator."""
    numbers = {re.sub(r"\D", "", each) for each in re.findall(r"\d[\d.,:]*", source)}

    def joined(match: re.Match[str]) -> str:
        number = re.sub(r"\s", "", match[0])
        return number if re.sub(r"\D", "", number) in numbers else match[0]

    return re.sub(r"\d+(?:\s[.,:]\s?\d+)+", joined, text)


def _with_apostrophes(text: str, code: str) -> str:
    if not re.search("\\s['’]|['’]\\s", text):
        return text
    if before := _BEFORE_APOSTROPHES.get(code):
        text = re.sub(rf"\b({before})(?: (['’]) ?|(['’]) )(?=\w)", r"\1\2\3", text, flags=re.IGNORECASE)
    if after := _AFTER_APOSTROPHES.get(code):
        text = re.sub(rf"(?<=\w)(?: (['’]) ?|(['’]) )(?=(?:{after})\b)", r"\1\2", text)
    alone = len(re.findall("['’]", text)) == 1  # one alone opens no quotation
    return re.sub(r"(?<=\w) (['’]) (?=\w)", r"\1", text) if alone else text
