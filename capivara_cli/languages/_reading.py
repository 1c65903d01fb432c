"""Read the name of a language in any of its forms. The rule for regions and scripts is in ``__init__.py``.

A library (langcodes with language_data: 30 MB, a compiled trie) knows more names. But its parser of tags and its search
for names are two functions, neither reads ``en_US.UTF-8`` or ``sr_RS@latin``, it takes ``cmn`` and ``arb`` for other
languages than ``zh`` and ``ar``, and our table of scripts would still be needed. So the grammar is here and the names
are a table, ``cldr.tsv``, which ``tools/language_names.py`` writes.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

from capivara_cli.languages._table import languages, rows

# pt-BR, por_Latn, zh-cmn-Hans-CN, and as a POSIX locale en_US.UTF-8, sr_RS@latin
_TAG = re.compile(r"([a-z]{2,3}(?:[-_][a-z0-9]+)*)(?:\.[a-z0-9-]+)?(?:@([a-z]+))?", re.IGNORECASE | re.ASCII)
_MACROLANGUAGES = frozenset({"ar", "lv", "ms", "sgn", "sw", "uz", "zh"})
"""The languages that BCP-47 lets another language follow: ``zh-yue`` is Cantonese."""
_SAME_SCRIPT = {"Kore": "Hang", "Aran": "Arab", "Latf": "Latn", "Latg": "Latn"}
_REGION_NAMES = {
    "hong kong": "HK", "hongkong": "HK", "macau": "MO", "macao": "MO", "czech republic": "CZ", "turkey": "TR",
    "u.s.": "US", "u.k.": "GB",
}  # fmt: skip
"""Names of regions that people use, and CLDR's table lacks; folded."""
_ANY_HAN = "Hani"
_LONGEST = 100  # characters of a name: a caption that stands in the place of its language is not searched for one
_EMPTY_WORDS = frozenset({"script", "alphabet", "individual", "language", "macrolanguage"})
"""Words beside a name that do not change it: "Nepali (macrolanguage)", as in ISO 639-3."""
_APOSTROPHES = str.maketrans(dict.fromkeys("’ʼʻ‘`ʹ", "'"))
_BETWEEN_WORDS = re.compile(r"[\s\-_,;:/()\[\]\u2010-\u2015\u3001\uff08\uff09\uff0c\u200b-\u200f]+")


@dataclass
class _Names:
    """What each code and each name means. Names are folded; languages and names are mapped to BCP-47 tags."""

    codes: dict[str, str] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    regions: dict[str, str] = field(default_factory=dict)
    scripts: dict[str, str] = field(default_factory=dict)
    variants: set[str] = field(default_factory=set)
    usual_script: dict[str, str] = field(default_factory=dict)

    def add(self, name: str, tag: str) -> None:
        """Add a language's code or name. If two languages share it, the first one added keeps it."""
        if _TAG.fullmatch(name) and name == name.lower() and len(re.split("[-_]", name)[0]) < 4:
            self.codes.setdefault(name.lower().replace("_", "-"), tag)
        if _is_word(name):
            words = folded(name)
            self.names.setdefault(words, tag)
            first, _, last = words.rpartition(" ")
            self.names.setdefault(f"{last} {first}".strip(), tag)  # "Sotho, Northern", "Chinese (Cantonese)"


@cache
def _names() -> _Names:
    known = _Names()
    for code in languages():
        known.codes[code.lower()] = code
    for alias, code in rows("aliases.tsv"):
        known.add(alias, code)
    for language in languages().values():
        known.add(language.name, language.code)
    for language in languages().values():
        for name in (*language.argos, *language.apertium, language.flores.partition("_")[0]):
            known.codes.setdefault(name or language.code, language.code)
    for kind, code, *others in rows("cldr.tsv"):
        _add_line(known, kind, code, others)
    known.regions |= _REGION_NAMES
    return known


def _add_line(known: _Names, kind: str, code: str, others: Sequence[str]) -> None:
    """Add one line of ``cldr.tsv``."""
    if kind == "language":
        for name in others:
            known.add(name, code)
    elif kind == "written":
        known.usual_script.update(dict.fromkeys(others, code))
    elif kind == "variant":
        known.variants.add(code)
    else:
        table = known.regions if kind == "region" else known.scripts
        for name in (code, *others):
            table.setdefault(folded(name), code)


def _is_word(text: str) -> bool:
    """Whether a text is a name and no code: a long one, or one in another alphabet, such as 日本語."""
    return len(text) > 3 or not text.isascii()


def folded(name: str) -> str:
    """A name for comparison: without differences of case, accents, apostrophes and punctuation.

    >>> folded("Português (Brasil)"), folded("Chinese, Simplified")
    ('portugues brasil', 'chinese simplified')
    """
    letters = unicodedata.normalize("NFKD", name.translate(_APOSTROPHES).casefold())
    plain = "".join(char for char in letters if not "\u0300" <= char <= "\u036f")
    return " ".join(_BETWEEN_WORDS.sub(" ", plain).split())


@cache
def read(text: str) -> str | None:
    """The BCP-47 code of a language in any of its forms, without a region; None if the text names no language.

    A well-formed code that is in no table is a language too: ``kgp``.

    >>> [read(name) for name in ("pt_BR", "Brazilian Portuguese", "zh-TW", "srp_Latn", "gsw-CH", "photo")]
    ['pt', 'pt', 'zh-Hant', 'sr-Latn', 'gsw', None]
    """
    if text in languages():  # most captions and requests; reading all names takes 20 ms
        return text
    if len(text) > _LONGEST:
        return None
    return _read_tag(text.strip()) or _read_words(text)


def names_of_table() -> dict[str, str]:
    """Every code and folded name of the languages in the table -> its code, for suggestions."""
    known = _names()
    found = {name: _resolved(tag) for name, tag in {**known.names, **known.codes}.items()}
    return {name: code for name, code in found.items() if code in languages()}


def _read_tag(text: str) -> str | None:
    match = _TAG.fullmatch(text)
    if match is None:
        return None
    known = _names()
    subtags = match[1].lower().replace("_", "-").split("-")
    if tag := known.codes.get("-".join(subtags)):
        return _resolved(tag, script=known.scripts.get((match[2] or "").lower(), ""))
    language, *rest = subtags
    if language in _MACROLANGUAGES and rest and len(rest[0]) == 3 and rest[0].isalpha():
        language = rest.pop(0)
    found: dict[str, str] = {}
    for subtag in rest:
        if len(subtag) == 1:
            break  # an extension or private use: en-US-u-ca-gregory
        kind = _kind(subtag)
        if not kind or (kind != "variant" and kind in found):
            return None
        found[kind] = subtag
    script = found.get("script", "").title() or known.scripts.get((match[2] or "").lower(), "")
    return _resolved(known.codes.get(language, language), script, found.get("region", ""))


def _kind(subtag: str) -> str:
    """Whether a subtag is a "script", a "region" or a "variant"; "" if it is none of them."""
    known = _names()
    if subtag in known.variants:
        return "variant"
    if len(subtag) == 4 and subtag.isalpha():
        return "script" if known.scripts.get(subtag) == subtag.title() else ""
    is_region = (len(subtag) == 2 and subtag.isalpha()) or (len(subtag) == 3 and subtag.isdigit())
    return "region" if is_region or subtag in known.regions else ""


def _read_words(text: str) -> str | None:
    """Read "Portuguese", "Português (Brasil)" or "Chinese, Traditional": a language with regions and scripts."""
    if ";" in text.strip(" ;"):  # "Catalan; Valencian", as in ISO 639-2: names of one language
        found_of_parts = {_read_words(part) for part in text.split(";")}
        return found_of_parts.pop() if len(found_of_parts) == 1 else None
    known, words = _names(), folded(text).split()
    if tag := known.names.get(" ".join(words)):
        return _resolved(tag)
    for count in range(len(words) - 1, 0, -1):
        for name, others in ((words[:count], words[count:]), (words[-count:], words[:-count])):
            tag = known.names.get(" ".join(name)) or known.codes.get(" ".join(name))
            if tag and (found := _qualifiers(others)) and any(map(_is_word, (*name, *others))):
                return _resolved(tag, *found)
    return None


def _qualifiers(words: Sequence[str]) -> tuple[str, str] | None:
    """The script and the region that words name, "" for none: "latin script", "traditional taiwan"; None for others."""
    known, script, region = _names(), "", ""
    left = [word for word in words if word not in _EMPTY_WORDS]
    while left:
        for count in range(len(left), 0, -1):
            name = " ".join(left[:count])
            if name in known.scripts or name in known.regions:
                script = script or known.scripts.get(name, "")
                region = region or known.regions.get(name, "")
                left = left[count:]
                break
        else:
            return None
    return script, region


def _resolved(tag: str, script: str = "", region: str = "") -> str:
    """The code of a tag, such as "pt-BR", with a script and region in addition.

    A region decides the script where no script is given, and is dropped: ``zh-TW`` is ``zh-Hant``. A script is dropped
    if it is the language's usual one: ``sr-Cyrl`` is ``sr``.
    """
    language, *rest = tag.split("-")
    for subtag in rest:
        if len(subtag) == 4:
            script = script or subtag
        else:
            region = region or subtag
    codes = _names().codes
    if region and not script and (of_region := codes.get(f"{language}-{region}".lower())):
        return _resolved(of_region)
    known = languages().get(language)
    if known is None and codes.get(language, language) != language:
        return _resolved(codes[language], script)
    usual = known.script if known else _names().usual_script.get(language, "")
    script = _SAME_SCRIPT.get(script, script)
    return language if script in ("", _ANY_HAN, _SAME_SCRIPT.get(usual, usual)) else f"{language}-{script}"
