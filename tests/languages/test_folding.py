import unicodedata

import pytest

from capivara_cli.languages.folding import folded


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("A Dog  on\ta beach ", "a dog on a beach"),
        ("Straße", "STRASSE"),
        ("um avião", unicodedata.normalize("NFD", "um avião")),
        ("Đường phố Hà Nội", unicodedata.normalize("NFD", "đường phố hà nội")),
        ("ΆΝΘΡΩΠΟΣ", unicodedata.normalize("NFD", "άνθρωποσ")),
        ("한국어", unicodedata.normalize("NFD", "한국어")),
        ("\u0958\u0932\u092e", "\u0915\u093c\u0932\u092e"),  # qalam with a composed and a decomposed nukta
        ("\u0929", "\u0928\u093c"),
        ("\u09dc", "\u09a1\u09bc"),  # Bengali rra
        ("a zero\u200bwidth space", "a zerowidth space"),
        ("สุนัข\u200bสีแดง", "สุนัขสีแดง"),
        ("foot\u00adball", "football"),
        ("\ufeffa dog\u200e", "a dog"),
        ("a heart ❤\ufe0f", "a heart ❤"),
        ("a da\u200cng\u200dling joiner", "a dangling joiner"),
        ("क्\u200c है", "क् है"),  # at the end of a word
        ("\u0d05\u0d35\u0d28\u0d4d\u200d", "\u0d05\u0d35\u0d7b"),  # Malayalam chillu of old and new
        ("\u09b8\u09ce", "\u09b8\u09a4\u09cd\u200d"),  # Bengali khanda ta
        ("no\u00a0break", "no break"),
    ],
)
def test_differences_without_a_meaning_are_folded(one, other):
    assert one != other
    assert folded(one) == folded(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a dog", "a cat"),
        ("pe", "pé"),
        ("نامه‌ای", "نامهای"),  # ZWNJ: a letter / names of
        ("می‌روم", "میروم"),
        ("क्‍ष", "क्ष"),  # ZWJ: half letter and conjunct
        ("क्‌ष", "क्ष"),
        ("ශ්‍රී", "ශ්රී"),
        ("র‍্যাম", "র্যাম"),
        ("👩‍🍳", "👩🍳"),  # a cook / a woman and a pan
        ("कल", "क़ल"),
    ],
)
def test_differences_with_a_meaning_stay(one, other):
    assert folded(one) != folded(other)


@pytest.mark.parametrize("text", ["İstanbul'da", "ﬃ ǰ ΐ", "a\u0323\u0307", "", " \u200b ", "\ud800 dog"])
def test_folding_a_folded_text_changes_nothing(text):
    assert folded(folded(text)) == folded(text)
