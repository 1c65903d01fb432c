"""What a plugin of another package raises or answers wrongly becomes an error that names it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from capivara_cli import plugin_errors
from capivara_cli.errors import BadSample, CapivaraError
from capivara_cli.languages.translation_memory import CachedTranslator
from capivara_cli.plugin_errors import PluginError


def origin() -> plugin_errors.Origin:
    return plugin_errors.Origin("translators", "mine", "mine", "package 0.1.0")


def test_a_missing_attribute_gives_the_default() -> None:
    guarded = plugin_errors.Guarded(origin(), object())
    assert getattr(guarded, "guarded", True) is True
    assert not hasattr(guarded, "installed")
    with pytest.raises(
        PluginError, match=r"translator mine \(package 0\.1\.0\): 'object' object has no attribute 'by'"
    ):
        _ = guarded.by


def test_samples_of_a_plugin_can_be_read_twice() -> None:
    checked = plugin_errors.Checked(plugin_errors.Guarded(origin(), None), ["a", "b"], str)
    assert [*checked] == [*checked] == ["a", "b"]


def test_an_exception_whose_text_cannot_be_made_is_named() -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    def call() -> None:
        raise Odd

    with pytest.raises(PluginError, match=r"translator mine \(package 0\.1\.0\): .*Odd"):
        plugin_errors.Guarded(origin(), call)()


def test_a_bad_sample_is_dropped_by_prepare_only() -> None:
    class Mine:
        def prepare(self, image: object) -> None:
            raise BadSample("odd")

        prompts = prepare

    guarded: Any = plugin_errors.Guarded(origin(), Mine())
    with pytest.raises(BadSample):
        guarded.prepare(None)
    with pytest.raises(PluginError, match="BadSample: odd"):
        guarded.prompts(None)


def test_a_plugin_without_a_package_is_named_alone() -> None:
    def texts() -> Iterator[str]:
        yield "a"
        raise ValueError("second")

    guarded = plugin_errors.Guarded(plugin_errors.Origin("evalsets", "mine", "mine", ""), texts)
    with pytest.raises(CapivaraError, match=r"^eval set mine: ValueError: second$"):
        list(guarded())


def test_thirty_texts() -> None:
    class Mine:
        by = "mine:en-pt"

        def __call__(self, texts: list[str]) -> list[str]:
            return texts[:29]

    translator: Any = plugin_errors.Guarded(origin(), Mine())
    with pytest.raises(PluginError) as raised:
        CachedTranslator(translator, None, "pt")([f"text {number}" for number in range(30)])
    assert raised.value.message == "translator mine (package 0.1.0): 29 texts for 30"
    assert raised.value.exit_code == 1
