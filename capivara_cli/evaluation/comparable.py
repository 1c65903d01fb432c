"""The outputs of a model image by image, for the interval of its score and a paired test against another model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from capivara_cli.evaluation import significance
from capivara_cli.evaluation.metrics import Doubles, Flags, Indices, Rankings
from capivara_cli.evaluation.significance import Contributions, Paired
from capivara_cli.evaluation.zeroshot import Classification


@dataclass(frozen=True, eq=False)
class RatioOutputs:
    """The outputs behind a score that is a mean of ratios over images: recall, accuracy, mean per class."""

    contributions: Contributions

    def interval(self) -> tuple[float, float]:
        return significance.interval(self.contributions)

    def against(self, other: RatioOutputs) -> Paired:
        """How much better ``other`` is on the same images."""
        return significance.paired(self.contributions, other.contributions)


@dataclass(frozen=True, eq=False)
class RankingOutputs:
    """The outputs behind a score that ranks all images, 11-point mAP or ROC AUC: ``scores`` and ``truth`` [N, C]."""

    metric: str
    scores: Doubles
    truth: Flags

    def interval(self) -> tuple[float, float]:
        ranked = Rankings(self.scores, self.truth)
        n = len(self.scores)

        def score(rows: Indices) -> float:
            return self._score(ranked, np.bincount(rows, minlength=n).astype(float))

        return significance.interval_of(score, n)

    def against(self, other: RankingOutputs) -> Paired:
        """How much better ``other`` is. Raises ``ValueError`` for other images or classes."""
        if not np.array_equal(self.truth, other.truth):
            raise ValueError("two models can only be compared on the same images and classes")
        ranked = Rankings(np.concatenate([self.scores, other.scores]), np.concatenate([self.truth, self.truth]))
        n = len(self.scores)

        def score(places: Indices, rows: Indices) -> float:  # sorted once; each permutation only swaps places
            return self._score(ranked, np.bincount(places[rows], minlength=2 * n).astype(float))

        return significance.paired_of(score, np.arange(n), np.arange(n, 2 * n))

    def _score(self, ranked: Rankings, weights: Doubles) -> float:
        return ranked.roc_auc(weights) if self.metric == "roc-auc" else ranked.map_11_point(weights)


def of_classification(found: Classification) -> RatioOutputs | RankingOutputs:
    """The outputs behind a classification, of the kind that its metric needs."""
    contributions = found.contributions()
    if contributions is not None:
        return RatioOutputs(contributions)
    if found.scores is None or found.truth is None:
        raise ValueError(f"{found.metric}: no scores were kept")
    return RankingOutputs(found.metric, found.scores, found.truth)
