"""Where a rule about texts begins to hold: exactly at its limit, and one step beside it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from capivara_cli.languages import identify
from capivara_cli.languages.caption_cleaning import is_repetitive
from capivara_cli.languages.checks import tables
from capivara_cli.languages.checks.pair import Pair
from capivara_cli.languages.scripts import mostly_written_in, written_in
from capivara_cli.languages.translation_checks import objection


@pytest.fixture(autouse=True)
def not_remembered() -> Iterator[None]:
    objection.cache_clear()
    yield
    objection.cache_clear()


def fails(check: str, text: str, translation: str, source: str = "en", target: str = "pt") -> bool:
    return objection(text, translation, source, target, (check,)) is not None


def made_up(count: int, letter: str) -> list[str]:
    """Words of no language: "zab zac zad"."""
    return [f"{letter}{chr(97 + number // 20)}{chr(98 + number % 20)}q" for number in range(count)]


def test_half_of_the_letters() -> None:
    assert mostly_written_in("ab 猫犬", "Latn")
    assert not mostly_written_in("ab 猫犬鳥", "Latn")
    assert mostly_written_in("ab 猫犬", "Hans")


@pytest.mark.parametrize(
    ("text", "script"), [("ＡＤＯＧ", "Latn"), ("ａ ｄｏｇ", "Latn"), ("ﾈｺ", "Jpan"), ("ﾡﾢ", "Hang")]
)
def test_full_width_and_half_width_letters_belong_to_their_script(text: str, script: str) -> None:
    assert written_in(text, script) and mostly_written_in(text, script)
    assert not written_in(text, "Cyrl")


def test_two_in_five_words_are_distinct() -> None:
    assert not is_repetitive("dog cat red sun dog cat red sun dog cat")
    assert is_repetitive("dog cat red sun dog cat red sun dog cat red")
    assert is_repetitive("dog cat red dog cat red dog cat"), "eight words"
    assert not is_repetitive("dog cat dog cat dog cat dog"), "seven words"


def test_every_hundred_words_are_counted_apart() -> None:
    first, again = " ".join(made_up(100, "z")), made_up(30, "y")
    assert is_repetitive(f"{first} {' '.join((again * 4)[:100])}")
    assert not is_repetitive(first)


@pytest.mark.parametrize(
    ("text", "translation", "is_long"), [(19, 59, False), (19, 60, True), (21, 63, False), (21, 64, True)]
)
def test_far_longer_is_more_than_three_times_and_forty_characters(text: int, translation: int, is_long: bool) -> None:
    assert fails("long", "x" * text, "y" * translation) is is_long


def test_texts_of_25_characters_are_compared_by_length() -> None:
    text = "a small dog on the beaches"[:25]
    assert len(text) == 25
    assert fails("cut", text, "cão")
    assert not fails("cut", text[:24], "cão")


def test_three_words_can_be_unfinished() -> None:
    word = sorted(tables.words("pt").unfinished)[0]
    assert fails("cut", "black dog", f"cão preto {word}")
    assert not fails("cut", "black dog", f"cão {word}")


SQUARE_FREE = "zab zac zad zab zad zac zab zac zad zac"
"""Ten words, three of them different, in which nothing comes twice in a row."""


def test_ten_words_of_which_a_third_is_distinct() -> None:
    text = " ".join(made_up(12, "t"))
    assert fails("repetition", text, SQUARE_FREE)
    four = "zab zac zad zae zac zab zad zac zae zab zae zad"
    assert (len(four.split()), len(set(four.split()))) == (12, 4)
    assert not fails("repetition", text, four), "exactly one in three"


def test_two_words_that_come_again() -> None:
    assert fails("repetition", "the blue cat here", "gato azul azul azul")
    assert not fails("repetition", "the blue cat here", "gato gato azul azul azulejo"), "no phrase comes again"


def test_three_quarters_of_half_of_eight_words() -> None:
    text = " ".join(made_up(8, "t"))
    assert fails("repetition", text, "zab zac zad zae zaf zad zac zab")
    assert not fails("repetition", text, "zab zac zad zae zaf zag zac zab")
    assert not fails("repetition", text, "zab zac zad zaf zad zac zab"), "seven words"


def copied(run: int, words: int) -> tuple[str, str]:
    """A text and a translation of so many words, of which a run is the same."""
    same = made_up(run, "z")
    return " ".join([*same, *made_up(words - run, "x")]), " ".join([*same, *made_up(words - run, "y")])


@pytest.mark.parametrize(
    ("run", "words", "is_left"), [(6, 10, True), (6, 11, False), (5, 8, True), (4, 6, False), (5, 9, False)]
)
def test_three_in_five_words_of_a_related_language(run: int, words: int, is_left: bool) -> None:
    assert not tables.are_close("es", "pt") and tables.shared("es", "pt") >= 0.15
    assert fails("untranslated", *copied(run, words), "es", "pt") is is_left


@pytest.mark.parametrize(
    ("run", "words", "is_left"), [(4, 10, True), (4, 11, False), (3, 7, True), (2, 4, False), (3, 8, False)]
)
def test_two_in_five_words_that_are_rather_of_the_source(
    run: int, words: int, is_left: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pair, "is_rather_source", lambda self, words: True)
    assert fails("untranslated", *copied(run, words), "es", "pt") is is_left


def test_three_copied_words_of_an_unrelated_language() -> None:
    assert tables.shared("en", "xh") < 0.15
    frequent = next(
        word
        for word in sorted(tables.words("en").frequent)
        if word not in tables.only_in("en", "xh") and word.isalpha()
    )
    three, two = f"zabq {frequent} zacq", f"zabq {frequent}"
    assert fails("untranslated", f"{three} xabq xacq", f"{three} yabq yacq", "en", "xh")
    assert not fails("untranslated", f"{two} xabq xacq", f"{two} yabq yacq", "en", "xh")


def test_two_words_may_stay_as_they_are() -> None:
    assert not fails("copy", "brown bread", "brown bread")
    assert fails("copy", "warm brown bread", "warm brown bread")


def test_five_words_of_a_related_language_are_not_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Pair, "is_rather_source", lambda self, words: True)
    monkeypatch.setattr(identify, "likeliest", lambda text: ("pt", 1.0))
    five, six = " ".join(made_up(5, "y")), " ".join(made_up(6, "y"))
    assert not fails("language", "uno", five, "es", "pt")
    assert fails("language", "uno", six, "es", "pt")


def test_five_words_of_a_close_language_are_not_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identify, "likeliest", lambda text: ("gl", 0.95))
    monkeypatch.setattr(identify, "probabilities", lambda text: {})
    five, six = " ".join(made_up(5, "y")), " ".join(made_up(6, "y"))
    assert not fails("language", "one", five, "en", "pt")
    assert fails("language", "one", six, "en", "pt")


def test_two_digits_may_be_written_as_words() -> None:
    assert not fails("wordless", "12", "doze")
    assert fails("wordless", "123", "cento e vinte e três")


def test_checks_read_three_hundred_words() -> None:
    words = made_up(310, "z")
    text = " ".join(made_up(320, "t"))
    assert fails("repetition", text, " ".join([*words[:296], "yabq", "yabq", "yabq"]))
    assert not fails("repetition", text, " ".join([*words[:300], "yabq", "yabq", "yabq"]))
