"""Captions in every form in which cells, JSON fields and structs have them."""

from __future__ import annotations

from typing import Any

import pytest

from capivara_cli.errors import BadSample
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings
from capivara_cli.stages.importers._captions import captions_of


def found(value: object, lang: str = "en") -> tuple[list[tuple[str, str]], dict[str, int]]:
    env = Env(Settings(), "pack")
    captions = captions_of(value, lang, env)
    return [(caption.lang, caption.text) for caption in captions], dict(env.tally.notes)


@pytest.mark.parametrize(
    ("value", "captions"),
    [
        ("red", [("en", "red")]),
        (["red", " blue "], [("en", "red"), ("en", "blue")]),
        (("red", "blue"), [("en", "red"), ("en", "blue")]),
        (b"caf\xc3\xa9", [("en", "café")]),
        ([[["red"]]], [("en", "red")]),
    ],
)
def test_texts_and_lists(value: object, captions: list[tuple[str, str]]) -> None:
    assert found(value) == (captions, {})


@pytest.mark.parametrize(
    "cell",
    [
        '["a cat, black", "it\'s red"]',
        "['a cat, black', \"it's red\"]",
        "['a cat, black' \"it's red\"]",  # numpy
        "['a cat, black'\n \"it's red\"]",
        '[{"caption": "a cat, black"}, {"raw": "it\'s red", "tokens": ["it"]}]',
    ],
)
def test_a_list_in_a_cell(cell: str) -> None:
    assert found(cell) == ([("en", "a cat, black"), ("en", "it's red")], {})


@pytest.mark.parametrize("text", ["Nan", "none of them", "a null set"])
def test_words_that_only_look_like_missing_values_are_captions(text: str) -> None:
    assert found(text) == ([("en", text)], {}), "'Nan' is bread, and a grandmother"


@pytest.mark.parametrize("text", ["[untitled]", "[1]", "[a, b]", "['a'", "[]", "{sic}", "('a', 'b')", "[laughs] 'ok'"])
def test_a_text_in_brackets_that_is_no_list_is_a_caption(text: str) -> None:
    assert found(text) == ([("en", text)], {})


@pytest.mark.parametrize(
    ("value", "captions"),
    [
        ([{"raw": "A.", "tokens": ["a"], "sentid": 3}], [("en", "A.")]),
        ([{"caption": "um", "lang": "pt-BR"}, {"text": "two"}], [("pt", "um"), ("en", "two")]),
        ({"raw": ["one", "two"], "tokens": [["one"], ["two"]]}, [("en", "one"), ("en", "two")]),
        ({"caption": ["one", "um"], "language": ["en", "Portuguese"]}, [("en", "one"), ("pt", "um")]),
        ({"en": "one", "pt": ["um", "dois"], "hi": None}, [("en", "one"), ("pt", "um"), ("pt", "dois")]),
        ({"pt": {"caption": ["um"], "caption/tokenized": ["u m"]}}, [("pt", "um")]),
        ([("en", "one"), ("pt", "um")], [("en", "one"), ("pt", "um")]),  # a map of parquet
        ('{"en": "one", "pt": "um"}', [("en", "one"), ("pt", "um")]),
    ],
)
def test_structs_and_texts_by_language(value: object, captions: list[tuple[str, str]]) -> None:
    assert found(value)[0] == captions


@pytest.mark.parametrize(
    ("value", "notes"),
    [
        (None, {"empty captions": 1}),
        ("  ", {"empty captions": 1}),
        (float("nan"), {"empty captions": 1}),
        ("nan", {"empty captions": 1}),
        (" None ", {"empty captions": 1}),
        (["NULL", "<NA>", "#N/A"], {"empty captions": 3}),
        ([None, "", {"raw": None}], {"empty captions": 3}),
        (5, {"captions that are not text": 1}),
        ({"id": 5, "url": "x"}, {"captions that are not text": 1}),
        ([[[[["deep"]]]]], {"captions that are not text": 1}),
    ],
)
def test_what_is_no_caption_is_counted(value: object, notes: dict[str, int]) -> None:
    assert found(value) == ([], notes)


def test_bad_values_cost_the_row() -> None:
    for value, reason in [
        ([{"text": "x", "lang": "klingonish"}], "unknown language 'klingonish'"),
        ({"text": ["x", "y"], "lang": ["en"]}, "of different lengths"),
        (b"caf\xe9", "captions are not UTF-8"),
    ]:
        with pytest.raises(BadSample, match=reason):
            found(value)


@pytest.mark.parametrize(
    ("text", "caption"),
    [
        ("&quot;Stop&quot; sign", '"Stop" sign'),
        ("it&#39;s a dog&#x27;s", "it's a dog's"),
        ("cats &amp; dogs", "cats & dogs"),
        ("&amp;quot;twice&amp;quot;", '"twice"'),
        ("caf&eacute;&nbsp;bar", "café bar"),
    ],
)
def test_html_entities_are_unescaped_and_counted(text: str, caption: str) -> None:
    assert found(text) == ([("en", caption)], {"captions with HTML entities, unescaped": 1})


@pytest.mark.parametrize(
    "text", ["AT&T", "a=1&copy=2", "R&D; and so on", "fish &chips", "&notit;", "non\xa0breaking & so"]
)
def test_an_ampersand_that_is_no_entity_stays(text: str) -> None:
    assert found(text) == ([("en", text)], {})


def test_a_caption_of_nothing_but_entities_is_empty() -> None:
    notes: dict[str, Any] = {"captions with HTML entities, unescaped": 1, "empty captions": 1}
    assert found("&nbsp;") == ([], notes)


@pytest.mark.parametrize(
    ("cell", "captions"),
    [
        ("[{'raw': 'a cat', 'sentid': 1}, {'raw': \"it's red\"}]", [("en", "a cat"), ("en", "it's red")]),
        ("{'en': 'red', 'pt': 'vermelho'}", [("en", "red"), ("pt", "vermelho")]),
        ("[{'caption': 'rojo', 'lang': 'es', 'score': None}]", [("es", "rojo")]),
        ("{smiling} faces [x]", [("en", "{smiling} faces [x]")]),
        ("['{red} dog', 'a cat']", [("en", "{red} dog"), ("en", "a cat")]),
        ("{a dog}", [("en", "{a dog}")]),
        ("[{1, 2}]", [("en", "[{1, 2}]")]),
    ],
)
def test_structs_in_a_cell_as_python_prints_them(cell: str, captions: list[tuple[str, str]]) -> None:
    assert found(cell) == (captions, {})
