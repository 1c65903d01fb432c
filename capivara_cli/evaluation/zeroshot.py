"""Zero-shot classification by the mean of the prompts of each class (Radford et al. 2021, section 3.1.4).

Each prompt is embedded and L2-normalised, the prompts of a class are averaged, and the mean is normalised again, as in
open_clip and CLIP_benchmark. Ties are scored by expectation, as in ``retrieval``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from capivara_cli.errors import CapivaraError
from capivara_cli.evaluation import metrics
from capivara_cli.evaluation.evalset import Metric
from capivara_cli.evaluation.metric_names import of_metric
from capivara_cli.evaluation.metrics import Doubles, Flags, Indices, Scores
from capivara_cli.evaluation.retrieval import TIE

if TYPE_CHECKING:
    from capivara_cli.evaluation.significance import Contributions

Floats = npt.NDArray[np.float32]
Truth = Sequence[int] | Indices | Flags
"""The class of each image [N], or its classes, bool [N, C]."""

SCALE = 100.0
"""CLIP's factor on cosines before the softmax, with which ELEVATER ranks images for mAP and ROC AUC."""
_RANKING = ("map-11-point", "roc-auc")
_ROUNDING = 9  # decimals of scores that rank images, because BLAS computes the same dot product in several ways
_ROWS = 4096  # images scored at a time
_BELOW_COSINES = -2.0
_PROMPTS = 8192  # prompts embedded at a time


@dataclass(frozen=True, eq=False)
class Classification:
    """Scores as fractions from 0 to 1, None for those that do not apply; ``score`` is the value of ``metric``.

    ``top1``, ``top5`` and ``mean_per_class`` (mean recall over the classes that occur) need one class per image, and
    ``top5`` at least five classes. ``map_11_point`` and ``average_precision`` are for images with several classes; the
    first ranks images by the softmax over classes, as CAPIVARA does, the second by the cosine, as CLIP_benchmark does.

    ``predicted`` [N]: the class with the best score, the first of tied ones. ``labels`` [N]: the true classes. ``hits``
    [N]: what each image contributes to top-1, a fraction if classes tie. ``scores`` [N, C], which rank the images, and
    ``truth`` [N, C] are kept only for mAP and ROC AUC, which are not sums over images.
    """

    metric: Metric
    score: float
    n_images: int
    n_classes: int
    predicted: Indices
    top1: float | None = None
    top5: float | None = None
    mean_per_class: float | None = None
    map_11_point: float | None = None
    average_precision: float | None = None
    roc_auc: float | None = None
    labels: Indices | None = None
    hits: Doubles | None = None
    scores: Doubles | None = None
    truth: Flags | None = None

    def contributions(self) -> Contributions | None:
        """The contributions of each image to accuracy (one part) or mean per class (one per class); None for others."""
        from capivara_cli.evaluation.significance import Contributions

        if self.hits is None or self.labels is None or self.scores is not None:
            return None
        if self.metric == "accuracy":
            return Contributions(self.hits[None], np.ones((1, self.n_images)))
        counts = (np.unique(self.labels)[:, None] == self.labels).astype(np.float64)
        return Contributions(counts * self.hits, counts)


def prompt(template: str, name: str) -> str:
    """The template with its ``{}`` or ``{c}`` replaced by the class name; other braces stay."""
    return template.replace("{c}", name) if "{c}" in template else template.replace("{}", name)


def class_vectors(embed_texts: Callable[[list[str]], Floats], names: Sequence[str], templates: Sequence[str]) -> Floats:
    """One L2-normalised vector per class [C, d]: the normalised mean of its prompts.

    ``embed_texts`` maps P texts to unit vectors [P, d]. It gets some thousands of prompts at a time, so the memory does
    not grow with the number of classes and templates.
    """
    step = max(1, _PROMPTS // len(templates))
    means = [
        embed_texts([prompt(template, name) for name in block for template in templates])
        .reshape(len(block), len(templates), -1)
        .mean(axis=1)
        for block in (names[start : start + step] for start in range(0, len(names), step))
    ]
    vectors = np.concatenate(means)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.maximum(norms, 1e-12)).astype(np.float32)


def classify(
    images: Floats, truth: Truth, classes: Floats, metric: Metric = "accuracy", unnamed: int = 0
) -> Classification:
    """Classify ``images`` [N, d] by class vectors ``classes`` [C, d], and score that by ``metric``.

    ``unnamed``: the number of further classes without a name, which are never predicted, so their images are misses.

    Raises ``CapivaraError`` for a label out of range, for no images, for embeddings of different sizes or that are not
    finite, and for a metric that does not fit the truth. Memory beyond the inputs: one block of scores, or for mAP and
    ROC AUC all scores [N, C].
    """
    if len(images) and images.shape[1] != classes.shape[1]:
        raise CapivaraError(
            f"image embeddings have {images.shape[1]} numbers and class embeddings {classes.shape[1]}: "
            "they come from different models"
        )
    if not np.isfinite(images).all() or not np.isfinite(classes).all():
        raise CapivaraError("the model gives embeddings that are not finite numbers")
    precision = np.float64 if metric in _RANKING else np.float32
    vectors = classes.astype(precision, copy=False)
    blocks = (
        np.pad(
            images[start : start + _ROWS].astype(precision, copy=False) @ vectors.T,
            ((0, 0), (0, unnamed)),
            constant_values=_BELOW_COSINES,
        )
        for start in range(0, len(images), _ROWS)
    )
    return scored(blocks, truth, metric, Scale(len(classes) + unnamed, SCALE, TIE))


@dataclass(frozen=True)
class Scale:
    """How to interpret scores.

    ``softmax``: the factor on scores before the softmax over ``n_classes``; None ranks images by the scores themselves.
    Scores of an image that differ by at most ``tie`` are tied.
    """

    n_classes: int
    softmax: float | None
    tie: float = 0.0


def scored(blocks: Iterable[Scores], truth: Truth, metric: Metric, scale: Scale) -> Classification:
    """The classification of images by their scores [N, C], which come in ``blocks`` of rows.

    Raises ``CapivaraError`` as ``classify``.
    """
    expected = np.asarray(truth)
    _check(expected, scale.n_classes, metric)
    labels = expected if expected.ndim == 1 else None
    predicted, above, equal, kept = _read(blocks, labels, scale.tie, metric in _RANKING)
    values: dict[str, Any] = {}
    if labels is not None:
        values |= _accuracies(labels, above, equal, scale.n_classes)
    if metric in _RANKING:
        flags = expected if labels is None else np.eye(scale.n_classes, dtype=bool)[labels]
        values |= _rankings(metric, kept, flags, scale.softmax)
    score = values[of_metric(metric).field]
    return Classification(metric, score, len(expected), scale.n_classes, predicted, labels=labels, **values)


def _read(
    blocks: Iterable[Scores], labels: Indices | None, tie: float, keep: bool
) -> tuple[Indices, Indices, Indices, Doubles]:
    """The predicted classes [N], the counts of ``metrics.above_and_tied``, and the scores [N, C] if ``keep``."""
    predicted: list[Indices] = []
    counts: list[tuple[Indices, Indices]] = []
    kept: list[Doubles] = [np.zeros((0, 0))]
    row = 0
    for block in blocks:
        predicted.append(block.argmax(axis=1))
        if labels is not None:
            counts.append(metrics.above_and_tied(block, labels[row : row + len(block)], tie))
        if keep:
            kept.append(np.asarray(block, np.float64).round(_ROUNDING))
        row += len(block)
    above, equal = np.concatenate(counts, axis=1) if counts else np.zeros((2, 0), np.int64)
    return np.concatenate(predicted), above, equal, np.concatenate(kept[1:] or kept)


def _accuracies(labels: Indices, above: Indices, equal: Indices, n_classes: int) -> dict[str, Any]:
    hits = metrics.expected_hits(above, equal, 1)
    return {
        "hits": hits,
        "top1": float(hits.mean()),
        "top5": float(metrics.expected_hits(above, equal, 5).mean()) if n_classes >= 5 else None,
        "mean_per_class": metrics.mean_per_class_recall(hits, labels),
    }


def _rankings(metric: Metric, raw: Doubles, truth: Flags, scale: float | None) -> dict[str, Any]:
    scores = raw if scale is None else metrics.log_odds(raw, scale)
    found: dict[str, Any] = {"scores": scores, "truth": truth}
    ranked = metrics.Rankings(scores, truth)
    if metric == "roc-auc":
        return {**found, "roc_auc": ranked.roc_auc()}
    return {
        **found,
        "map_11_point": ranked.map_11_point(),
        "average_precision": metrics.Rankings(raw, truth).average_precision(),
    }


def _check(truth: npt.NDArray[Any], n_classes: int, metric: Metric) -> None:
    metrics.check_metric(metric)
    if not len(truth):
        raise CapivaraError("no image has a class", "a class is an integer in a cls member or in json under class")
    if truth.ndim == 1:
        metrics.check_labels(truth, n_classes)
    elif truth.shape[1] != n_classes:
        raise CapivaraError(
            f"images have {truth.shape[1]} classes to choose from, and there are {n_classes} class names"
        )
    elif metric != "map-11-point":
        raise CapivaraError(
            f"{metric} needs exactly one class per image; some images have several or none",
            "images with several classes are scored by map-11-point",
        )
    if metric == "map-11-point" and truth.ndim == 2 and not truth.any():
        raise CapivaraError("no image has a class", "a class is an index in json under classes")
    if metric == "roc-auc":
        _check_two(truth, n_classes)


def _check_two(labels: Indices, n_classes: int) -> None:
    if n_classes != 2:
        raise CapivaraError(f"roc-auc needs two classes, and there are {n_classes} class names")
    if len(set(labels.tolist())) < 2:
        raise CapivaraError(
            f"roc-auc compares two classes, and all {len(labels)} images have class {labels[0]}",
            "use a split with images of both",
        )


def confusion(predicted: Indices, labels: Indices | Sequence[int], n_classes: int) -> Indices:
    """The confusion matrix [C, C]: numbers of images, with true classes as rows and predicted classes as columns."""
    pairs = np.asarray(labels, dtype=np.int64) * n_classes + predicted
    return np.bincount(pairs, minlength=n_classes * n_classes).reshape(n_classes, n_classes)


def confused(counts: Indices, limit: int = 20) -> list[tuple[int, int, int]]:
    """The most frequent mistakes in a confusion matrix: (true class, predicted class, images), then by class."""
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:limit]
    pairs = [divmod(int(index), len(wrong)) for index in order]
    return [(true, predicted, int(wrong[true, predicted])) for true, predicted in pairs if wrong[true, predicted]]
