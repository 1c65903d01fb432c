"""Sentences are split where they end, in 22 languages; an abbreviation is no end."""

from __future__ import annotations

from pathlib import Path

import pytest

from capivara_cli.stages.translators._sentences import split

# language, and a text with "|" between its sentences
_CASES = [line.split("\t") for line in (Path(__file__).parent / "sentences.tsv").read_text("utf-8").splitlines()]


@pytest.mark.parametrize("code", sorted({code for code, _ in _CASES}))
def test_sentences_of_a_language(code: str) -> None:
    space = "" if code in ("ja", "zh") else " "
    wanted = [text.split("|") for lang, text in _CASES if lang == code]
    assert [split(space.join(sentences), code) for sentences in wanted] == wanted


@pytest.mark.parametrize(
    ("text", "code", "sentences"),
    [
        ("Gov. Lima and Lt. Col. Reis wave.", "en", 1),
        ("Sgt. Dias of Smith Inc. Security on Fifth Ave. Manhattan.", "en", 1),
        ("A Profa. Ana lê.", "pt", 1),
        ("Dom przy ul. Długiej.", "pl", 1),
        ("Толпа в 5 тыс. Человек.", "ru", 1),
        ("Vol. II and Ch. IV of a book by Yale Univ. Press feat. Lima.", "en", 1),
        ("Ocean Pkwy. North at the Salk Inst. California.", "en", 1),
        ("Das Haus Nr. Fünf.", "de", 1),
        ("1. A dog on a beach.", "en", 1),  # the number of a list
        ("2. Um cão na praia.", "pt", 1),
        ("3. कुत्ता दौड़ता है।", "hi", 1),
        ("A dog. 2. A cat.", "en", 2),
        ("He works at Smith Inc. His dog waits.", "en", 2),
        ("At 5 p.m. The sun sets.", "en", 2),
        ("Это 5 тыс. человек. Они идут.", "ru", 2),
        ("Dice que no. El perro ladra.", "es", 2),
        ("Gov. Lima waves.", "xh", 2),  # not an abbreviation that the table has for Xhosa
        ('a sign reading " anyone for tennis ? "', "en", 1),
    ],
)
def test_an_abbreviation_is_no_end_of_a_sentence(text: str, code: str, sentences: int) -> None:
    found = split(text, code)
    assert len(found) == sentences
    assert " ".join(found) == text


def test_translators_split_by_the_source_language() -> None:
    from capivara_cli.stages.translators._package import _pieces

    class Words:
        def encode(self, text: str) -> list[str]:
            return text.split()

    assert _pieces(Words(), "A Profa. Ana lê.", "pt") == [["A", "Profa.", "Ana", "lê."]]


@pytest.mark.parametrize("unit", ["A. ", "z. B. ", "a.", "Dr. ", '" ', "! "])
def test_splitting_ends_on_hostile_captions(unit: str) -> None:
    """A way that is quadratic takes minutes. None of these has a sentence that ends."""
    text = unit * 4_000
    assert [each.strip() for each in split(text, "de")] == [text.strip()]
