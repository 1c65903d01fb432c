"""translate: what is added, what is kept, what is noted, and that a second run adds nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.made import a_sample

from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.languages import translation_memory
from capivara_cli.languages.translation_memory import CachedTranslator, TranslationMemory
from capivara_cli.models.generation import Decoding, Setup
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings, check_options
from capivara_cli.plugin_errors import Guarded, Origin
from capivara_cli.shards.sample import Caption, Sample
from capivara_cli.stages.translate import Options, translate
from capivara_cli.stages.translators._sentences import join, split


class Dictionary:
    """Translates by a table; enough where the stage, not the model, is tested."""

    def __init__(self, by: str, table: dict[str, str]) -> None:
        self.by = by
        self.version = ""
        self.table = table
        self.calls: list[list[str]] = []

    def __call__(self, texts: list[str]) -> list[str]:
        self.calls.append(texts)
        return [self.table[text] for text in texts]


def run(samples: list[Sample], translators: dict[str, Dictionary], **options: Any) -> tuple[list[Sample], Env]:
    given = Options(**{"translator": "toy", "cache": False, **options})
    setup = Setup("cpu", Decoding(beams=given.beams))
    models = {
        ("translator", "toy", *(way.split("-") if "-" in way else ("en", way)), setup): CachedTranslator(
            each, None, way.rpartition("-")[2]
        )
        for way, each in translators.items()
    }
    env = Env(Settings(device="cpu"), "translate", models)
    return list(translate.run(iter(samples), given, env)), env


def portuguese() -> Dictionary:
    return Dictionary(
        "toy:en-pt", {"a cat": "um gato", "two dogs": "dois cães", "taxi": "Taxi", "hm": " ", "x": "икс", "": "?"}
    )


def captions(*texts: str, lang: str = "en") -> list[Caption]:
    return [Caption(text, lang, "alt") for text in texts]


def test_translations_are_appended_and_each_text_is_translated_once() -> None:
    samples = [
        a_sample("1", *captions("a cat", "two dogs", "a cat")),
        a_sample("2", *captions("a cat"), id=7),
        a_sample("3", *captions("ola", lang="pt")),
    ]
    table = portuguese()
    out, env = run(samples, {"pt": table}, lang="por")
    assert out[0].captions[3:] == [
        Caption("um gato", "pt", "toy:en-pt", of="a cat"),
        Caption("dois cães", "pt", "toy:en-pt", of="two dogs"),
    ]
    assert out[1].captions == [*captions("a cat"), Caption("um gato", "pt", "toy:en-pt", of="a cat")]
    assert out[1].document["id"] == 7
    assert out[2] is samples[2]
    assert table.calls == [["a cat", "two dogs"]]
    assert env.tally.notes == {"samples without a caption to translate from en": 1}


def test_a_second_run_gives_the_same_bytes_and_translates_nothing() -> None:
    samples = [a_sample("1", *captions("a cat", "two dogs"))]
    once, _ = run(samples, {"pt": portuguese()}, lang="pt")
    table = portuguese()
    twice, _ = run(once, {"pt": table}, lang="pt")
    assert twice[0] is once[0]
    assert table.calls == []
    more = once[0].with_captions([*once[0].captions, *captions("taxi")])
    (out,), _ = run([more], {"pt": table}, lang="pt")
    assert table.calls == [["taxi"]]
    assert out.captions[-1] == Caption("Taxi", "pt", "toy:en-pt", of="taxi")


def test_several_languages() -> None:
    hindi = Dictionary("toy:en-hi", {"a cat": "एक बिल्ली", "two dogs": "two dogs"})
    (out,), env = run([a_sample("1", *captions("a cat", "two dogs"))], {"pt": portuguese(), "hi": hindi}, lang="pt, hi")
    assert [(each.text, each.lang) for each in out.captions[2:]] == [
        ("um gato", "pt"), ("dois cães", "pt"), ("एक बिल्ली", "hi"),
    ]  # fmt: skip
    assert env.tally.notes == {"translations dropped: in another script": 1}


def test_what_is_no_translation_is_noted() -> None:
    (out,), env = run([a_sample("1", *captions("taxi", "hm", "x", "  "))], {"pt": portuguese()}, lang="pt")
    assert [each.text for each in out.captions[4:]] == ["Taxi"]
    assert env.tally.notes == {
        "translations equal to their source, kept": 1,
        "translations dropped: empty": 1,
        "translations dropped: in another script": 1,
    }


def test_replace_leaves_out_what_was_translated() -> None:
    sample = a_sample("1", *captions("a cat", "hm"), *captions("ola", lang="pt"))
    (out,), _ = run([sample], {"pt": portuguese()}, lang="pt", replace=True)
    assert [each.text for each in out.captions] == ["hm", "ola", "um gato"]
    (done,), _ = run([a_sample("1", *captions("a cat"))], {"pt": portuguese()}, lang="pt", replace=True)
    assert run([done], {"pt": portuguese()}, lang="pt", replace=True)[0] == [done]


def test_a_language_nobody_wrote_in() -> None:
    samples = [a_sample("1", *captions("a cat")), a_sample("2", *captions("kissa", lang="fi"))]
    with pytest.raises(CapivaraError) as caught:
        run(samples, {}, lang="pt", from_="sw")
    assert caught.value.message == "translate: no caption is in Swahili (sw); the captions are in en, fi"
    assert caught.value.hint == "--from en translates those"
    with pytest.raises(CapivaraError, match="there are no captions"):
        run([a_sample("1")], {}, lang="pt")
    assert run([], {}, lang="pt")[0] == []


def test_other_spellings_of_the_source_language_count() -> None:
    sample = a_sample("1", Caption("a cat", "eng", "alt"), Caption("two dogs", "en-GB", "alt"))
    (out,), _ = run([sample], {"pt": portuguese()}, lang="pt")
    assert [each.text for each in out.captions[2:]] == ["um gato", "dois cães"]


def test_from_auto_takes_each_caption_from_its_own_language() -> None:
    german = Dictionary(
        "toy:de-pt", {"die Kinder spielen mit dem Hund auf der Straße": "as crianças brincam com o cachorro na rua"}
    )
    sample = a_sample(
        "1",
        *captions("a cat"),
        Caption("die Kinder spielen mit dem Hund auf der Straße", "und", "alt"),
        Caption("um gato", "pt", "alt"),
        Caption("een kat", "nl", "apertium:en-nl", of="a cat"),
        Caption("?", "und", "alt"),
    )
    tables = {"en-pt": portuguese(), "de-pt": german}
    (out,), _ = run([sample], tables, lang="pt", from_="auto")
    assert out.captions[5:] == [
        Caption("um gato", "pt", "toy:en-pt", of="a cat"),
        Caption(
            "as crianças brincam com o cachorro na rua",
            "pt",
            "toy:de-pt",
            of="die Kinder spielen mit dem Hund auf der Straße",
        ),
    ]
    assert run([out], tables, lang="pt", from_="auto")[0][0] is out


def test_from_auto_leaves_alone_what_nobody_translates(monkeypatch: pytest.MonkeyPatch) -> None:
    sample = a_sample("1", *captions("a cat"), *captions("kissa", lang="fi"))
    (out,), env = run([sample], {"en-pt": portuguese()}, lang="pt", from_="auto")
    assert [each.text for each in out.captions] == ["a cat", "kissa", "um gato"]
    assert env.tally.notes == {"captions not translated: no translator from fi to pt": 1}


def test_back_translation_names_the_whole_way_and_is_no_source() -> None:
    back = Dictionary("toy:pt-en", {"um gato": "one cat", "dois cães": "Two dogs", "Taxi": ""})
    tables = {"pt": portuguese(), "pt-en": back}
    sample = a_sample("1", *captions("a cat", "two dogs", "taxi"))
    (out,), env = run([sample], tables, lang="pt", back_translate=True)
    assert out.captions[3:] == [
        Caption("um gato", "pt", "toy:en-pt", of="a cat"),
        Caption("one cat", "en", "toy:en-pt-en", of="a cat"),
        Caption("dois cães", "pt", "toy:en-pt", of="two dogs"),
        Caption("Taxi", "pt", "toy:en-pt", of="taxi"),
    ]
    assert env.tally.notes == {
        "back-translations dropped: equal to the original": 1,
        "translations equal to their source, kept": 1,
        "translations dropped: empty": 1,
    }
    assert run([out], tables, lang="pt", back_translate=True)[0][0] is out
    table = portuguese()
    assert run([out], {"pt": table}, lang="pt")[0][0] is out
    assert table.calls == []  # "one cat" is not translated


def test_only_the_original_or_only_the_synthetic() -> None:
    sample = a_sample(
        "1",
        *captions("a cat"),
        Caption("two dogs", "en", "some/model", prefix="a photo of"),
        Caption("taxi", "en", "rewrite:toy", of="a cat"),
    )
    for only, expected in (("original", ["um gato"]), ("synthetic", ["dois cães", "Taxi"])):
        (out,), _ = run([sample], {"pt": portuguese()}, lang="pt", only=only)
        assert [each.text for each in out.captions[3:]] == expected


LONG = "a man in a red shirt stands on a rock near the sea"


@pytest.mark.parametrize(
    ("text", "translation", "guard", "reason"),
    [
        ("a dog", " . ", "empty", "empty"),
        (LONG, "человек", "script", "in another script"),
        (LONG, LONG.upper(), "copy", "a copy of the source"),
        (LONG, "um homem " + "na praia " * 9, "repetition", "repeating itself"),
        (
            "a dog",
            "um cachorro que corre pela praia enquanto o sol se põe no mar",
            "long",
            "far longer than the source",
        ),
        (LONG, "um homem &quot;na rocha", "junk", "junk that translators are known for"),
        (LONG, "um homem - Imagem em Alta Resolução", "junk", "junk that translators are known for"),
        (LONG, "Legendas por Fulano", "junk", "junk that translators are known for"),
        (LONG, "a man wearing a red shirt is standing on the rock", "language", "in another language"),
        (
            LONG,
            "de man met het rode shirt staat op een rots dicht bij de zee",
            "language",
            "in another language",
        ),
        (LONG, "um homem de camisa vermelha em cima de uma rocha perto do mar", "all", None),
    ],
)
def test_guards(text: str, translation: str, guard: str, reason: str | None) -> None:
    table = Dictionary("toy:en-pt", {text: translation})
    (out,), env = run([a_sample("1", *captions(text))], {"pt": table}, lang="pt", guards=guard)
    assert len(out.captions) == (1 if reason else 2)
    assert env.tally.notes == ({f"translations dropped: {reason}": 1} if reason else {})
    (kept,), _ = run([a_sample("1", *captions(text))], {"pt": table}, lang="pt", guards="none")
    assert kept.captions[1].text == translation


def test_a_name_may_stay_as_it_is() -> None:
    table = Dictionary("toy:en-pt", {"New York": "New York"})
    (out,), env = run([a_sample("1", *captions("New York"))], {"pt": table}, lang="pt")
    assert out.captions[1].text == "New York"
    assert env.tally.notes == {"translations equal to their source, kept": 1}


def test_white_space_makes_no_other_text() -> None:
    table = portuguese()
    (out,), _ = run([a_sample("1", *captions("a  cat ", "a cat", "two\ndogs"))], {"pt": table}, lang="pt")
    assert table.calls == [["a cat", "two dogs"]]
    assert [(each.text, each.of) for each in out.captions[3:]] == [
        ("um gato", "a  cat "), ("um gato", "a cat"), ("dois cães", "two\ndogs"),
    ]  # fmt: skip


def test_translations_are_detokenised_and_sources_stay(tmp_path: Path) -> None:
    table = Dictionary("toy:en-pt", {"a dog (here).": "um cão ( aqui ) .", "a cat .": "um gato ."})
    (out,), _ = run([a_sample("1", *captions("a dog (here).", "a cat ."))], {"pt": table}, lang="pt")
    assert [each.text for each in out.captions] == ["a dog (here).", "a cat .", "um cão (aqui).", "um gato ."]


def test_the_memory_is_shared_by_runs_and_kept_apart_by_version(tmp_path: Path) -> None:
    table = portuguese()
    for version, calls in (("1", 1), ("1", 1), ("2", 2), ("1", 2)):
        table.version = version
        cached = CachedTranslator(table, TranslationMemory(tmp_path / "memory"), "pt")
        assert cached(["a cat", "two  dogs", "a cat"]) == ["um gato", "dois cães", "um gato"]
        assert len(table.calls) == calls
    assert CachedTranslator(table, TranslationMemory(tmp_path / "memory"), "pt")(["taxi", "a cat"]) == [
        "Taxi",
        "um gato",
    ]
    assert table.calls[2:] == [["taxi"]]


class Foreign:
    """A translator of another package whose version says nothing but a number."""

    by = "mine"
    version = "1"

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    def __call__(self, texts: list[str]) -> list[str]:
        return [f"{self.prefix} {text}" for text in texts]


def test_plugins_of_other_packages_do_not_share_translations(tmp_path: Path) -> None:
    """Neither two plugins of one version, nor two languages, variants or packages of one plugin."""
    memory = TranslationMemory(tmp_path / "memory")
    cases = [
        ("mine", "mine 1.0", "mine en>pt"),
        ("mine", "mine 1.0", "mine en>gl"),
        ("mine", "mine 1.0", "mine:large en>pt"),
        ("mine", "mine 1.1", "mine en>pt"),
        ("other", "mine 1.0", "other en>pt"),
    ]
    for again in (False, True):
        for number, (name, package, asked) in enumerate(cases):
            origin = Origin("translators", name, name, package)
            plugin: Any = Guarded(origin, Foreign("again" if again else str(number)))
            assert CachedTranslator(plugin, memory, "pt", asked)(["a cat"]) == [f"{number} a cat"]


def test_what_is_translated_is_remembered_every_few_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(translation_memory, "_FIRST_BATCH", 2)
    monkeypatch.setattr(translation_memory, "_MIN_BATCH", 1)
    monkeypatch.setattr(translation_memory, "_BATCH_SECONDS", 0.0)
    table = portuguese()
    table.version = "1"
    cached = CachedTranslator(table, TranslationMemory(tmp_path / "memory"), "pt")
    with pytest.raises(KeyError):  # the table lacks it: the end of this run
        cached(["a cat", "two dogs", "taxi", "unknown", "hm"])
    assert table.calls == [["a cat", "two dogs"], ["taxi"], ["unknown"]]
    known = TranslationMemory(tmp_path / "memory").find("1", ["a cat", "two dogs", "taxi", "hm"])
    assert known == {"a cat": "um gato", "two dogs": "dois cães", "taxi": "Taxi"}


def test_a_memory_that_cannot_be_used_is_done_without(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "memory").write_bytes(b"no database" * 999)
    table = portuguese()
    table.version = "1"
    memory = TranslationMemory(tmp_path / "memory")
    assert CachedTranslator(table, memory, "pt")(["a cat"]) == ["um gato"]
    assert memory.find("1", ["a cat"]) == {}
    assert capsys.readouterr().err.count("cannot be used, translating without memory") == 1
    assert (tmp_path / "memory").read_bytes() == b"no database" * 999


def test_many_texts_and_odd_ones_are_remembered(tmp_path: Path) -> None:
    memory = TranslationMemory(tmp_path / "memory")
    made = {f"text {number}": f"texto {number}" for number in range(1700)} | {"\ud800": "é\0'\""}
    memory.store("1", made)
    memory.store("1", {"text 1": "other"})
    assert TranslationMemory(tmp_path / "memory").find("1", [*made, "unknown"]) == made


def test_identity_is_not_guarded() -> None:
    (out,), env = run([a_sample("1", *captions(LONG))], {}, lang="xh", translator="identity")
    assert out.captions[1] == Caption(LONG, "xh", "identity:en-xh", of=LONG)
    assert env.tally.notes == {}


def test_sentences() -> None:
    for text, expected in [
        ("A dog. Two cats!", ["A dog.", "Two cats!"]),
        ("Dr. Smith, approx. 3.5 m tall", ["Dr. Smith, approx. 3.5 m tall"]),
        ("U.S. Flag on a pole. It waves", ["U.S. Flag on a pole.", "It waves"]),
        ('he said "Go!" Then he left', ['he said "Go!"', "Then he left"]),
        ("一只狗。两只猫！很好", ["一只狗。", "两只猫！", "很好"]),
        ("एक कुत्ता। दो बिल्ली", ["एक कुत्ता।", "दो बिल्ली"]),
        ("¿Qué? ¡Sí!", ["¿Qué?", "¡Sí!"]),
        ("no stop at all", ["no stop at all"]),
        ("", [""]),
    ]:
        assert split(text) == expected
    assert join(["一只狗。", " ", "两只猫！"], "Hans") == "一只狗。两只猫！"
    assert join(["Um  cão.", "Dois"], "Latn") == "Um cão. Dois"


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"translator": "argus"}, CapivaraError, "there is no translator 'argus'"),
        ({"lang": "portugese"}, UsageError, "did you mean pt"),
        ({"from_": "englisch"}, UsageError, "--from: there is no language 'englisch'"),
        ({"lang": " , "}, UsageError, "--lang: a language is empty"),
        ({"lang": "en,pt"}, UsageError, "--lang en: this is the source language"),
        ({"guards": "copy,scripts"}, UsageError, "there is no guard 'scripts'"),
        ({"only": "human"}, UsageError, "--only human: one of all, original, synthetic"),
        ({"translator": "apertium", "package": "x.argosmodel"}, UsageError, "--package is for --translator argos"),
    ],
)
def test_mistakes_are_found_before_anything_is_read(options: dict[str, str], kind: type, message: str) -> None:
    with pytest.raises(kind, match=message):
        check_options(found := Options(**options))  # type: ignore[arg-type]
        found.check()
