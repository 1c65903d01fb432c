"""The metrics of classification, as fractions from 0 to 1, for the sets of ELEVATER and similar ones.

The ranking metrics (average precision, ROC AUC) are computed from counts: for each distinct score, from the best down,
the number of images and of positives among them. Images with equal scores are tied, so no result depends on their
order, and a bootstrap sample needs only new counts, not another sort.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import numpy.typing as npt

from capivara_cli.errors import CapivaraError, unknown
from capivara_cli.evaluation.evalset import Metric

Scores = npt.NDArray[np.floating]
Doubles = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_TENTHS = np.arange(1, 11)  # of recall


def check_metric(metric: str) -> None:
    """Raise ``CapivaraError`` for an unknown metric."""
    if metric not in get_args(Metric):
        raise unknown("metric", metric, get_args(Metric))


def multi_hot(labels: Sequence[Sequence[int]], n_classes: int) -> Flags:
    """The truth, bool [N, C], of images with several classes or none. Raises ``CapivaraError`` as ``check_labels``."""
    check_labels(np.array([label for of_image in labels for label in of_image], np.int64), n_classes)
    truth = np.zeros((len(labels), n_classes), dtype=bool)
    for row, of_image in enumerate(labels):
        truth[row, list(of_image)] = True
    return truth


def check_labels(labels: Indices, n_classes: int) -> None:
    """Raise ``CapivaraError`` for a label outside 0 to ``n_classes`` - 1; ``labels`` is [N]."""
    if len(labels) and (labels.min() < 0 or labels.max() >= n_classes):
        wrong = int(labels.min() if labels.min() < 0 else labels.max())
        raise CapivaraError(
            f"an image has class {wrong}, and there are {n_classes} class names: 0 to {n_classes - 1}",
            "the list lacks a name, or belongs to another data set",
        )


# --- accuracy ---
def above_and_tied(scores: Scores, labels: Indices, tie: float = 0.0) -> tuple[Indices, Indices]:
    """Per image [N]: the number of classes that score above its true class, and of those that tie, itself included.

    ``scores`` [N, C], ``labels`` [N]. Scores that differ by at most ``tie`` are tied.
    """
    own = np.take_along_axis(scores, labels[:, None], axis=1)
    above = (scores > own + tie).sum(axis=1)
    return above, (scores >= own - tie).sum(axis=1) - above


def expected_hits(above: Indices, equal: Indices, k: int) -> Doubles:
    """The probability [N] that the true class is among the first k if tied classes are in random order.

    ``above`` and ``equal`` are as in ``above_and_tied``.
    """
    return np.clip((k - above) / equal, 0, 1)


def mean_per_class_recall(hits: Doubles, labels: Indices) -> float:
    """The mean over the classes that occur of their recall (scikit-learn's balanced accuracy).

    ``hits`` [N]: whether each image is classified correctly, a fraction for ties. ``labels`` [N].
    """
    counts = np.bincount(labels)
    return float((np.bincount(labels, weights=hits)[counts > 0] / counts[counts > 0]).mean())


# --- ranking ---
@dataclass(frozen=True)
class ScoreCounts:
    """Counts at each of G distinct scores, best first: ``images`` [G], and the ``positives`` [G] among them."""

    images: Doubles
    positives: Doubles


class ClassRanking:
    """Images [N] sorted by their score for one class. They are sorted once and can be counted with many weights."""

    def __init__(self, scores: Scores, truth: Flags) -> None:
        distinct, place = np.unique(-scores, return_inverse=True)
        self._size, self._place = len(distinct), place
        self._positive = np.flatnonzero(truth)

    def counts(self, weights: Doubles | None = None) -> ScoreCounts:
        """The counts if image n occurs ``weights[n]`` times; None: each once."""
        once = np.ones(len(self._place)) if weights is None else weights
        positives = np.bincount(self._place[self._positive], once[self._positive], minlength=self._size)
        return ScoreCounts(
            np.bincount(self._place, once, minlength=self._size).astype(np.float64), positives.astype(np.float64)
        )


def _precision(counts: ScoreCounts) -> tuple[Doubles, Doubles]:
    """The number of positives [G] and the precision [G] of the list that ends after each score."""
    found = counts.positives.cumsum()
    return found, found / np.maximum(counts.images.cumsum(), 1)


def average_precision(counts: ScoreCounts) -> float:
    """The mean over the positives of the precision at their score; NaN without positives.

    Equals scikit-learn's ``average_precision_score``. It also equals CLIP_benchmark's if there are no ties; with ties,
    CLIP_benchmark's depends on the order of the images.
    """
    found, precision = _precision(counts)
    total = found[-1] if len(found) else 0.0
    return float((counts.positives * precision).sum() / total) if total else float("nan")


def average_precision_11_point(counts: ScoreCounts) -> float:
    """The mean over the recalls 0, 0.1, … 1 of the best precision at that recall or more; NaN without positives.

    Equals ``vision_evaluation``, with which ELEVATER and CAPIVARA score Pascal VOC 2007. There the precision at recall
    0 is always 1. The development kit of VOC uses the best precision of any list instead. The results differ, by at
    most 1/11, only if no list has precision 1.
    """
    found, precision = _precision(counts)
    total = found[-1] if len(found) else 0.0
    if not total:
        return float("nan")
    reached = np.searchsorted(10 * found, _TENTHS * total)  # in whole numbers: 3 of 10 is a recall of 0.3
    best = [precision[first:].max() for first in reached]
    return float((1 + sum(best)) / (1 + len(best)))


def roc_auc(counts: ScoreCounts) -> float:
    """The share of (positive, negative) pairs in which the positive scores higher; a tie counts half.

    NaN without such a pair. Equals scikit-learn's ``roc_auc_score``.
    """
    negatives = counts.images - counts.positives
    pairs = counts.positives.sum() * negatives.sum()
    if not pairs:
        return float("nan")
    below = negatives.sum() - negatives.cumsum()
    return float((counts.positives * (below + negatives / 2)).sum() / pairs)


class Rankings:
    """Images ranked for each class, and the means of ranking metrics over the classes."""

    def __init__(self, scores: Scores, truth: Flags) -> None:
        """``scores`` and ``truth`` are [N, C]."""
        self._rankings = [ClassRanking(*columns) for columns in zip(scores.T, truth.T, strict=True)]

    def average_precision(self, weights: Doubles | None = None) -> float:
        """The mean of ``average_precision`` over the classes that occur; NaN if none does."""
        return _mean([average_precision(each.counts(weights)) for each in self._rankings])

    def map_11_point(self, weights: Doubles | None = None) -> float:
        """The mean of ``average_precision_11_point`` over the classes that occur; NaN if none does."""
        return _mean([average_precision_11_point(each.counts(weights)) for each in self._rankings])

    def roc_auc(self, weights: Doubles | None = None) -> float:
        """The area under the ROC curve for class 1 of two."""
        return roc_auc(self._rankings[1].counts(weights))


def _mean(values: list[float]) -> float:
    kept = [value for value in values if not np.isnan(value)]
    return float(np.mean(kept)) if kept else float("nan")


def log_odds(scores: Scores, scale: float) -> Doubles:
    """log(p / (1 - p)) [N, C], where p is the softmax over the classes of ``scale`` times ``scores`` [N, C].

    It ranks images as p does. But p rounds to 1 if a logit is 37 higher than the others, and then images would tie.
    """
    logits = scale * scores.astype(np.float64)
    best = logits.argmax(axis=1)[:, None]
    top = np.take_along_axis(logits, best, axis=1)
    odds = np.exp(logits - top)
    others = odds.sum(axis=1, keepdims=True) - odds
    np.put_along_axis(odds, best, 0.0, axis=1)
    np.put_along_axis(others, best, odds.sum(axis=1, keepdims=True), axis=1)  # 1 - p without cancellation
    with np.errstate(divide="ignore"):  # with one class, p is 1
        return np.asarray(logits - top - np.log(others))
