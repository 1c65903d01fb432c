"""filter --rules junk: phrases of web pages are junk where they stand alone, and ordinary words inside a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from capivara_cli.stages.filtering.text_rules import TextRules

JUNK = TextRules(("junk",))

# kind, language, caption: parts of web pages, and ordinary sentences with the same words
_CASES = [line.split("\t") for line in (Path(__file__).parent / "junk_cases.tsv").read_text("utf-8").splitlines()]
_LANGUAGES = sorted({lang for _, lang, _ in _CASES})
_WHO = (
    "A brown dog",
    "Two frogs",
    "Three children in raincoats",
    "A man with a beard",
    "The old woman",
    "A small bird",
    "People in a crowd",
)
_DOES = (
    "jumps over a log in the woods",
    "sit on a log in a pond",
    "see more balloons in the sky",
    "climb up to see more.",
    "walks past a lit sign up on the wall",
    "looks at a sign up high",
    "fill in forms to sign up for a race",
    "sign up at a table",
    "open a laptop to log in",
    "carry a log in their arms",
    "want to read more books",
    "gather around a campfire, a log in the middle",
    "hear the click on the radio",
    "click on their phones",
    "buy now ripe fruit",
    "look at stock photos on a laptop",
    "see a truck with amazon.com on the side",
    "stand under an avrovulcan.com sign",
    "pick apples to add to cart and basket",
    "show more skill than the others",
    "view all the boats in the harbour",
    "subscribe slips in hand, wait in line",
    "follow us through the forest",
    "play now and then in the park",
    "hold a book about copyright law",
    "read a privacy policy on a screen",
    "leave a comment in the guest book",
    "share this bench",
    "accept cookies from a girl",
    "use cookies to build a house",
    "learn more about trees at a museum",
    "dressed as an AI robot",
    "may contain joy",
    "see no photo missing from the wall",
    "look at the photo missing from the frame",
)


@pytest.mark.parametrize("lang", _LANGUAGES)
def test_parts_of_web_pages_are_junk(lang: str) -> None:
    assert [
        text for kind, code, text in _CASES if (kind, code) == ("junk", lang) and not JUNK.objection(text, lang)
    ] == []


@pytest.mark.parametrize("lang", _LANGUAGES)
def test_ordinary_sentences_with_the_same_words_are_not_junk(lang: str) -> None:
    found = {text: JUNK.objection(text, lang) for kind, code, text in _CASES if (kind, code) == ("ordinary", lang)}
    assert {text: why for text, why in found.items() if why} == {}


@pytest.mark.parametrize("who", _WHO)
def test_ordinary_english_is_not_junk(who: str) -> None:
    """A brown dog jumps over a log in the woods."""
    found = {text: JUNK.objection(text, "en") for text in (f"{who} {what}" for what in _DOES)}
    assert {text: why for text, why in found.items() if why} == {}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("$19.99", "price"),
        ("2019-03-12 14:33", "date"),
        ("3 de março de 2019", "date"),
        ("We use cookies", "web page"),
        ("mountain lake stock photos", "stock photo"),
        ("visit mysite.co.uk", "url"),
    ],
)
def test_the_kind_of_junk(text: str, kind: str) -> None:
    assert JUNK.objection(text, "en") == f"that are junk: {kind}"
