"""How certain a difference between two cells is, and whether it points where a paper's does."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

SAME, OPPOSITE, UNKNOWN = "same direction", "opposite", "cannot tell"
MARGIN = 2.0
"""Points that still count as no difference, where a paper sees none."""
_T = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}
"""The 97.5 % quantile of Student's t for n - 1 degrees of freedom, by n."""

Direction = Literal["up", "down", "none", ""]


@dataclass(frozen=True)
class Seed:
    """What came out of one seed: by cell, recall and accuracy in percent."""

    cells: dict[str, dict[str, Any]]

    def recall(self, cell: str, key: str = "pt") -> float:
        """Mean of both directions, each the mean of R@1, R@5 and R@10."""
        return sum(self.cells[cell]["recall"][key]) / 2

    def way(self, cell: str, key: str, way: int) -> float:
        """Text to image (0) or image to text (1)."""
        return self.cells[cell]["recall"][key][way]

    def accuracy(self, cell: str, lang: str = "pt") -> float:
        return self.cells[cell]["accuracy"][lang]


Measure = Callable[[Seed], float]


@dataclass(frozen=True)
class Interval:
    """A mean over seeds and its 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:+.1f} [{self.low:+.1f}, {self.high:+.1f}]"


@dataclass(frozen=True)
class Results:
    """results.json: ``about`` the run, and its seeds."""

    about: dict[str, Any]
    seeds: list[Seed]

    @classmethod
    def of(cls, path: Path) -> Results:
        document = json.loads(path.read_text("utf-8"))
        count = document["about"]["seeds"]
        seeds = [Seed({name: found[seed] for name, found in document["cells"].items()}) for seed in range(count)]
        return cls(document["about"], seeds)

    def values(self, measure: Measure) -> list[float]:
        return [measure(seed) for seed in self.seeds]

    def shown(self, measure: Measure, digits: int = 1) -> str:
        """Mean ± sample standard deviation."""
        values = self.values(measure)
        return f"{statistics.fmean(values):.{digits}f} ± {statistics.stdev(values):.{digits}f}"

    def mean(self, measure: Measure) -> float:
        return statistics.fmean(self.values(measure))

    def difference(self, first: Measure, second: Measure) -> Interval:
        """How much higher ``second`` is, seed by seed."""
        return interval([second(seed) - first(seed) for seed in self.seeds])


def interval(values: Sequence[float]) -> Interval:
    """Student's interval of the mean.

    >>> interval([1.0, 2.0, 3.0])
    Interval(mean=2.0, low=-0.4843..., high=4.4843...)
    """
    mean = statistics.fmean(values)
    half = _T[len(values)] * statistics.stdev(values) / math.sqrt(len(values))
    return Interval(mean, mean - half, mean + half)


def verdict(found: Interval, said: Direction) -> str:
    """Whether a difference points where the paper's does; "" where no paper says anything."""
    if not said:
        return ""
    if said == "none":
        if found.low > -MARGIN and found.high < MARGIN:
            return SAME
        return OPPOSITE if found.low > 0 or found.high < 0 else UNKNOWN
    low, high = (found.low, found.high) if said == "up" else (-found.high, -found.low)
    return SAME if low > 0 else OPPOSITE if high < 0 else UNKNOWN
