"""filter: the rules for texts and images, each with its reason, and the histogram of scores."""

from __future__ import annotations

import math

import pytest
from PIL import Image

from capivara_cli.errors import UsageError
from capivara_cli.pipeline.options import check_options
from capivara_cli.stages.filter import Options
from capivara_cli.stages.filtering.histogram import bin_of, sparkline, take
from capivara_cli.stages.filtering.image_rules import ImageRules, entropy
from capivara_cli.stages.filtering.text_rules import BOILERPLATE, NAMES, TextRules, boilerplate_key, columns, words

ALL = TextRules(NAMES)


def test_rules_are_named() -> None:
    assert NAMES == ("length", "script", "junk", "language", BOILERPLATE)
    assert Options(rules="all").text_rules.names == NAMES
    assert Options(rules="").text_rules.names == ()
    both = Options(rules=" junk, length").text_rules  # applied in the order of NAMES
    assert both.objection("IMG_2034", "pt") == "shorter than 2 words"
    with pytest.raises(UsageError, match=r"--rules: there is no rule 'lenght'; there are .* did you mean length"):
        check_options(Options(rules="lenght"))


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("a red dog, 2 cats", 5), ("— !", 0), ("", 0), ("isn't it", 2), ("一只红色的狗在草地上", 7),
        ("犬が走っている", 4),
        ("สุนัขสีแดงบนสนามหญ้า", 4), ("एक लाल झंडा लिए हुए लोगों की भीड़", 8), ("བོད་སྐད་ཡིན།", 3), ("붉은 개 한 마리", 4),
        ("一只 dog", 3), ("ກາ", 1), ("ஒரு பெண் சைக்கிள் ஓட்டுகிறாள்", 4), ("コンピュータ", 2), ("a T-shirt", 3),
    ],
)  # fmt: skip
def test_words_are_counted_in_any_script(text: str, count: int) -> None:
    assert words(text) == count


def test_wide_characters_are_two() -> None:
    assert [columns(text) for text in ("a dog ", "红狗", "ab红", "")] == [5, 4, 4, 0]


def test_length() -> None:
    rules = TextRules(("length",), min_words=2, max_words=4, min_chars=6, max_chars=20)
    assert rules.objection("dog", "en") == "shorter than 2 words"
    assert rules.objection("a cat", "en") == "shorter than 6 characters"
    assert rules.objection("a cats", "en") == ""
    assert rules.objection("a b c d e", "en") == "longer than 4 words"
    assert rules.objection("extraordinary situations", "en") == "longer than 20 characters"
    unbounded = TextRules(("length",), 0, 0, 0, 0)
    assert unbounded.objection("", "en") == unbounded.objection("a " * 5000, "en") == ""


@pytest.mark.parametrize(
    ("text", "lang", "why"),
    [
        ("um homem surfando uma onda na praia", "pt", ""),
        ("a man surfing a wave at the beach", "hi", "in another script"),
        ("a man surfing a wave at the beach", "pt", "in another language"),
        ("a man surfing a wave at the beach", "und", ""),
        ("a man surfing a wave at the beach", "tlh-x-unknown", ""),
        ("um homem em um banco - Imagem em Alta Resolução", "pt", "that are junk: stock photo"),
        ("a man on a bench - stock image", "pt", "that are junk: stock photo"),
        ("एक आदमी बेंच पर - स्टॉक फ़ोटो", "hi", "that are junk: stock photo"),
        ("não foi possível traduzir este texto", "pt", "that are junk: failed translation"),
        ("um cão <unk> na praia", "pt", "that are junk: failed translation"),
        ("praia bonita em dsc_2034.JPG de verão", "pt", "that are junk: file name"),
        ("IMG 20340112 beach", "en", "that are junk: file name"),
        ("see more at www.example.org/beach", "en", "that are junk: url"),
        ("uma praia linda #verão #sol", "pt", "that are junk: hashtag"),
        ("the #1 fan of the team", "en", ""),
        ("write to someone@example.net today", "en", "that are junk: e-mail or handle"),
        ("photo by @beachlover in summer", "en", "that are junk: e-mail or handle"),
        ("a dog &amp; a cat on a sofa", "en", "that are junk: markup"),
        ("<b>a dog</b> on a sofa", "en", "that are junk: markup"),
        ("image may contain two people outdoors", "en", "that are junk: no description"),
        ("click here for the whole gallery", "en", "that are junk: web page"),
        ("I'm sorry, but I cannot see the image", "en", "that are junk: refusal"),
        ("a dog a dog a dog a dog a dog a dog", "en", "that are junk: repetitive"),
    ],
)
def test_what_is_wrong_with_a_caption(text: str, lang: str, why: str) -> None:
    assert ALL.objection(text, lang) == why


def test_a_rule_that_is_off_says_nothing() -> None:
    assert TextRules().objection("<b>dog</b> www.example.org", "hi") == ""
    assert TextRules(("junk",)).objection("dog", "hi") == ""


@pytest.mark.parametrize("unit", ["a-", "a", "<a ", "@", "a.", "#", "a ", "&#", "www", "红", "ก"])
def test_every_rule_ends_on_hostile_captions(unit: str) -> None:
    """Each rule alone: with several, the first that objects spares the text the others. A quadratic pattern hangs."""
    length, script, junk = (TextRules((name,)).objection(unit * 100_000, "en") for name in ("length", "script", "junk"))
    assert length == ("longer than 80 words" if unit in ("<a ", "a ", "a-", "红", "ก") else "shorter than 2 words")
    assert script == ("in another script" if unit in ("红", "ก") else "")
    assert junk == ("" if unit in ("@", "#", "&#") else "that are junk: repetitive")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("um avião", "um avia\u0303o"),
        ("\u0958\u0932\u092e", "\u0915\u093c\u0932\u092e"),
        ("foot\u00adball", "Football"),
    ],
)
def test_boilerplate_of_equal_looks_is_one_text(one: str, other: str) -> None:
    assert boilerplate_key(one) == boilerplate_key(other)


def test_boilerplate_is_told_but_for_case_and_white_space() -> None:
    assert boilerplate_key("A  dog\n") == boilerplate_key("a dog") != boilerplate_key("a dog.")
    assert boilerplate_key("\ud800 lone surrogate") < 2**64


def test_size_and_aspect() -> None:
    rules = ImageRules(min_side=100, max_aspect=3)
    assert rules.size_objection(100, 300) == rules.size_objection(300, 100) == ""
    assert rules.size_objection(99, 300) == "image side below 100 pixels"
    assert rules.size_objection(301, 100) == "image more than 3 times as long as wide"
    assert (ImageRules().needs_size, rules.needs_size, ImageRules(min_entropy=1).needs_size) == (False, True, False)
    assert ImageRules().size_objection(1, 1000) == ""


def test_entropy_in_bits() -> None:
    flat = Image.new("RGB", (8, 8), (10, 200, 30))
    halves = Image.new("L", (8, 8), 0)
    halves.paste(255, (0, 0, 4, 8))
    ramp = Image.frombytes("L", (16, 16), bytes(range(256)))
    assert [entropy(flat), entropy(halves), entropy(ramp)] == [0.0, 1.0, 8.0]
    quarter = Image.new("L", (8, 8), 0)
    quarter.paste(255, (0, 0, 4, 4))
    assert entropy(quarter) == pytest.approx(-(0.25 * math.log2(0.25) + 0.75 * math.log2(0.75)))
    assert ImageRules(min_entropy=1.0).pixel_objection(halves) == ""
    assert ImageRules(min_entropy=1.5).pixel_objection(halves) == "image entropy below 1.5 bits"


def test_scores_are_counted_in_bins_of_two_hundredths() -> None:
    assert [bin_of(score) for score in (0.0, 0.0199, 0.02, -0.0001, 0.1599, 1.0)] == [
        f"score from {low}" for low in ("0.00", "0.00", "0.02", "-0.02", "0.14", "1.00")
    ]


def test_the_histogram_leaves_the_notes() -> None:
    notes = {"score from 0.10": 3, "captions below 0.15": 2, "score from -0.02": 1}
    summary = {"notes": notes, "steps": [{"step": "filter", "notes": dict(notes)}]}
    expected = {"-0.02": 1, "0.10": 3}
    assert take(summary) == expected
    assert list(summary["histogram"]) == ["-0.02", "0.10"]  # type: ignore[call-overload]
    assert summary == {
        "notes": {"captions below 0.15": 2},
        "histogram": expected,
        "steps": [{"step": "filter", "notes": {"captions below 0.15": 2}, "histogram": expected}],
    }
    two = {"notes": {"score from 0.10": 5}, "steps": [{"notes": {"score from 0.10": n}} for n in (3, 2)]}
    assert take(two) == {"0.10": 2}  # what the last one scored
    assert take({"notes": {"x": 1}}) == {}


def test_the_histogram_on_one_line() -> None:
    assert sparkline({"0.10": 1, "0.12": 8, "0.16": 4}) == "scores 0.10 ▁█ ▄ 0.18"
    assert sparkline({"-0.02": 5}) == "scores -0.02 █ 0.00"
