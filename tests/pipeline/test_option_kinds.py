"""Options that hold a list: parsed and refused in one place, with the same rules for every command."""

from __future__ import annotations

from dataclasses import dataclass, fields

import pytest

from capivara_cli import languages
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.pipeline.option_kinds import Languages, Names
from capivara_cli.pipeline.options import check_options, opt, parsed
from capivara_cli.registry import command_names, load_command


@dataclass(frozen=True)
class Options:
    lang: str = opt("", "languages", kind=Languages("all"))
    into: str = opt("pt", "languages", kind=Languages())
    from_: str = opt("en", "a language", kind=Languages("auto", one=True))
    teach: str = opt("", "languages", kind=Languages(unlisted=True))
    rules: str = opt("", "names", kind=Names(("length", "junk"), "rule", all=True, none=True))
    table: str = opt("", "files", kind=Names())


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("lang", "", ()),
        ("lang", "all", ()),
        ("lang", "por, Portuguese,pt-BR ,hi", ("pt", "hi")),
        ("into", "xho,es", ("xh", "es")),
        ("from_", "auto", ()),
        ("from_", " English ", ("en",)),
        ("teach", "Hindi,kgp,hin", ("hi", "kgp")),
        ("rules", "", ()),
        ("rules", "none", ()),
        ("rules", "all", ("length", "junk")),
        ("rules", "junk, length,junk", ("junk", "length")),
        ("table", "a.csv, b.md", ("a.csv", "b.md")),
    ],
)
def test_a_list_is_parsed(name: str, text: str, found: tuple[str, ...]) -> None:
    options = Options(**{name: text})
    check_options(options)
    assert parsed(options, name) == found
    assert getattr(options, name) == text  # histories record it as typed


@pytest.mark.parametrize(
    ("name", "text", "message", "hint"),
    [
        ("lang", "pt,,hi", "--lang: a language is empty", "give one such as pt, or all"),
        ("lang", " ", "--lang: a language is empty", "give one such as pt, or all"),
        ("into", "", "--into: a language is empty", "give one such as pt"),
        ("into", "all", "--into: there is no language 'all'", ""),
        ("from_", "en,pt", "--from: 'en,pt': one language only", "run the command once for each"),
        ("from_", "en pt", "--from: 'en pt': one language only", "run the command once for each"),
        ("from_", "en xq", "--from: there is no language 'en xq'", ""),
        ("lang", "pt hi", "--lang: 'pt hi': a list has commas between its items", "write it so: pt,hi"),
        ("lang", "Portuguese; por/hi", "--lang: 'Portuguese; por/hi': a list has commas", "write it so: pt,pt,hi"),
        ("lang", "pt xq", "--lang: there is no language 'pt xq'", ""),
        ("rules", "junk length", "--rules: 'junk length': a list has commas", "write it so: junk,length"),
        ("from_", "portugese", "--from: there is no language 'portugese' — did you mean pt (Portuguese)?", ""),
        ("teach", "Klingon!", "--teach: there is no language 'Klingon!'", ""),
        ("rules", "lenght", "--rules: there is no rule 'lenght'; there are junk, length — did you mean length?",
         "or all or none"),
        ("rules", "junk,", "--rules: a name is empty", "there are length, junk"),
        ("table", "a.csv,,b.md", "--table: a name is empty", ""),
    ],
)  # fmt: skip
def test_a_wrong_list_is_refused_and_the_flag_named(name: str, text: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as raised:
        check_options(Options(**{name: text}))
    assert raised.value.message.startswith(message)
    assert not hint or raised.value.hint == hint


def test_the_codes_of_a_list_that_was_checked_before() -> None:
    assert languages.codes("Hindi, xho,kgp,hi") == ("hi", "xh", "kgp")
    assert languages.codes("") == ()


def test_every_default_is_accepted_by_its_own_kind() -> None:
    lists = set()
    for command in command_names():
        options = load_command(command).options
        check_options(options())
        lists |= {f"{command} {each.name}" for each in fields(options) if each.metadata.get("kind")}
    assert {
        "filter lang",
        "dedupe lang",
        "show lang",
        "translate lang",
        "rewrite via",
        "eval lang",
        "train lang",
    } <= lists


def test_an_empty_name_is_no_language() -> None:
    with pytest.raises(CapivaraError, match="there is no language ''"):
        languages.get("")
