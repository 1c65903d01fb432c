"""The text itself, labelled as the target language: for measurements, and for captions that need no translation."""

from __future__ import annotations

from capivara_cli.languages import get
from capivara_cli.models.generation import Setup


class IdentityTranslator:
    """Returns its input. The translation checks reject copies, so they are off."""

    version = ""  # not cached, as a look-up takes longer
    guarded = False

    def __init__(self, by: str) -> None:
        self.by = by

    def __call__(self, texts: list[str]) -> list[str]:
        return texts


def load(variant: str, *, source: str, target: str, setup: Setup) -> IdentityTranslator:
    """Any pair of languages. Neither ``variant`` nor ``setup`` is used."""
    return IdentityTranslator(f"identity:{get(source).code}-{get(target).code}")
