"""What generated captions are cleaned of: each rule has a name, is counted under it, and can be read in one table."""

from __future__ import annotations

import re
from collections.abc import Callable

from capivara_cli.languages import Language
from capivara_cli.languages.prompts import is_request

Note = Callable[[str], None]

_STOCK = re.compile(
    r"[\s,]*[-–—|]\s*(?:royalty[- ]free\s+)?stock\s+(?:images?|photos?|photography|pictures?|vectors?|footage|videos?|"
    r"illustrations?)\b[^-–—|]*$",
    re.IGNORECASE,
)
# "of of", "a a": small words that English does not double; "very very" and "bye bye" are left alone.
_STUTTER = re.compile(r"\b(a|an|the|of|in|on|at|with|and|is|are|to|for|by|from)(?:\s+\1\b)+", re.IGNORECASE)
# "portrait of a the man" -> keep the article that was generated
_TWO_ARTICLES = re.compile(r"\b(?:a|an|the)\s+(a|an|the)\b(?=\s)", re.IGNORECASE)
_TRAILING = re.compile(r"[\s,;:\-–—|]+$")
# The same few characters five times on end, in any script: "a, a, a, a, a", "狗狗狗狗狗".
_CIRCLE = re.compile(r"(\S.{0,30}?)\1{4,}")


class Cleaner:
    """Mends a generated caption or leaves it out. Rules about English words are for English only."""

    def __init__(self, language: Language, enabled: bool = True) -> None:
        english = language.code == "en"
        self.enabled = enabled
        self.mending: list[tuple[str, Callable[[str, str], str]]] = [
            ("echo of the prompt", without_echo),
            ("stock-photo tail", lambda text, _: without_stock(text)),
            *([("doubled word", lambda text, _: _STUTTER.sub(r"\1", text))] if english else []),
            *([("two articles", lambda text, _: _TWO_ARTICLES.sub(r"\1", text))] if english else []),
            ("dangling punctuation", lambda text, _: _TRAILING.sub("", text)),
        ]

    def __call__(self, text: str, prompt: str, note: Note = lambda _: None) -> str:
        """The cleaned caption, "" when it is left out. White space is collapsed always, and not counted.

        >>> from capivara_cli.languages import get
        >>> Cleaner(get("en"))("a photo of of a man - stock image", "a photo of")
        'a photo of a man'
        """
        text = " ".join(text.split())
        if self.enabled:
            for rule, mend in self.mending:
                mended = mend(text, prompt)
                if mended != text:
                    note(f"captions cleaned: {rule}")
                text = mended
        if not text or text.casefold() == prompt.casefold():
            note("captions dropped: empty")
            return ""
        if self.enabled and goes_in_circles(text):
            note("captions dropped: repetitive")
            return ""
        return text


def without_stock(text: str) -> str:
    """Without "- stock image" and its kin at the end, however many: a third of BLIP-2's captions of CC3M have one."""
    while _STOCK.search(text):
        text = _STOCK.sub("", text)
    return text


def without_echo(text: str, prompt: str) -> str:
    """Without the prompt said again: a prefix twice, or a request in front of the answer.

    >>> without_echo("a photo of a photo of a cat", "a photo of")
    'a photo of a cat'
    """
    prompt = " ".join(prompt.split())
    if not prompt:
        return text
    begins = text.casefold().startswith
    while begins(f"{prompt} {prompt} ".casefold()):
        text = text[len(prompt) + 1 :]
        begins = text.casefold().startswith
    if is_request(prompt) and begins(prompt.casefold()):
        text = text[len(prompt) :].lstrip()
    return text


def goes_in_circles(text: str) -> bool:
    """At least eight words of which fewer than two in five differ, or the same characters five times on end.

    >>> goes_in_circles("a photo of a, a, a, a, a, a, a, a, a, a"), goes_in_circles("a man and a woman and a dog")
    (True, False)
    """
    words = re.findall(r"\w+", text.casefold())
    if len(words) >= 8 and 5 * len(set(words)) < 2 * len(words):
        return True
    return any(any(char.isalpha() for char in match[1]) for match in _CIRCLE.finditer(text))
