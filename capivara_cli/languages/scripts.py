"""Scripts by ISO 15924 code: the letters that belong to a script, and whether it puts spaces between words."""

from __future__ import annotations

import unicodedata


def written_in(text: str, script: str) -> bool:
    """Whether a text has a letter of a script. True if the text has no letters or the script is unknown.

    >>> written_in("um gato", "Latn"), written_in("um gato", "Deva"), written_in("2 × 4", "Deva")
    (True, False, True)
    """
    names = _NAMES.get(script)
    letters = [char for char in text if char.isalpha()]
    if names is None or not letters:
        return True
    return any(_name(char).startswith(names) for char in letters)


def mostly_written_in(text: str, script: str) -> bool:
    """Whether at least half of the letters of a text belong to a script. True if the script is unknown.

    >>> mostly_written_in("a cat 猫", "Latn"), mostly_written_in("猫 ネコ cat 猫がいる", "Latn")
    (True, False)
    """
    names = _NAMES.get(script)
    letters = [char for char in text if char.isalpha()]
    if names is None:
        return True
    return 2 * sum(_name(char).startswith(names) for char in letters) >= len(letters)


def _name(char: str) -> str:
    """The Unicode name of a letter, which begins with its script; the width of East Asian forms is left out."""
    return unicodedata.name(char, "").removeprefix("FULLWIDTH ").removeprefix("HALFWIDTH ")


def is_unspaced(script: str) -> bool:
    """Whether a script writes words without spaces between them."""
    return script in _UNSPACED


_UNSPACED = frozenset({"Hans", "Hant", "Jpan", "Thai", "Khmr", "Laoo", "Mymr", "Tibt"})

# ISO 15924 code -> the beginnings of the Unicode names of its letters.
_NAMES: dict[str, tuple[str, ...]] = {
    "Arab": ("ARABIC",), "Armn": ("ARMENIAN",), "Beng": ("BENGALI",), "Cyrl": ("CYRILLIC",), "Deva": ("DEVANAGARI",),
    "Ethi": ("ETHIOPIC",), "Geor": ("GEORGIAN",), "Grek": ("GREEK",), "Gujr": ("GUJARATI",), "Guru": ("GURMUKHI",),
    "Hang": ("HANGUL",), "Hans": ("CJK",), "Hant": ("CJK",), "Hebr": ("HEBREW",),
    "Jpan": ("CJK", "HIRAGANA", "KATAKANA"),
    "Khmr": ("KHMER",), "Knda": ("KANNADA",), "Laoo": ("LAO",), "Latn": ("LATIN",), "Mlym": ("MALAYALAM",),
    "Mymr": ("MYANMAR",), "Olck": ("OL CHIKI",), "Orya": ("ORIYA",), "Sinh": ("SINHALA",), "Taml": ("TAMIL",),
    "Telu": ("TELUGU",), "Tfng": ("TIFINAGH",), "Thai": ("THAI",), "Tibt": ("TIBETAN",),
}  # fmt: skip
