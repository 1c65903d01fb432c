"""The tables of the checks: complete, consistent, and about languages that exist."""

from __future__ import annotations

import pytest

from capivara_cli import languages
from capivara_cli.languages.checks import tables


def codes(file: str) -> list[str]:
    return [code for row in tables._rows(file) for code in row[0].split()]


@pytest.mark.parametrize("file", ["words.tsv", "lengths.tsv", "close.tsv"])
def test_every_language_is_known_by_this_code(file: str) -> None:
    assert codes(file)
    assert [code for code in codes(file) if not languages.knows(code)] == []


@pytest.mark.parametrize("file", ["words.tsv", "lengths.tsv"])
def test_every_language_comes_once(file: str) -> None:
    assert len(codes(file)) == len(set(codes(file)))


def test_words_are_in_lower_case_and_every_language_has_all_kinds_but_captions() -> None:
    for code in codes("words.tsv"):
        words = tables.words(code)
        assert words.unfinished and words.negations and words.absences
        every = words.frequent | words.scenes | words.absences
        assert {word for word in every if word != word.lower()} == set()
        assert words.unfinished <= words.frequent and words.negations <= words.frequent


def test_words_of_both_languages_belong_to_neither() -> None:
    assert "the" in tables.only_in("en", "pt") and "não" in tables.only_in("pt", "gl")
    assert not {"a", "as", "do", "no"} & tables.only_in("en", "pt")
    assert tables.only_in("hr", "bs") <= {"njezin", "tijekom", "pokraj"}
    assert tables.only_in("id", "an") == tables.only_in("id", "xh")  # the words of both targets are not known
    assert min(map(len, tables.only_in("en", "xh"))) == 3


def test_lengths_hold_in_both_directions() -> None:
    there, back = tables.expansion("en", "pt"), tables.expansion("pt", "en")
    assert there and back and 0 < there.log_ratio == pytest.approx(-back.log_ratio)
    assert tables.expansion("en", "mai") is None
    assert tables.expansion("xh", "en").tolerance == 0.15  # type: ignore[union-attr]
