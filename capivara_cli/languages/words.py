"""Words of a text in any script."""

from __future__ import annotations

import regex

# Unicode's text segmentation (UAX 29): what starts with a letter, a digit or "_", up to the next word boundary.
_WORD = r"(?w:\b\w.*?\b)"
# Thai, Lao, Khmer and Burmese have no mark between words, and only a dictionary finds them. A run of their letters is
# cut into pieces of 4 letters: about the mean length of a word, so that counts are about right. A letter is a grapheme
# cluster; spacing vowel signs and subscript letters (after U+17D2 or U+1039) stay with it.
_UNMARKED = r"[\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
_LETTER = rf"(?={_UNMARKED})(?=\p{{L}})\X\p{{M}}*(?:(?<=[\u17d2\u1039])\X\p{{M}}*)*"
_IS_UNMARKED = regex.compile(_UNMARKED)
_MARKED_WORD = regex.compile(_WORD, regex.DOTALL)
_ANY_WORD = regex.compile(f"(?:{_LETTER}){{1,4}}|{_WORD}", regex.DOTALL)
_AFTER_LATIN, _MARKS = "\u0250", '.,;!?()"'


def words_of(text: str) -> list[str]:
    """Cut a text into words, in order, without spaces and punctuation.

    Words end where Unicode's text segmentation says (UAX 29): vowel signs and joiners belong to their word, "don't" and
    "3.5" are one word, "T-shirt" is two. A Chinese or Japanese character is a word (a run of Katakana is one), and so
    are a Tibetan syllable and a piece of 4 letters of Thai, Lao, Khmer or Burmese.

    >>> words_of("Don't pay 3.5 € for சைக்கிள்!"), words_of("一只狗"), words_of("สุนัขสีแดง")
    (["Don't", 'pay', '3.5', 'for', 'சைக்கிள்'], ['一', '只', '狗'], ['สุนัขสี', 'แดง'])
    """
    if max(text, default="") < _AFTER_LATIN:  # faster, and the same for most captions
        plain = [word.strip(_MARKS) for word in text.split()]
        if all(map(str.isalpha, plain)):
            return plain
    found: list[str] = (_ANY_WORD if _IS_UNMARKED.search(text) else _MARKED_WORD).findall(text)
    return [word for word in found if word.strip("_")] if "_" in text else found
