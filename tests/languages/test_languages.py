"""The table of languages: codes, aliases, suggestions."""

from __future__ import annotations

import pytest

from capivara_cli import languages
from capivara_cli.errors import CapivaraError
from capivara_cli.languages._table import rows
from capivara_cli.languages.scripts import written_in


def test_the_table_is_complete() -> None:
    known = [languages.get(code) for code in languages.all_codes()]
    assert len(known) == 213
    assert sum(bool(each.flores) for each in known) == 204  # FLORES-200 has 204 columns
    assert len({each.flores for each in known if each.flores}) == 204
    assert all(len(each.script) == 4 and each.script.istitle() for each in known)
    assert all(len(code) == 3 for each in known for code in each.apertium)
    argos = [code for each in known for code in each.argos]
    assert len(argos) == len(set(argos)) == 51


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("pt", "pt"), ("por", "pt"), ("pt-BR", "pt"), ("pt_PT", "pt"), ("por_Latn", "pt"), ("Portuguese", "pt"),
        ("português", "pt"), ("pb", "pt"), ("jp", "ja"), ("HI", "hi"), ("hindi", "hi"), ("isiXhosa", "xh"),
        ("xho", "xh"), ("cat", "ca"), ("glg", "gl"), ("es-419", "es"), ("swh_Latn", "sw"), ("zh-TW", "zh-Hant"),
        ("zho_Hant", "zh-Hant"), ("zho", "zh"), ("zh-Hans-CN", "zh"), ("ger", "de"), ("iw", "he"), ("hbs", "hr"),
        ("ace_Arab", "ace-Arab"), ("ace", "ace"), ("no", "nb"), ("sr-Cyrl-RS", "sr"), (" en ", "en"),
    ],
)  # fmt: skip
def test_every_code_and_name_is_found(name: str, code: str) -> None:
    assert languages.get(name).code == code


FORMS = {
    "BCP-47 with region": {"pt-BR": "pt", "en-001": "en", "es-419": "es", "PT_br": "pt", "ko-Kore-KR": "ko"},
    "BCP-47 with variants and extensions": {
        "de-CH-1996": "de", "ca-valencia": "ca", "sl-rozaj-biske": "sl", "en-US-u-ca-gregory": "en", "pt-x-mine": "pt",
        "el-polyton": "el", "be-tarask": "be",
    },
    "extlangs and grandfathered tags": {
        "zh-yue": "yue", "zh-cmn-Hans-CN": "zh", "ar-arz": "arz", "ms-zsm": "ms", "no-nyn": "nn", "no-bok": "nb",
    },
    "regions that decide the script": {
        "zh-TW": "zh-Hant", "zh_HK": "zh-Hant", "zh-Hans-TW": "zh", "zh-Hant-TW": "zh-Hant", "sr-ME": "sr-Latn",
        "pa-PK": "pa-Arab", "fa-AF": "prs",
    },
    "POSIX locales": {
        "en_US.UTF-8": "en", "pt_BR.ISO-8859-1": "pt", "sr_RS@latin": "sr-Latn", "ca_ES.UTF-8@euro": "ca",
        "uz_UZ@cyrillic": "uz-Cyrl",
    },
    "ISO 639": {
        "fre": "fr", "fra": "fr", "ger": "de", "deu": "de", "cmn": "zh", "arb": "ar", "pes": "fa", "ekk": "et",
        "zsm": "ms", "fil": "tl", "ji": "yi", "sh": "hr", "baq": "eu",
    },
    "FLORES": {"por_Latn": "pt", "zho_Hant": "zh-Hant", "cmn_Hans": "zh", "srp_Latn": "sr-Latn", "arb_Latn": "ar-Latn"},
    "English names": {
        "Brazilian Portuguese": "pt", "Portuguese (Brazil)": "pt", "Chinese (Simplified)": "zh", "English (UK)": "en",
        "Chinese, Traditional": "zh-Hant", "Mandarin Chinese": "zh", "Chinese (Cantonese)": "yue", "Odia": "or",
        "Sotho, Northern": "nso", "Serbian (Latin)": "sr-Latn", "Nepali (macrolanguage)": "ne", "Dari": "prs",
        "Haitian Creole": "ht", "Arabic (Egyptian)": "arz", "Latin American Spanish": "es", "Norwegian (Nynorsk)": "nn",
    },
    "names of regions in use": {
        "Chinese (Hong Kong)": "zh-Hant", "Chinese (Traditional, Hong Kong)": "zh-Hant", "Chinese (Macau)": "zh-Hant",
        "Czech (Czech Republic)": "cs", "Turkish (Turkey)": "tr", "Portuguese (Macao)": "pt", "English (U.S.)": "en",
    },
    "lists of names of one language, as in ISO 639-2": {
        "Catalan; Valencian": "ca", "Spanish; Castilian": "es", "Dutch; Flemish": "nl", "Pushto; Pashto": "ps",
        "Romanian; Moldavian; Moldovan": "ro", "Sinhala; Sinhalese": "si", "Panjabi; Punjabi": "pa",
    },
    "other English names": {
        "Brazilian": "pt", "Slovene": "sl", "Bahasa Indonesia": "id", "Belorussian": "be", "Central Khmer": "km",
        "Myanmar": "my", "Euskera": "eu",
    },
    "own names": {
        "português": "pt", "PORTUGUES": "pt", "Português (Brasil)": "pt", "हिन्दी": "hi", "हिंदी": "hi", "日本語": "ja",
        "中文（繁體）": "zh-Hant", "简体中文": "zh", "Ελληνικά": "el", "ελληνικα": "el", "עברית": "he",
        "Tiếng Việt": "vi", "Español (México)": "es", "isiZulu": "zu", "Schweizer Hochdeutsch": "de", "தமிழ்": "ta",
        "română": "ro",
    },
    "not in the table": {
        "kgp": "kgp", "KGP-BR": "kgp", "Kaingang": "kgp", "gsw_Latn": "gsw", "Swiss German": "gsw",
        "hin_Latn": "hi-Latn", "xyz": "xyz",
    },
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_language_is_read_in_every_form(form: str) -> None:
    read = {name: languages.code_of(name) for name in FORMS[form]}
    assert read == FORMS[form]
    assert {languages.code_of(f" {name} ") for name in FORMS[form]} == set(FORMS[form].values())


@pytest.mark.parametrize(
    "name",
    ["", " ", "photo", "no-caption", "pt-photo", "pt-Brazil1", "pt-Zzzy", "pt-BR-PT", "x-toy", "C.UTF-8", "zz9",
     "pt,hi", "Portuguese; Hindi", ";", "Portuguese (Portuguesa)", "Portuguese Hindi", "the English",
     "pt br hi", "e", "1", "pt-", "a b"],
)  # fmt: skip
def test_what_names_no_language_is_not_read_as_one(name: str) -> None:
    assert languages.code_of(name) == name
    with pytest.raises(CapivaraError, match="there is no language"):
        languages.code_or_unlisted(name)


def test_a_text_in_the_place_of_a_language_is_returned_at_once() -> None:
    text = "a dog on a beach in Portugal " * 10_000
    assert languages.code_of(text) == text


def test_every_code_and_name_of_the_table_is_read() -> None:
    shared = {"hbs": "hr", "nor": "nb"}  # of several languages: Apertium's mode names need them
    for code in languages.all_codes():
        each = languages.get(code)
        names = [each.code, each.name, each.flores or code, *each.argos, *each.apertium, f"{code}-{each.script}"]
        assert {name: languages.code_of(name) for name in names} == {name: shared.get(name, code) for name in names}


def test_two_names_of_one_language_agree_in_every_table() -> None:
    """The tables are read in turn: a name in two of them must mean one language."""
    for alias, code in rows("aliases.tsv"):
        assert languages.code_of(alias) == languages.code_of(code), alias


def test_the_codes_of_other_programs() -> None:
    xhosa = languages.get("xh")
    assert (xhosa.name, xhosa.script, xhosa.flores, xhosa.argos, xhosa.apertium) == (
        "Xhosa", "Latn", "xho_Latn", (), ("xho",),
    )  # fmt: skip
    assert languages.get("pt").argos == ("pt", "pb")
    assert languages.get("br").flores == ""
    assert languages.get("sr").apertium == ("srp", "hbs")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("portugese", "there is no language 'portugese' — did you mean pt (Portuguese)?"),
        ("Hindii", "there is no language 'Hindii' — did you mean hi (Hindi)?"),
        ("Indian English", "there is no language 'Indian English' — did you mean en (English)?"),
        ("Brasilian Portuguese", "there is no language 'Brasilian Portuguese' — did you mean pt (Portuguese)?"),
        ("xx", "there is no language 'xx'"),
        ("", "there is no language ''"),
    ],
)
def test_an_unknown_language_gives_a_suggestion(name: str, message: str) -> None:
    with pytest.raises(CapivaraError) as caught:
        languages.get(name)
    assert caught.value.message == message
    assert caught.value.hint == "`capivara list languages` shows all 213 codes and names"


def test_a_script_is_not_ignored() -> None:
    with pytest.raises(CapivaraError, match=r"there is no language 'sr-Latn' — sr \(Serbian\) is written in Cyrl"):
        languages.get("sr-Latn")
    assert languages.get("hi-Deva").code == "hi"


def test_written_in() -> None:
    hindi, portuguese, japanese = (languages.get(code) for code in ("hi", "pt", "ja"))
    assert written_in("एक बिल्ली", hindi.script)
    assert not written_in("a cat", hindi.script)
    assert not written_in("эта кошка", portuguese.script)
    assert written_in("猫がいる", japanese.script)
    assert written_in("2 × 4 …", hindi.script)


def test_code_of_returns_unknown_languages_unchanged() -> None:
    assert [languages.code_of(lang) for lang in ("por", "pt-BR", "und", "x-toy")] == ["pt", "pt", "und", "x-toy"]
