"""The disparity of a model's scores across languages, by the measures of Zhang et al. (2023, arXiv 2305.03510).

The paper does not name its standard deviation. This is the population's (``ddof=0``), because the languages are not a
sample of a larger population.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from capivara_cli.errors import CapivaraError


@dataclass(frozen=True)
class Disparity:
    """The spread of a score over languages, in the unit of the scores (points, for percentages)."""

    mean: float
    range: float  # best minus worst
    std: float  # of the population
    worst: str  # the language with the lowest score; the first of tied ones
    gap_to_english: dict[str, float] | None  # English minus each other language; None without English


def disparity(scores: Mapping[str, float]) -> Disparity:
    """The disparity of ``scores`` (language code -> score). Raises ``CapivaraError`` for fewer than two languages.

    >>> disparity({"en": 90.0, "pt": 80.0, "xh": 40.0})
    Disparity(mean=70.0, range=50.0, std=21.602468994692867, worst='xh', gap_to_english={'pt': 10.0, 'xh': 50.0})
    """
    if len(scores) < 2:
        raise CapivaraError("disparity compares languages: give at least two")
    values = list(scores.values())
    mean = math.fsum(values) / len(values)
    std = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / len(values))
    gaps = None
    if "en" in scores:
        gaps = {lang: scores["en"] - score for lang, score in scores.items() if lang != "en"}
    return Disparity(mean, max(values) - min(values), std, min(scores, key=scores.__getitem__), gaps)
