"""Back-translation: each rewrite of a text goes through the next language, and the first comes again after the last."""

from __future__ import annotations

from typing import Any

import pytest

from capivara_cli import languages
from capivara_cli.models.generation import RewriteRequest
from capivara_cli.stages.rewriters.back_translation import BackTranslator, RoundTrip

PIVOTS = ("de", "fr", "es")


class Through:
    def __init__(self, source: str, target: str) -> None:
        self.by, self.target = f"toy:{source}-{target}", target

    def __call__(self, texts: list[str]) -> list[str]:
        return [f"{text}>{self.target}" for text in texts]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_pivot_of_each_rewrite(count: int) -> None:
    trips: list[Any] = [
        RoundTrip(languages.get(code), Through("en", code), Through(code, "en"))  # type: ignore[arg-type]
        for code in PIVOTS[:count]
    ]
    rewriter = BackTranslator(languages.get("en"), trips)
    numbers = [4, 0, 3, 1, 2, 5]
    found = rewriter([RewriteRequest(f"text {number}", 0, number) for number in numbers])
    assert found == [f"text {number}>{PIVOTS[number % count]}>en" for number in numbers]
    assert rewriter.by == f"rewrite:toy:en-{'+'.join(PIVOTS[:count])}-en"
