"""Translation to another language (--via) and back (--translator), which gives a paraphrase."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from capivara_cli.languages import Language, translators
from capivara_cli.languages.translation_memory import CachedTranslator, TranslationMemory
from capivara_cli.models.generation import Decoding, RewriteRequest, Setup
from capivara_cli.plugins import RewriterOptions


class RoundTrip(NamedTuple):
    """A pivot language with the translators to it and back; both cache their translations."""

    pivot: Language
    forward: CachedTranslator
    back: CachedTranslator


class BackTranslator:
    """Translates a text to a pivot language and back: rewrite ``number`` uses pivot ``number`` modulo their count.

    There is no randomness: a pivot always gives the same text, so another attempt uses the next one.
    """

    def __init__(self, language: Language, trips: Sequence[RoundTrip]) -> None:
        translators = dict.fromkeys(each.by.rpartition(":")[0] for trip in trips for each in (trip.forward, trip.back))
        pivots = "+".join(trip.pivot.code for trip in trips)
        self.by = f"rewrite:{'+'.join(translators)}:{language.code}-{pivots}-{language.code}"
        self.trips = trips

    def __call__(self, requests: Sequence[RewriteRequest]) -> list[str]:
        """Translate all texts of one language in one call."""
        results = [""] * len(requests)
        for number, trip in enumerate(self.trips):
            indexes = [index for index, each in enumerate(requests) if each.number % len(self.trips) == number]
            returned = trip.back(trip.forward([requests[index].text for index in indexes])) if indexes else []
            for index, text in zip(indexes, returned, strict=True):
                results[index] = text
        return results


def load(variant: str, *, language: Language, setup: Setup, options: RewriterOptions) -> BackTranslator:
    """``back-translation`` with ``--via`` and ``--translator``, or ``back-translation:TRANSLATOR``."""
    # The decoding options of rewrites do not apply to translators: 0 beams means the translator's default.
    own = Setup(setup.device, Decoding(beams=0), setup.base_url, setup.concurrency, setup.bits, setup.compile)
    memory = TranslationMemory() if options.cache else None

    def translator(source: Language, target: Language) -> CachedTranslator:
        spec = variant or options.translator
        loaded = translators.load(spec, source=source.code, target=target.code, setup=own)
        return CachedTranslator(loaded, memory, target.code, f"{spec} {source.code}>{target.code}")

    trips = [RoundTrip(pivot, translator(language, pivot), translator(pivot, language)) for pivot in options.pivots]
    return BackTranslator(language, trips)
