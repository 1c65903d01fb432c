"""Zero-shot classification: a class is the mean of its prompts (Radford et al. 2021, section 3.1.4).

Each prompt is embedded and L2-normalised, the prompts of a class are averaged, and the mean is normalised again: as
in open_clip and CLIP_benchmark. Ties count by expectation, as in ``retrieval``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from capivara_cli.errors import CapivaraError

Floats = npt.NDArray[np.float32]
_ROWS = 4096  # images scored at a time


@dataclass(frozen=True)
class Classification:
    """Accuracies as fractions from 0 to 1. ``top5`` is None with fewer than five classes, where it says nothing."""

    top1: float
    top5: float | None
    mean_per_class: float  # recall of each class that occurs, averaged: sklearn's balanced accuracy
    n_images: int
    n_classes: int


def check_names(names: Sequence[str], source: str) -> None:
    """Raise ``CapivaraError`` unless there are at least two class names, none empty, no two the same.

    Two classes of one name cannot be told apart by any model: published label lists carry such slips unnoticed.
    """
    if len(names) < 2:
        raise CapivaraError(f"{source}: {len(names)} class names; at least two are needed")
    for index, name in enumerate(names):
        if not name.strip():
            raise CapivaraError(f"{source}: class {index} has an empty name")
    doubled = [name for name, count in Counter(names).items() if count > 1]
    if doubled:
        where = ", ".join(str(index) for index, name in enumerate(names) if name == doubled[0])
        more = f"; {len(doubled) - 1} more names repeat" if len(doubled) > 1 else ""
        raise CapivaraError(
            f"{source}: class name {doubled[0]!r} stands for classes {where}{more}",
            "give each class a name of its own",
        )


def check_templates(templates: Sequence[str], source: str) -> None:
    """Raise ``CapivaraError`` unless there is a template and each has a place for the class name."""
    if not templates:
        raise CapivaraError(f"{source}: no templates")
    for template in templates:
        if "{}" not in template and "{c}" not in template:
            raise CapivaraError(f"{source}: template {template!r} has no {{}} or {{c}} for the class name")


def prompt(template: str, name: str) -> str:
    """The template with its ``{}`` or ``{c}`` replaced; any other brace stays as it is."""
    return template.replace("{c}", name) if "{c}" in template else template.replace("{}", name)


def class_vectors(embed_texts: Callable[[list[str]], Floats], names: Sequence[str], templates: Sequence[str]) -> Floats:
    """One L2-normalised vector per class, [C, d]: the mean of its normalised prompts, normalised."""
    prompts = embed_texts([prompt(template, name) for name in names for template in templates])
    means = prompts.reshape(len(names), len(templates), -1).mean(axis=1)
    norms = np.linalg.norm(means, axis=1, keepdims=True)
    return (means / np.maximum(norms, 1e-12)).astype(np.float32)


def classify(images: Floats, labels: Sequence[int], classes: Floats) -> Classification:
    """Accuracy of ``images`` [N, d] with class ``labels`` [N] against class vectors ``classes`` [C, d].

    Raises ``CapivaraError`` for a label that names no class, for no images at all, for embeddings of another size or
    that are not finite.
    """
    truth = np.asarray(labels, dtype=np.int64)
    _check(images, truth, classes)
    above = np.empty(len(images), np.int64)
    equal = np.empty(len(images), np.int64)
    for start in range(0, len(images), _ROWS):
        rows = slice(start, start + _ROWS)
        scores = images[rows].astype(np.float32, copy=False) @ classes.T
        own = np.take_along_axis(scores, truth[rows, None], axis=1)
        above[rows] = (scores > own).sum(axis=1)
        equal[rows] = (scores == own).sum(axis=1)
    top1 = np.clip((1 - above) / equal, 0, 1)
    top5 = np.clip((5 - above) / equal, 0, 1)
    counts = np.bincount(truth, minlength=len(classes))
    per_class = np.bincount(truth, weights=top1, minlength=len(classes))[counts > 0] / counts[counts > 0]
    return Classification(
        float(top1.mean()),
        float(top5.mean()) if len(classes) >= 5 else None,
        float(per_class.mean()),
        len(images),
        len(classes),
    )


def _check(images: Floats, truth: npt.NDArray[np.int64], classes: Floats) -> None:
    if not len(images):
        raise CapivaraError("no image has a class", "a class is an integer in a cls member or in json under class")
    if images.shape[1] != classes.shape[1]:
        raise CapivaraError(
            f"image embeddings have {images.shape[1]} numbers and class embeddings {classes.shape[1]}: "
            "they are not of the same model"
        )
    if truth.min() < 0 or truth.max() >= len(classes):
        wrong = int(truth.min() if truth.min() < 0 else truth.max())
        raise CapivaraError(
            f"an image has class {wrong}, and there are {len(classes)} class names: 0 to {len(classes) - 1}",
            "a name is missing in the list, or the list belongs to another data set",
        )
    if not np.isfinite(images).all() or not np.isfinite(classes).all():
        raise CapivaraError("the model gives embeddings that are not finite numbers")
