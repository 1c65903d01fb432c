"""One form of a text for comparisons: texts that look the same and mean the same are equal when folded."""

from __future__ import annotations

import unicodedata

import regex

# Characters without a shape or a meaning: soft hyphen, zero-width space, word joiner and byte order mark, marks for the
# direction of writing, variation selectors.
_INVISIBLE = regex.compile(
    "[\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufe00-\ufe0f\ufeff]"
)
# Joiners (ZWNJ, ZWJ) change a word only between letters of scripts that join them, and between emoji (UAX 31).
_JOINING = (
    r"\p{Arabic}\p{Syriac}\p{Mongolian}\p{Nko}\p{Devanagari}\p{Bengali}\p{Gurmukhi}\p{Gujarati}\p{Oriya}\p{Tamil}"
    r"\p{Telugu}\p{Kannada}\p{Malayalam}\p{Sinhala}\p{Extended_Pictographic}\p{Emoji_Modifier}"
)
_IDLE_JOINER = regex.compile(rf"[\u200c\u200d](?:(?<![{_JOINING}].)|(?![{_JOINING}]))", regex.DOTALL)
# Letters without a vowel have a code of their own; before Unicode 5.1 they were written with a virama and a ZWJ.
_OLD_LETTERS = {
    "\u0d23\u0d4d\u200d": "\u0d7a",
    "\u0d28\u0d4d\u200d": "\u0d7b",
    "\u0d30\u0d4d\u200d": "\u0d7c",
    "\u0d32\u0d4d\u200d": "\u0d7d",
    "\u0d33\u0d4d\u200d": "\u0d7e",
    "\u0d15\u0d4d\u200d": "\u0d7f",
    "\u09a4\u09cd\u200d": "\u09ce",
}


def folded(text: str) -> str:
    """The form in which captions are compared: without differences that nobody sees or that change no meaning.

    Upper and lower case, white space, composed and decomposed letters (NFC and NFD, nukta), soft hyphens, zero-width
    spaces, marks for the direction of writing and variation selectors make no difference. ZWJ and ZWNJ make one between
    letters of Arabic and Indic scripts and between emoji, and nowhere else.

    >>> folded("A  Cafe\u0301 ter\u00adrace") == folded("a café terrace"), folded("نامه‌ای") == folded("نامهای")
    (True, False)
    """
    if not text.isascii():
        text = _INVISIBLE.sub("", text)
        if "\u200d" in text or "\u200c" in text:
            for old, new in _OLD_LETTERS.items():
                text = text.replace(old, new)
            text = _IDLE_JOINER.sub("", text)
        # Unicode's canonical caseless match (D145), which case folding alone is not
        text = unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())
    return " ".join(text.casefold().split())
