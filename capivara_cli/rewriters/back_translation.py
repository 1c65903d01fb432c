"""There and back again: translated to another language (--via) and back (--translator), a paraphrase by two models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from capivara_cli import plugins
from capivara_cli.errors import CapivaraError
from capivara_cli.generation import Ask, Decoding, Setup
from capivara_cli.languages import Language, get


class BackTranslator:
    """The ``number``-th rewrite of a text goes through the ``number``-th language, over and over.

    There is no chance in it: asked again it says the same, and more rewrites than languages are equal to others.
    """

    def __init__(self, name: str, language: Language, ways: list[tuple[Any, Any]], via: Sequence[Language]) -> None:
        self.by = f"rewrite:{name}:{language.code}-{'+'.join(each.code for each in via)}-{language.code}"
        self.ways = ways

    def __call__(self, asks: Sequence[Ask]) -> list[str]:
        """All texts of a language in one go, each distinct text once."""
        results = [""] * len(asks)
        for number, (there, back) in enumerate(self.ways):
            places = [place for place, ask in enumerate(asks) if ask.number % len(self.ways) == number]
            texts = list(dict.fromkeys(asks[place].text for place in places))
            if texts:
                returned = dict(zip(texts, back(there(texts)), strict=True))
                for place in places:
                    results[place] = returned[asks[place].text]
        return results


def load(variant: str, *, language: Language, setup: Setup, options: Any) -> BackTranslator:
    """``back-translation`` with ``--via`` and ``--translator``, or ``back-translation:TRANSLATOR``."""
    name = variant or options.translator
    via = [get(way) for way in options.ways]
    if not via:
        raise CapivaraError("back-translation: through which language?", "--via de,fr")
    own = Setup(setup.device, Decoding(beams=0), setup.base_url, setup.concurrency)

    def translator(source: Language, target: Language) -> Any:
        return plugins.load("translators", name, source=source.code, target=target.code, setup=own)

    ways = [(translator(language, way), translator(way, language)) for way in via]
    return BackTranslator(name.partition(":")[0], language, ways, via)
