"""What a model got right, image by image: enough for an interval, and for a paired test against another model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from capivara_cli.evaluation import significance
from capivara_cli.evaluation.metrics import Doubles, Flags, Indices, Ranked
from capivara_cli.evaluation.significance import Contributions, Paired
from capivara_cli.evaluation.zeroshot import Classification


@dataclass(frozen=True, eq=False)
class Ratios:
    """A score to which every image adds its part: recall, accuracy, mean per class."""

    contributions: Contributions

    def interval(self) -> tuple[float, float]:
        return significance.interval(self.contributions)

    def against(self, other: Ratios) -> Paired:
        """How much better ``other`` is."""
        return significance.paired(self.contributions, other.contributions)


@dataclass(frozen=True, eq=False)
class Ranking:
    """A score that is of all images together, 11-point mAP or ROC AUC: ``scores`` and ``truth`` are [N, C]."""

    metric: str
    scores: Doubles
    truth: Flags

    def interval(self) -> tuple[float, float]:
        ranked = Ranked(self.scores, self.truth)
        n = len(self.scores)

        def score(rows: Indices) -> float:
            return self._score(ranked, np.bincount(rows, minlength=n).astype(float))

        return significance.interval_of(score, n)

    def against(self, other: Ranking) -> Paired:
        """How much better ``other`` is. ``ValueError`` for other images or classes."""
        if not np.array_equal(self.truth, other.truth):
            raise ValueError("two models can only be compared on the same images and classes")
        ranked = Ranked(np.concatenate([self.scores, other.scores]), np.concatenate([self.truth, self.truth]))
        n = len(self.scores)

        def score(places: Indices, rows: Indices) -> float:  # sorted once; where each image's output stands is swapped
            return self._score(ranked, np.bincount(places[rows], minlength=2 * n).astype(float))

        return significance.paired_of(score, np.arange(n), np.arange(n, 2 * n))

    def _score(self, ranked: Ranked, weights: Doubles) -> float:
        return ranked.roc_auc(weights) if self.metric == "roc-auc" else ranked.map_11_point(weights)


def of_classification(found: Classification) -> Ratios | Ranking:
    """The outputs behind a classification."""
    contributions = found.contributions()
    if contributions is not None:
        return Ratios(contributions)
    if found.scores is None or found.truth is None:
        raise ValueError(f"{found.metric}: no scores were kept")
    return Ranking(found.metric, found.scores, found.truth)
