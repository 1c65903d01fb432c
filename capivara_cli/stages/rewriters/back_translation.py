"""There and back again: translated to another language (--via) and back (--translator), a paraphrase by two models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from capivara_cli import registry
from capivara_cli.languages import Language
from capivara_cli.languages.translation_memory import Remembering, TranslationMemory
from capivara_cli.models.generation import Ask, Decoding, Setup


class Way(NamedTuple):
    """To a language and back; each is a translator that remembers."""

    via: Language
    there: Remembering
    back: Remembering


class BackTranslator:
    """The ``number``-th rewrite of a text goes through the ``number``-th language, over and over.

    There is no chance in it: the same way leads to the same text, and one that is asked for again takes the next way.
    """

    def __init__(self, language: Language, ways: Sequence[Way]) -> None:
        makers = dict.fromkeys(hop.by.rpartition(":")[0] for way in ways for hop in (way.there, way.back))
        through = "+".join(way.via.code for way in ways)
        self.by = f"rewrite:{'+'.join(makers)}:{language.code}-{through}-{language.code}"
        self.ways = ways

    def __call__(self, asks: Sequence[Ask]) -> list[str]:
        """All texts that go one way in one go."""
        results = [""] * len(asks)
        for number, way in enumerate(self.ways):
            places = [place for place, ask in enumerate(asks) if ask.number % len(self.ways) == number]
            returned = way.back(way.there([asks[place].text for place in places])) if places else []
            for place, text in zip(places, returned, strict=True):
                results[place] = text
        return results


def load(variant: str, *, language: Language, setup: Setup, options: Any) -> BackTranslator:
    """``back-translation`` with ``--via`` and ``--translator``, or ``back-translation:TRANSLATOR``."""
    # The decoding of rewrites is not the translator's: 0 beams stands for as many as it is used to.
    own = Setup(setup.device, Decoding(beams=0), setup.base_url, setup.concurrency, setup.bits, setup.compile)
    memory = TranslationMemory() if options.cache else None

    def translator(source: Language, target: Language) -> Remembering:
        spec = variant or options.translator
        made = registry.load("translators", spec, source=source.code, target=target.code, setup=own)
        return Remembering(made, memory)

    return BackTranslator(
        language, [Way(via, translator(language, via), translator(via, language)) for via in options.ways]
    )
