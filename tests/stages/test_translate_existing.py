"""translate: which language a check is told, and that a translation in another language is no translation in this."""

from __future__ import annotations

from typing import Any

import pytest
from support.made import a_sample

from capivara_cli.languages import translation_checks
from capivara_cli.languages.translation_memory import CachedTranslator
from capivara_cli.models.generation import Decoding, Setup
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings
from capivara_cli.shards.sample import Caption, Sample
from capivara_cli.stages.translate import Options, translate


class Mine:
    """A translator whose ``by`` does not name the languages."""

    by, version = "mine", ""

    def __init__(self, target: str) -> None:
        self.target = target

    def __call__(self, texts: list[str]) -> list[str]:
        return [f"{text} in {self.target}" for text in texts]


def run(sample: Sample, *pairs: tuple[str, str], **options: Any) -> Sample:
    given = Options(translator="toy", cache=False, **options)
    setup = Setup("cpu", Decoding(beams=0))
    models = {
        ("translator", "toy", source, target, setup): CachedTranslator(Mine(target), None, target)  # type: ignore[arg-type]
        for source, target in pairs
    }
    (found,) = translate.run(iter([sample]), given, Env(Settings(device="cpu"), "translate", models))
    return found


@pytest.mark.parametrize("source", ["en", "es"])
def test_a_back_translation_is_checked_from_the_target_to_the_source(
    source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, ...]] = []

    def objection(text: str, translation: str, source: str, target: str, names: tuple[str, ...]) -> None:
        asked.append((text, translation, source, target))

    monkeypatch.setattr(translation_checks, "objection", objection)
    sample = a_sample("k", Caption("a dog", source, "alt"))
    run(sample, (source, "pt"), ("pt", source), lang="pt", from_=source, back_translate=True)
    assert asked == [
        ("a dog", "a dog in pt", source, "pt"),
        ("a dog in pt", f"a dog in pt in {source}", "pt", source),
    ]


def test_a_translation_into_another_language_is_not_the_one_wanted() -> None:
    sample = a_sample("k", Caption("a dog", "en", "alt"), Caption("a dog in pt", "pt", "mine", "a dog"))
    found = run(sample, ("en", "gl"), lang="gl", guards="none")
    assert found.captions[2:] == [Caption("a dog in gl", "gl", "mine", "a dog")]
    assert run(found, ("en", "gl"), ("en", "pt"), lang="gl,pt", guards="none") is found


def test_the_same_text_in_two_targets_at_once() -> None:
    sample = a_sample("k", Caption("a dog", "en", "alt"))
    found = run(sample, ("en", "gl"), ("en", "pt"), lang="gl,pt", guards="none")
    assert [(each.text, each.lang, each.by) for each in found.captions[1:]] == [
        ("a dog in gl", "gl", "mine"), ("a dog in pt", "pt", "mine"),
    ]  # fmt: skip
