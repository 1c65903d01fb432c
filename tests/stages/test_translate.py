"""translate: what is added, what is kept, what is noted, and that a second run adds nothing."""

from __future__ import annotations

from typing import Any

import pytest
from made import a_sample

from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.sample import Caption, Sample
from capivara_cli.stage import Env, Settings
from capivara_cli.stages.translate import Options, translate


class Dictionary:
    """Translates by a table; enough where the stage, not the model, is tested."""

    def __init__(self, by: str, table: dict[str, str]) -> None:
        self.by = by
        self.table = table
        self.calls: list[list[str]] = []

    def __call__(self, texts: list[str]) -> list[str]:
        self.calls.append(texts)
        return [self.table[text] for text in texts]


def run(samples: list[Sample], translators: dict[str, Dictionary], **options: Any) -> tuple[list[Sample], Env]:
    source = options.get("from_", "en")
    models = {("translator", "toy", source, target, "cpu"): each for target, each in translators.items()}
    env = Env(Settings(device="cpu"), "translate", models)
    return list(translate.run(iter(samples), Options(translator="toy", **options), env)), env


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
    assert env.tally.notes == {"samples without a caption in en": 1}


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
    assert env.tally.notes == {"translation has no letter of the script of hi": 1}


def test_what_is_no_translation_is_noted() -> None:
    (out,), env = run([a_sample("1", *captions("taxi", "hm", "x", "  "))], {"pt": portuguese()}, lang="pt")
    assert [each.text for each in out.captions[4:]] == ["Taxi"]
    assert env.tally.notes == {
        "translation equals its source, kept": 1,
        "translation empty": 1,
        "translation has no letter of the script of pt": 1,
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
    with pytest.raises(CapivaraError, match="the captions are in no language: there are none"):
        run([a_sample("1")], {}, lang="pt")
    assert run([], {}, lang="pt")[0] == []


def test_other_spellings_of_the_source_language_count() -> None:
    sample = a_sample("1", Caption("a cat", "eng", "alt"), Caption("two dogs", "en-GB", "alt"))
    (out,), _ = run([sample], {"pt": portuguese()}, lang="pt")
    assert [each.text for each in out.captions[2:]] == ["um gato", "dois cães"]


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"translator": "argus"}, CapivaraError, "there is no translator 'argus'"),
        ({"lang": "portugese"}, CapivaraError, "did you mean pt"),
        ({"from_": "englisch"}, CapivaraError, "there is no language 'englisch'"),
        ({"lang": " , "}, UsageError, "name at least one language"),
        ({"lang": "en,pt"}, UsageError, "--lang en: the captions are translated from it"),
        ({"translator": "apertium", "package": "x.argosmodel"}, UsageError, "--package is for --translator argos"),
    ],
)
def test_mistakes_are_found_before_anything_is_read(options: dict[str, str], kind: type, message: str) -> None:
    with pytest.raises(kind, match=message):
        Options(**options).check()  # type: ignore[arg-type]
