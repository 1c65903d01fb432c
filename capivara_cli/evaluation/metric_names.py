"""The names of the metrics of ``eval.json`` in tables, on the Hugging Face hub, and in sentences."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class MetricName:
    """The names of one metric.

    ``short``: for narrow columns. ``hub``: its type on the hub. ``field``: its key in a row. ``meaning``: a sentence.
    """

    name: str
    short: str
    hub: str
    field: str
    meaning: str


METRICS = {
    "mean_recall": MetricName(
        "mean recall", "mean recall", "recall", "mean_recall",
        "R@k: the share of texts whose image (of images, one of whose texts) is among the k most similar ones; mean "
        "recall: the mean of both directions and all k",
    ),
    "accuracy": MetricName(
        "accuracy", "top-1", "accuracy", "top1", "accuracy: the share of images whose class is the most similar one"
    ),
    "mean-per-class": MetricName(
        "mean per class", "per class", "mean_per_class_accuracy", "mean_per_class",
        "mean per class: accuracy within each class, averaged over classes",
    ),
    "map-11-point": MetricName(
        "11-point mAP", "11-pt mAP", "mean_average_precision", "map_11_point",
        "11-point mAP: as PASCAL VOC 2007, averaged over classes",
    ),
    "roc-auc": MetricName(
        "ROC AUC", "ROC AUC", "roc_auc", "roc_auc",
        "ROC AUC: the chance that a positive image scores above a negative one",
    ),
}  # fmt: skip
DIRECTIONS = {"text_to_image": "text to image", "image_to_text": "image to text"}
"""The names of the directions of retrieval, by their keys in a ``RetrievalRow``."""
ARROWS = {"text_to_image": "T→I", "image_to_text": "I→T"}
"""The same names for narrow columns."""


def of_metric(metric: str) -> MetricName:
    """The names of a metric; for one that is not in ``METRICS``, ``metric`` itself."""
    return METRICS.get(metric) or MetricName(metric, metric, metric, "", metric)
