"""Parts of a translation that are still in the language of the text."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from capivara_cli.languages.checks import tables
from capivara_cli.languages.checks.names import is_name_like
from capivara_cli.languages.checks.pair import Pair
from capivara_cli.languages.words import words_of

RELATED = 0.15
"""Languages that share this part of their frequent words share whole phrases: Spanish and Portuguese 0.30."""
_ALIKE = 0.5
"""A few words of languages that share more are not told apart by identification: Portuguese and Galician 0.55."""
_QUOTE = re.compile('["“”„«‘「『]')
_QUOTED = re.compile(r"[\"“”„«‘「『][^\"“”„«»‘’「」『』]*[\"“”»’」』]")
# English phrases that other languages borrow with their "and".
_LOAN_PHRASE = re.compile(
    r"\b(?:rock and roll|rhythm and blues|drum and bass|bed and breakfast|fish and chips|mac and cheese)\b",
    re.IGNORECASE,
)


def is_partly_untranslated(pair: Pair) -> bool:
    """Whether a translation has words that only the language of the text has, or words copied from the text in a row.

    The limits were set on the captions of docs/translation-quality.md. Names, numbers and what stands in quotation
    marks count neither for nor against.
    """
    frequent, foreign = tables.words(pair.source.code).frequent, pair.foreign
    words = _without_capital(_unquoted_words(pair), frequent)
    if sum(word in foreign for word in words) >= 2 and len(_foreign_outside_names(words, foreign)) >= 2:
        return True
    text = _without_capital(pair.text_words, frequent)
    if len(set(words).intersection(text)) < 2:
        return False
    run = longest_common_run(words, text)
    copied = [word for word in run if not is_name_like(word)]
    shared = tables.shared(pair.source.code, pair.target.code)
    if pair.are_close or shared >= RELATED:
        if len(copied) >= 2 and any(word in foreign for word in copied):
            return True
        if len(copied) >= 5 and 5 * len(copied) >= 3 * len(words) and not pair.are_close:
            return True
        may_tell = RELATED <= shared <= _ALIKE and len(copied) >= 3 and 5 * len(copied) >= 2 * len(words)
        return may_tell and pair.is_rather_source(" ".join(copied))
    return len(copied) >= 3 and (not frequent or any(word in frequent for word in copied))


def longest_common_run(words: Sequence[str], others: Sequence[str]) -> Sequence[str]:
    """The longest run of words that both lists have.

    >>> longest_common_run("um homem in a black hat".split(), "a man in a black hat".split())
    ['in', 'a', 'black', 'hat']
    """
    places = defaultdict(list)
    for place, word in enumerate(others):
        places[word].append(place)
    longest, end = 0, 0
    lengths: dict[int, int] = {}  # of the common run that ends at the last word and at a place of ``others``
    for number, word in enumerate(words, 1):
        lengths = {place: lengths.get(place - 1, 0) + 1 for place in places.get(word, ())}
        length = max(lengths.values(), default=0)
        if length > longest:
            longest, end = length, number
    return words[end - longest : end]


def _foreign_outside_names(words: list[str], foreign: frozenset[str]) -> list[str]:
    """The foreign words but those inside a name: "House of the Rising Sun".

    >>> _foreign_outside_names("o House of the Rising Sun of the mar".split(), frozenset({"of", "the"}))
    ['of', 'the']
    """
    found: list[str] = []
    inside: list[str] = []  # foreign words since the last name
    after_name = False
    for place, word in enumerate(words):
        if word in foreign:
            inside.append(word)
            continue
        is_name = place > 0 and is_name_like(word)
        if not (after_name and is_name):
            found += inside
        inside, after_name = [], is_name
    return found + inside


def _unquoted_words(pair: Pair) -> list[str]:
    """The words of the translation without loan phrases and quotations: signs may say something in another language."""
    has_quote, has_loan = _QUOTE.search(pair.translation), _LOAN_PHRASE.search(pair.translation)
    if not has_quote and not has_loan:
        return pair.translation_words
    return words_of(_LOAN_PHRASE.sub(" ", _QUOTED.sub(" ", pair.translation)))


def _without_capital(words: list[str], frequent: frozenset[str]) -> list[str]:
    """The words, with the first one in lower case if it is a frequent word and not a name."""
    return [words[0].lower(), *words[1:]] if words and words[0].lower() in frequent else words
