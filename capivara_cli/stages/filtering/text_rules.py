"""Rules for the texts of captions. ``--rules`` switches each on by its name, and its removals are counted."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from capivara_cli import languages
from capivara_cli.languages.caption_cleaning import is_repetitive
from capivara_cli.languages.folding import folded
from capivara_cli.languages.scripts import mostly_written_in
from capivara_cli.languages.words import words_of

BOILERPLATE = "boilerplate"
"""The only rule that needs the whole corpus: it counts the images that share a caption."""

_PREFIX = 2_000
"""The number of characters that the slower rules read, which is enough to recognise junk."""

# Characters per word in the scripts of Chinese and Japanese. These are our estimates: they distinguish two words from
# ten, not two from three.
_CHARACTERS_PER_WORD = {"CJK": 1.6, "HIRAGANA": 2.5, "KATAKANA": 4.0}
_EAST_ASIAN = re.compile("[\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_NOT_SURE, _RULED_OUT = 0.9, 0.01  # the limits of translation_checks, where they were measured


@dataclass(frozen=True)
class TextRules:
    """The names of the rules that are on, and the limits of the rule "length"; a maximum of 0 is no limit."""

    names: tuple[str, ...] = ()
    min_words: int = 2
    max_words: int = 80
    min_chars: int = 6
    max_chars: int = 1000

    def objection(self, text: str, lang: str) -> str:
        """The rule that a caption breaks, in the words that follow "captions" in the counts; "" if none.

        >>> TextRules(("length",)).objection("dog", "en"), TextRules(("junk",)).objection("IMG_2034.jpg", "pt")
        ('shorter than 2 words', 'that are junk: file name')
        """
        return _objection(self, text, languages.code_of(lang))


@lru_cache(maxsize=10_000)  # captions repeat
def _objection(rules: TextRules, text: str, code: str) -> str:
    for name, rule in _RULES.items():
        if name in rules.names and (found := rule(rules, text, code)):
            return found
    return ""


def _length(rules: TextRules, text: str, code: str) -> str:
    wide, count = columns(text), words(text)
    if count < rules.min_words:
        return f"shorter than {rules.min_words} words"
    if wide < rules.min_chars:
        return f"shorter than {rules.min_chars} characters"
    if 0 < rules.max_words < count:
        return f"longer than {rules.max_words} words"
    if 0 < rules.max_chars < wide:
        return f"longer than {rules.max_chars} characters"
    return ""


def _script(rules: TextRules, text: str, code: str) -> str:
    known = languages.knows(code)
    return "" if not known or mostly_written_in(text, languages.get(code).script) else "in another script"


def _language(rules: TextRules, text: str, code: str) -> str:
    """Object to a caption that is surely not in its language. Languages that py3langid does not know always pass."""
    from capivara_cli.languages import identify  # imports numpy, which takes 0.5 s

    if code not in identify.supported_codes():
        return ""
    text = text[:_PREFIX]
    found, share = identify.likeliest(text)
    if found in (code, "zxx") or share < _NOT_SURE:
        return ""
    return "in another language" if identify.probabilities(text).get(code, 0.0) <= _RULED_OUT else ""


def _junk(rules: TextRules, text: str, code: str) -> str:
    text = " ".join(text[:_PREFIX].split())
    for kind, pattern in _patterns(code):
        if pattern.search(text):
            return f"that are junk: {kind}"
    return "that are junk: repetitive" if is_repetitive(text) else ""


_RULES: dict[str, Callable[[TextRules, str, str], str]] = {
    "length": _length,
    "script": _script,
    "junk": _junk,
    "language": _language,
}
NAMES = (*_RULES, BOILERPLATE)
"""The rules in the order in which they are applied."""


@cache
def _patterns(code: str) -> list[tuple[str, re.Pattern[str]]]:
    """(kind of junk, pattern) for a language: the patterns of all languages, its own, and English ones.

    Phrases that are also ordinary words ("log in", "see more") are junk only where they stand alone, as on a web page:
    the part {start} is the beginning of a text, a separator or a price, {end} is the end or a separator.
    """
    table = json.loads((Path(__file__).parent / "junk.json").read_text("utf-8"))
    own = code.partition("-")[0]
    kinds: dict[str, list[str]] = {}
    for language in dict.fromkeys(("any", own, "en")):
        for kind, patterns in table.get(language, {}).items():
            kinds.setdefault(kind, []).extend(patterns)
    return [(kind, re.compile(_joined(each, table["parts"]), re.IGNORECASE)) for kind, each in kinds.items()]


def _joined(patterns: list[str], parts: dict[str, str | list[str]]) -> str:
    """One pattern of many. Those that begin with {start} share it: one by one, they take five times as long."""
    shared = [each.removeprefix("{start}") for each in patterns if each.startswith("{start}")]
    others = [each for each in patterns if not each.startswith("{start}")]
    return _expanded("|".join([*others, f"{{start}}(?:{'|'.join(shared)})"] if shared else others), parts)


def _expanded(pattern: str, parts: dict[str, str | list[str]]) -> str:
    """A pattern with its {parts}: a pattern, or a list of alternatives; they may have parts themselves."""
    for name, part in parts.items():
        if f"{{{name}}}" in pattern:
            whole = part if isinstance(part, str) else f"(?:{'|'.join(part)})"
            pattern = _expanded(pattern.replace(f"{{{name}}}", whole), parts)
    return pattern


def words(text: str) -> int:
    """The number of words of a text in any script; an estimate from the characters in Chinese and Japanese.

    >>> words("a red dog, 2 cats"), words("一只红色的狗在草地上"), words("สุนัขสีแดงบนสนามหญ้า"), words("— !")
    (5, 7, 4, 0)
    """
    found = words_of(text)
    east_asian = [_script_of(character) for character in "".join(filter(_EAST_ASIAN.match, found))]
    estimate = math.fsum(1 / _CHARACTERS_PER_WORD[script] for script in east_asian if script in _CHARACTERS_PER_WORD)
    return sum(not _EAST_ASIAN.match(word) for word in found) + math.ceil(estimate)


def _script_of(character: str) -> str:
    """The first part of the Unicode name: CJK, HIRAGANA, KATAKANA … ("KATAKANA-HIRAGANA …" is Katakana)."""
    return unicodedata.name(character, "").partition(" ")[0].partition("-")[0]


def columns(text: str) -> int:
    """The width of a text in characters, without white space at the ends; wide ones (as in Chinese) count twice."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text.strip())


def boilerplate_key(text: str) -> int:
    """A 64-bit hash of a caption. It ignores case, white space, and what else ``folded`` ignores."""
    from hashlib import blake2b

    data = folded(text).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little")
