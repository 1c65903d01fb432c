"""Splits captions into sentences: translation models are trained on sentences and cut off longer texts.

Of 209 cases (tests/stages/translators/sentences.tsv), the libraries sentencex, pysbd and sentence-splitter split fewer
right: see docs/translation-quality.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import regex

from capivara_cli.languages.scripts import is_unspaced

_STOPS = ".!?…।॥؟۔።"
_WIDE_STOPS = "。！？｡"
_CLOSING = "\"'”’»)\\]}」』）"
_HAN = r"\p{Han}\p{Hiragana}\p{Katakana}"
# A sentence ends with a stop, closing quotes or brackets, and a space, unless a small letter or a digit follows:
# "approx. two" and "No. 5" do not end. Chinese and Japanese need no space, and a quotation goes on with と or って.
_END = regex.compile(
    rf"(?<=[{_STOPS}])([{_CLOSING}]*)\s+(?=(?!\p{{Ll}})\p{{L}}|[\"']\S|[“‘«(\[¿¡「『])"
    rf"|(?:(?<=[{_WIDE_STOPS}])|(?<=[{_HAN}][!?]))(?![」』]と|[」』]って)([{_CLOSING}]*)\s*(?=[^\s{_CLOSING}{_STOPS}{_WIDE_STOPS}])"
)
# The last word with a full stop: "Prof.", "z. B.", "U.S."; after an apostrophe "Av." of "l'Av."
_LAST_WORD = regex.compile(r"(?:^|[\s(\[{«“\"'’‘])((?:\p{L}\.\s?)*[\p{L}\p{M}\p{N}.ºª:\"-]+)\.$")
_LONGEST_WORD = 40  # in characters; a search of the whole text for each full stop is quadratic
_INITIALS = regex.compile(r"(?:\p{L}\.\s?)*\p{Lu}|(?:\p{L}\.\s?)+[a-z]|[a-z]")
_NEXT_WORD = regex.compile(r"\p{L}+(?=[\s'’])")
_WITH_ORDINALS = ("cs", "da", "de", "et", "fi", "hr", "hu", "lv", "nb", "nn", "no", "pl", "sk", "sl", "sr", "tr")
# First words of sentences: after "Inc." or "p.m.", which may end a sentence, they begin another.
_FIRST_WORDS = {
    "ca": "El La Els Les L Un Una Uns Unes Hi Ell Ella",
    "de": "Der Die Das Ein Eine Er Sie Es Im In Am Auf",
    "en": "A An The He She It They There This That These Those His Her Its Their In On At Some Two Three People",
    "es": "El La Los Las Un Una Unos Unas Hay Él Ella Ellos Ellas En",
    "fr": "Le La Les L Un Une Des Il Elle Ils Elles On Deux",
    "gl": "O A Os As Un Unha Uns Unhas Hai El Ela",
    "it": "Il La Lo I Gli Le L Un Una Uno C",
    "nl": "De Het Een Hij Zij Ze Er",
    "pt": "O A Os As Um Uma Uns Umas Há Ele Ela Eles Elas No Na",
}


def split(text: str, code: str = "en") -> list[str]:
    """The sentences of a text in the language ``code``, in order; a text of one sentence is returned unchanged.

    Abbreviations do not end a sentence. After one that may ("Inc.", "p.m."), a new sentence must begin with a word that
    sentences of the language often begin with.

    >>> split("A dog. Two cats!"), split("Gov. Lima and Lt. Col. Reis, approx. 3.5 m")
    (['A dog.', 'Two cats!'], ['Gov. Lima and Lt. Col. Reis, approx. 3.5 m'])
    """
    if not any(stop in text for stop in _STOPS + _WIDE_STOPS):
        return [text]
    code = code.partition("-")[0]
    sentences: list[str] = []
    start = 0
    for match in _END.finditer(text):
        closed = text[start : match.end(1) if match[1] is not None else match.end(2)]
        if _is_abbreviated(closed, text[match.end() :], code):
            continue
        sentences.append(closed.strip())
        start = match.end()
    rest = text[start:].strip()
    return [*sentences, rest] if rest else sentences or [text]


def _is_abbreviated(closed: str, following: str, code: str) -> bool:
    """Whether a text is a list's number or ends with an abbreviation, and what follows goes on with the sentence."""
    if closed[:-1].strip().isdecimal():
        return True
    found = _LAST_WORD.search(closed, max(0, len(closed) - _LONGEST_WORD))
    if not found:
        return False
    word = found[1]
    never, maybe = _abbreviations(code)
    short = word.replace(" ", "")
    if short in never:
        return True
    if short in maybe or _INITIALS.fullmatch(word) or (code in _WITH_ORDINALS and len(word) < 3 and word.isdecimal()):
        begins = _NEXT_WORD.match(following)
        is_initial = len(word) == 1 and word.isupper()
        return is_initial or not begins or begins[0] not in _FIRST_WORDS.get(code, "").split()
    return False


@cache
def _abbreviations(code: str) -> tuple[frozenset[str], frozenset[str]]:
    """The abbreviations of a language, which never end a sentence, and those that may, marked "*" in the table."""
    lines = (Path(__file__).parent / "abbreviations.tsv").read_text("utf-8").splitlines()
    table = {language: words.split() for language, _, words in (line.partition("\t") for line in lines)}
    own = table.get(code, [])
    maybe = {word[:-1] for word in [*table["any"], *own] if word.endswith("*")}
    return frozenset([*table["any"], *own]) - maybe, frozenset(maybe)


def join(sentences: Sequence[str], script: str) -> str:
    """Join translated sentences; without spaces when the script (ISO 15924) has none."""
    return ("" if is_unspaced(script) else " ").join(" ".join(each.split()) for each in sentences if each.strip())
