"""Remembered translations belong to one translator, with its version and its languages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from capivara_cli import plugin_errors
from capivara_cli.languages.translation_memory import CachedTranslator, TranslationMemory


def test_translations_of_another_translator_are_not_found(tmp_path: Path) -> None:
    memory = TranslationMemory(tmp_path / "m.sqlite")
    for version in ("one", "two", "three"):
        memory.store(version, {f"by {version}": version, "by all": version})
    for version in ("one", "two", "three"):
        found = memory.find(version, ["by one", "by two", "by three", "by all"])
        assert found == {f"by {version}": version, "by all": version}
    assert memory.find("four", ["by all"]) == {}


class Mine:
    """A plugin that says one version whatever it is asked for."""

    by = "mine"
    version = "1"

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    def __call__(self, texts: list[str]) -> list[str]:
        return [f"{self.prefix} {text}" for text in texts]


@pytest.mark.parametrize(
    ("package", "asked", "remembered"),
    [
        ("mine 0.1", "mine en>pt", True),
        ("mine 0.1", "mine en>gl", False),
        ("mine 0.1", "mine pt>en", False),
        ("mine 0.1", "mine:large en>pt", False),
        ("mine 0.2", "mine en>pt", False),
        ("other 0.1", "mine en>pt", False),
    ],
)
def test_what_a_plugin_was_asked_for_is_part_of_the_key(
    package: str, asked: str, remembered: bool, tmp_path: Path
) -> None:
    def translated(of: str, wanted: str, prefix: str) -> list[str]:
        origin = plugin_errors.Origin("translators", "mine", "mine", of)
        plugin: Any = plugin_errors.Guarded(origin, Mine(prefix))
        return CachedTranslator(plugin, TranslationMemory(tmp_path / "m.sqlite"), "pt", wanted)(["a dog"])

    assert translated("mine 0.1", "mine en>pt", "first") == ["first a dog"]
    assert translated(package, asked, "second") == ["first a dog" if remembered else "second a dog"]
