"""Translators of other packages and the pairs that they declare."""

from __future__ import annotations

from pathlib import Path

import pytest
from reliability.running import run
from support.made import shard_bytes, toy_like
from support.made_plugins import install

from capivara_cli.errors import CapivaraError, Unsupported
from capivara_cli.languages import translators
from capivara_cli.models.generation import Setup
from capivara_cli.stages.translators import apertium, argos, auto, nllb

PAIRS = [("en", "pt"), ("pt", "en"), ("en", "xh")]
CODE = """'''Mine.'''
class Mine:
    def __init__(self, source, target):
        self.by = f"mine:{source}-{target}"
    def __call__(self, texts):
        return ["texto " + each for each in texts]
def load(variant, *, source, target, setup):
    return Mine(source, target)
"""


def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pairs: str = "", code: str = CODE, **more: str) -> None:
    declared = f"def pairs():\n    return {pairs}\n" if pairs else ""
    install(tmp_path, monkeypatch, "translators", code + declared, **more)


@pytest.fixture
def no_models(monkeypatch: pytest.MonkeyPatch) -> None:
    """No Argos package, no model and no Apertium on this machine."""
    monkeypatch.setattr(argos, "hops", lambda start, end: 0)
    monkeypatch.setattr(apertium, "hops", lambda start, end: 0)
    monkeypatch.setattr(auto.hub, "is_cached", lambda repo: False)


def test_a_pair_that_is_not_declared_is_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine(tmp_path, monkeypatch, repr(PAIRS))
    (tmp_path / "a.tar").write_bytes(shard_bytes(toy_like(2)))
    for words, pair, known in (
        (["translate", "a.tar", "--lang", "pt,hi"], "English (en) to Hindi (hi)", "en-pt, en-xh, pt-en"),
        (["translate", "a.tar", "--lang", "xh", "--back-translate"], "Xhosa (xh) to English (en)", "en-pt"),
        (["rewrite", "a.tar", "--rewriter", "back-translation:mine", "--via", "xh"], "Xhosa (xh) to English (en)", ""),
        (["translate", "a.tar", "--from", "hi", "--lang", "fr"], "Hindi (hi) to French (fr)", "en-pt, en-xh, pt-en"),
    ):  # fmt: skip
        translator = [] if words[0] == "rewrite" else ["--translator", "mine"]
        ran = run([*words, *translator, "--out", "out"], tmp_path)
        assert ran.code == 1
        assert f"capivara: translator mine (package 0.1.0) does not translate {pair}; it translates {known}" in ran.said
        assert not (tmp_path / "out").exists()


def test_a_pair_may_be_declared_by_any_name_of_a_language(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine(tmp_path, monkeypatch, "{('eng', 'pt-BR')}")
    assert translators.pairs_of("mine") == {("en", "pt")}
    translators.check("mine", [("en", "pt")])
    with pytest.raises(Unsupported, match="does not translate Portuguese"):
        translators.load("mine:small", source="pt", target="en", setup=Setup("cpu"))


@pytest.mark.parametrize("pairs", ["", "'any'"])
def test_without_pairs_every_pair_is_loaded(pairs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine(tmp_path, monkeypatch, pairs)
    assert translators.load("mine", source="hi", target="fr", setup=Setup("cpu")).by == "mine:hi-fr"


def test_translators_of_capivara_are_not_imported_to_check_a_pair() -> None:
    translators.check("toy", [("en", "fr")])
    with pytest.raises(CapivaraError, match="there is no translator 'tyo'"):
        translators.check("tyo")


def test_pairs_that_are_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine(tmp_path, monkeypatch, repr(PAIRS), CODE + "def installed():\n    return [('eng', 'pt')]\n", name="some")
    assert translators.ready_pairs("some") == [("en", "pt")]


@pytest.mark.parametrize(("pairs", "ready"), [(repr(PAIRS), sorted(PAIRS)), ("'any'", []), ("", [])])
def test_declared_pairs_are_ready(
    pairs: str, ready: list[tuple[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine(tmp_path, monkeypatch, pairs)
    assert translators.ready_pairs("mine") == ready


def test_auto_prefers_a_plugin_that_declares_the_pair(
    no_models: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mine(tmp_path, monkeypatch, "[('en', 'pt')]")
    monkeypatch.setattr(argos, "hops", lambda start, end: 1)
    assert auto.load("", source="en", target="pt", setup=Setup("cpu")).by == "mine:en-pt"
    assert capsys.readouterr().err == "translate: English to Portuguese by mine:en-pt\n"
    identity = auto.identity("", source="en", target="pt", base_url="")
    assert identity == "translator mine (package 0.1.0)"


def test_auto_asks_a_plugin_for_any_pair_after_the_models_on_this_machine(
    no_models: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine(tmp_path, monkeypatch, "'any'")
    assert auto.load("", source="hi", target="fr", setup=Setup("cpu")).by == "mine:hi-fr"
    monkeypatch.setattr(auto.hub, "is_cached", lambda repo: repo == nllb.FAMILY.default)
    monkeypatch.setattr(nllb, "load", lambda variant, **given: type("Nllb", (), {"by": "nllb:hi-fr"})())
    assert auto.load("", source="hi", target="fr", setup=Setup("cpu")).by == "nllb:hi-fr"


def test_auto_does_without_a_plugin_that_declares_nothing_or_is_broken(
    no_models: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(apertium, "load", lambda variant, **given: type("Apertium", (), {"by": "apertium:en-pt"})())
    mine(tmp_path, monkeypatch)
    broken = "def load(variant, **given):\n    raise OSError('no licence')\n"
    mine(tmp_path, monkeypatch, repr(PAIRS), broken, name="broken", package="other")
    assert auto.load("", source="en", target="pt", setup=Setup("cpu")).by == "apertium:en-pt"
    assert capsys.readouterr().err.splitlines() == [
        "warning: translator broken (other 0.1.0): OSError: no licence; auto does without it",
        "translate: English to Portuguese by apertium:en-pt",
    ]


def test_auto_tries_the_next_one_if_a_plugin_does_not_support_the_pair(
    no_models: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apertium, "load", lambda variant, **given: type("Apertium", (), {"by": "apertium:en-pt"})())
    refuses = (
        "from capivara_cli.plugins import Unsupported\ndef load(variant, **given):\n    raise Unsupported('no pair')\n"
    )
    mine(tmp_path, monkeypatch, "'any'", refuses)
    with pytest.raises(Unsupported, match=r"^translator mine \(package 0\.1\.0\): no pair$"):
        translators.load("mine", source="en", target="pt", setup=Setup("cpu"))
    assert auto.load("", source="en", target="pt", setup=Setup("cpu")).by == "apertium:en-pt"
