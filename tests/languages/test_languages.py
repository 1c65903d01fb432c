"""The table of languages: codes, aliases, suggestions."""

from __future__ import annotations

import pytest

from capivara_cli import languages
from capivara_cli.errors import CapivaraError
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
    with pytest.raises(CapivaraError):
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
