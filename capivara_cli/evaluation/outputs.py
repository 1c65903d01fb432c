"""The outputs of a model per image, which give the interval of its score and a paired test against another model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from capivara_cli.evaluation import significance
from capivara_cli.evaluation.metrics import Doubles, Flags, Indices, Rankings
from capivara_cli.evaluation.significance import Contributions, Paired
from capivara_cli.evaluation.zeroshot import Classification


@dataclass(frozen=True, eq=False)
class RatioOutputs:
    """The outputs for a score that is a mean of ratios over images: recall, accuracy, mean per class."""

    contributions: Contributions

    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the score, as fractions."""
        return significance.interval(self.contributions)

    def compared_with(self, other: RatioOutputs) -> Paired:
        """The paired test of ``other`` against this model. Raises ``ValueError`` for other images."""
        return significance.paired(self.contributions, other.contributions)


@dataclass(frozen=True, eq=False)
class RankingOutputs:
    """The outputs for a score that ranks all images, 11-point mAP or ROC AUC: ``scores`` and ``truth`` [N, C]."""

    metric: str
    scores: Doubles
    truth: Flags

    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the score, as fractions."""
        ranked = Rankings(self.scores, self.truth)
        n = len(self.scores)

        def score(rows: Indices) -> float:
            return self._score(ranked, np.bincount(rows, minlength=n).astype(float))

        return significance.interval_of(score, n)

    def compared_with(self, other: RankingOutputs) -> Paired:
        """The paired test of ``other`` against this model. Raises ``ValueError`` for other images or classes."""
        if not np.array_equal(self.truth, other.truth):
            raise ValueError("two models can only be compared on the same images and classes")
        ranked = Rankings(np.concatenate([self.scores, other.scores]), np.concatenate([self.truth, self.truth]))
        n = len(self.scores)

        def score(outputs: Indices, rows: Indices) -> float:  # sorted once; a permutation only swaps indexes
            return self._score(ranked, np.bincount(outputs[rows], minlength=2 * n).astype(float))

        return significance.paired_of(score, np.arange(n), np.arange(n, 2 * n))

    def _score(self, ranked: Rankings, weights: Doubles) -> float:
        return ranked.roc_auc(weights) if self.metric == "roc-auc" else ranked.map_11_point(weights)


Outputs = RatioOutputs | RankingOutputs


def paired(first: Outputs, second: Outputs) -> Paired:
    """The paired test of the second model against the first.

    Raises ``ValueError`` unless both have the same kind of outputs for the same images.
    """
    if isinstance(first, RatioOutputs) and isinstance(second, RatioOutputs):
        return first.compared_with(second)
    if isinstance(first, RankingOutputs) and isinstance(second, RankingOutputs):
        return first.compared_with(second)
    raise ValueError("two models can only be compared by the same score")


def of_classification(found: Classification) -> Outputs:
    """The outputs of a classification, of the kind that its metric needs."""
    contributions = found.contributions()
    if contributions is not None:
        return RatioOutputs(contributions)
    if found.scores is None or found.truth is None:
        raise ValueError(f"{found.metric}: no scores were kept")
    return RankingOutputs(found.metric, found.scores, found.truth)
