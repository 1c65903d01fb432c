"""Rules that clean generated captions. Each rule has a name, and the captions that it changes are counted under it."""

from __future__ import annotations

import re
from collections.abc import Callable

from capivara_cli.languages import Language
from capivara_cli.languages.folding import folded
from capivara_cli.languages.prompts import is_request
from capivara_cli.languages.words import words_of

Note = Callable[[str], None]

# " - stock image", " | royalty free stock vector, 123": a separator with a space on one side, then nothing, a number,
# an author, or what follows a comma. The stock of a compound stays ("rolling-stock images in a museum").
_STOCK = re.compile(
    r"(?<!\brolling)(?<!\blive)(?<!\bjoint)(?<!\blaughing)(?:[\s,]+[-–—]\s*|[-–—]\s+|[\s,]*\|\s*)"
    r"(?:royalty[- ]free\s+)?stock\s+(?:images?|photos?|photography|pictures?|vectors?|footage|videos?|illustrations?)"
    r"(?:\s*(?:[,#(\d]|royalty[- ]free|(?:by|from|of)\b)[^-–—|]*)?\W*$",
    re.IGNORECASE,
)
_LONGEST_TAIL = 200  # a search of the whole text for each of many tails is quadratic
_NO_NAME = r"(?!(?<=\w\s)(?-i:A\s+(?:a|an|the)\b))"  # the letter of "vitamin A the", "grade A a"
_FUNCTION_WORD = "a|an|the|of|in|on|at|with|and|is|are|to|for|by|from"
# "of of", "of a of a", "in front of the in front of the": words and groups that English never repeats. "very very" and
# "bye bye" stay.
_STUTTER = re.compile(
    rf"{_NO_NAME}(?<!-)\b({_FUNCTION_WORD}|(?:{_FUNCTION_WORD}|front|top|next|his|her|its|their)"
    rf"(?:\s+(?:{_FUNCTION_WORD}|front|top|next|his|her|its|their)){{1,4}})(?:\s+\1\b(?!-))+",
    re.IGNORECASE,
)
# "portrait of a the man", "of a of the man": the second article stays, because the model wrote it and the prompt the
# first.
_TWO_ARTICLES = re.compile(
    r"\b(?:(of|in|on|at|with|to|for|by|from)\s+(?:a|an|the)\s+(?=\1\s+(?:a|an|the)\b)"
    rf"|{_NO_NAME}(?:a|an|the)\s+(?=(?-i:a|an|the)\s)(?!a (?:cappella|capella|la|priori|posteriori)\b))",
    re.IGNORECASE,
)
_TRAILING = re.compile(r"[\s,;:\-–—|]+$")
# The same few characters five times in a row, in any script: "a, a, a, a, a", "狗狗狗狗狗".
_REPETITION = re.compile(r"(\S.{0,30}?)\1{4,}")
# The longer a text, the smaller its share of distinct words: of 340 Japanese characters 0.42 are, of 86 it is 0.61.
_STRETCH = 100


class Cleaner:
    """Cleans a generated caption or drops it. The rules about English words apply to English only."""

    def __init__(self, language: Language, enabled: bool = True) -> None:
        english = language.code == "en"
        self.enabled = enabled
        self._rules: list[tuple[str, Callable[[str, str], str]]] = [
            ("echo of the prompt", without_echo),
            ("stock-photo tail", lambda text, _: without_stock_tail(text)),
            *([("doubled word", lambda text, _: _STUTTER.sub(r"\1", text))] if english else []),
            *([("two articles", lambda text, _: _TWO_ARTICLES.sub("", text))] if english else []),
            ("dangling punctuation", lambda text, _: _TRAILING.sub("", text)),
        ]

    def __call__(self, text: str, prompt: str, note: Note = lambda _: None) -> str:
        """The cleaned caption, "" if it is dropped. Every change is reported to ``note``.

        White space is always collapsed, which is not reported.

        >>> from capivara_cli.languages import get
        >>> Cleaner(get("en"))("a photo of of a man - stock image", "a photo of")
        'a photo of a man'
        """
        text = " ".join(text.split())
        if self.enabled:
            for rule, clean in self._rules:
                cleaned = clean(text, prompt)
                if cleaned != text:
                    note(f"captions cleaned: {rule}")
                text = cleaned
        if not text or folded(text) == folded(prompt):
            note("captions dropped: empty")
            return ""
        if self.enabled and is_repetitive(text):
            note("captions dropped: repetitive")
            return ""
        return text


def without_stock_tail(text: str) -> str:
    """Remove every "- stock image" or similar at the end. A third of BLIP-2's captions of CC3M have one."""
    while match := _STOCK.search(text, max(0, len(text) - _LONGEST_TAIL)):
        text = text[: match.start()]
    return text


def without_echo(text: str, prompt: str) -> str:
    """Remove a repeated prompt: a prefix that occurs twice, or a request in front of its answer.

    >>> without_echo("a photo of a photo of a cat", "a photo of")
    'a photo of a cat'
    """
    prompt = " ".join(prompt.split())
    if not prompt:
        return text
    while text.casefold().startswith(f"{prompt} {prompt} ".casefold()):
        text = text[len(prompt) + 1 :]
    if is_request(prompt) and text.casefold().startswith(prompt.casefold()):
        text = text[len(prompt) :].lstrip()
    return text


def is_repetitive(text: str) -> bool:
    """Whether fewer than two in five of 8 to 100 words in a row are distinct, or characters repeat five times in a row.

    >>> is_repetitive("a photo of a, a, a, a, a, a, a, a, a, a"), is_repetitive("a man and a woman and a dog")
    (True, False)
    """
    words = words_of(text.casefold())
    starts = range(0, len(words), _STRETCH)
    if any(_has_few_distinct(words[start : start + _STRETCH]) for start in starts):
        return True
    return any(any(char.isalpha() for char in match[1]) for match in _REPETITION.finditer(text))


def _has_few_distinct(words: list[str]) -> bool:
    return len(words) >= 8 and 5 * len(set(words)) < 2 * len(words)
