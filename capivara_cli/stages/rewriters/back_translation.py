"""Translation to another language (--via) and back (--translator): a paraphrase by two models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from capivara_cli import registry
from capivara_cli.languages import Language
from capivara_cli.languages.translation_memory import CachedTranslator, TranslationMemory
from capivara_cli.models.generation import Ask, Decoding, Setup


class Way(NamedTuple):
    """A language with its translators there and back; both cache their translations."""

    via: Language
    there: CachedTranslator
    back: CachedTranslator


class BackTranslator:
    """Rewrite ``number`` of a text goes through language ``number``, modulo the number of languages.

    There is no randomness: a language always gives the same text, so another attempt uses the next language.
    """

    def __init__(self, language: Language, ways: Sequence[Way]) -> None:
        makers = dict.fromkeys(hop.by.rpartition(":")[0] for way in ways for hop in (way.there, way.back))
        through = "+".join(way.via.code for way in ways)
        self.by = f"rewrite:{'+'.join(makers)}:{language.code}-{through}-{language.code}"
        self.ways = ways

    def __call__(self, asks: Sequence[Ask]) -> list[str]:
        """Translate all texts of one language in one call."""
        results = [""] * len(asks)
        for number, way in enumerate(self.ways):
            places = [place for place, ask in enumerate(asks) if ask.number % len(self.ways) == number]
            returned = way.back(way.there([asks[place].text for place in places])) if places else []
            for place, text in zip(places, returned, strict=True):
                results[place] = text
        return results


def load(variant: str, *, language: Language, setup: Setup, options: Any) -> BackTranslator:
    """``back-translation`` with ``--via`` and ``--translator``, or ``back-translation:TRANSLATOR``."""
    # The decoding options of rewrites do not apply to translators: 0 beams means the translator's default.
    own = Setup(setup.device, Decoding(beams=0), setup.base_url, setup.concurrency, setup.bits, setup.compile)
    memory = TranslationMemory() if options.cache else None

    def translator(source: Language, target: Language) -> CachedTranslator:
        spec = variant or options.translator
        loaded = registry.load("translators", spec, source=source.code, target=target.code, setup=own)
        return CachedTranslator(loaded, memory)

    return BackTranslator(
        language, [Way(via, translator(language, via), translator(via, language)) for via in options.ways]
    )
