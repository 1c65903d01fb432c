"""Names, models and numbers, which a translation may keep as they are."""

from __future__ import annotations

from capivara_cli.languages.checks import tables

_PARTICLES = frozenset(
    {"al", "bin", "da", "das", "de", "del", "della", "den", "der", "di", "do", "dos", "du", "e", "el", "et", "i", "ibn"}
    | {"la", "las", "le", "los", "of", "ten", "ter", "van", "von", "y", "zu"}
)
"""Lower-case words inside names: Rio de Janeiro, Vincent van Gogh, Bank of America."""
_LONGEST_PARTICLE = 4
"""Other words inside names are as short as this, and not frequent in the language of the text: Stoke upon Trent."""


def is_name_like(word: str) -> bool:
    """Whether a word has a digit or an upper-case letter: ``BMW``, ``iPhone``, ``M50d``, ``2019``."""
    return word != word.lower() or any(char.isdigit() for char in word)


def are_names(words: list[str], code: str) -> bool:
    """Whether the words of a text are names, models and numbers only, with particles between them.

    ``code`` is the language of the text. A frequent word of it with a capital letter is part of a title, not of a name.

    >>> from capivara_cli.languages.words import words_of
    >>> [are_names(words_of(text), "en") for text in ("Rio de Janeiro", "iPhone 12 Pro Max", "A Dog On A Beach")]
    [True, True, False]
    """
    frequent = tables.words(code).frequent

    def is_particle(word: str) -> bool:
        return word in _PARTICLES or (len(word) <= _LONGEST_PARTICLE and word not in frequent)

    if not words or not (is_name_like(words[0]) and is_name_like(words[-1])):
        return False
    return all(word.lower() not in frequent if is_name_like(word) else is_particle(word) for word in words)
