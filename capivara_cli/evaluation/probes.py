"""Probes of frozen image embeddings: a linear classifier, and few-shot episodes.

Both use L2-normalised embeddings. CLIP's own linear probe uses the features before the projection into the common space
(Radford et al. 2021, appendix A.3), which have more dimensions, so its published scores differ.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from capivara_cli.errors import CapivaraError
from capivara_cli.evaluation.evalset import Metric
from capivara_cli.evaluation.metrics import Doubles, Flags, Indices, check_labels
from capivara_cli.evaluation.zeroshot import Classification, Scale, scored

if TYPE_CHECKING:
    from capivara_cli.evaluation.significance import Contributions

Floats = npt.NDArray[np.float32]

_DECADES = 6  # C goes from 10**-6 to 10**6
_STEPS = 8  # per decade, in the last round of the search
_HELD_OUT = 0.2
_ITERATIONS = 1000
_ROWS = 4096  # images scored at a time
_EPISODES = 256  # computed at a time


@dataclass(frozen=True, eq=False)
class Labelled:
    """Embeddings [N, d], and the class of each image [N] or its classes, bool [N, C]."""

    images: Floats
    truth: Indices | Flags

    def rows(self, which: npt.NDArray[np.bool_]) -> Labelled:
        """The images for which ``which`` [N] is true."""
        return Labelled(self.images[which], self.truth[which])

    def __add__(self, other: Labelled) -> Labelled:
        return Labelled(np.concatenate([self.images, other.images]), np.concatenate([self.truth, other.truth]))


# --- linear probe ---
@dataclass(frozen=True, eq=False)
class LinearProbe:
    """The classification of the test images, and how the probe was fitted.

    ``cost``: scikit-learn's C, the inverse strength of the L2 penalty. ``swept``: each C tried -> its validation score.
    ``n_train``: the number of images of the final fit; ``n_val``: how many of them were used to choose C.
    ``converged``: whether the final fit ended before its last iteration.
    """

    test: Classification
    cost: float
    swept: dict[float, float]
    n_train: int
    n_val: int
    converged: bool


@dataclass(frozen=True, eq=False)
class _Classifier:
    """Linear scores ``images @ weights.T + bias``, for a softmax over ``exclusive`` classes or a sigmoid per class."""

    weights: Floats
    bias: Floats
    exclusive: bool
    converged: bool

    def evaluate(self, on: Labelled, metric: Metric) -> Classification:
        weights = self.weights.astype(np.float64)
        blocks = (on.images[start : start + _ROWS] @ weights.T + self.bias for start in range(0, len(on.images), _ROWS))
        return scored(blocks, on.truth, metric, Scale(len(self.bias), 1.0 if self.exclusive else None))


def linear_probe(
    train: Labelled, test: Labelled, n_classes: int, metric: Metric, val: Labelled | None = None, seed: int = 0
) -> LinearProbe:
    """Fit logistic regression with an L2 penalty on frozen embeddings, and classify ``test``.

    C has the best ``metric`` on ``val``, or on a fifth of each class of ``train`` drawn with ``seed``. The search tries
    1e-6, 1e-4, … 1e6, then halves the interval around the best C down to eight steps per decade; it takes the smallest
    of tied values. The final classifier is fitted on both parts. Images with one class each get one multinomial
    regression, images with several classes one regression per class, by scikit-learn's L-BFGS with at most 1,000
    iterations. Source: Radford et al. 2021, appendix A.3.

    Raises ``CapivaraError`` for embeddings of different sizes, for a label out of range, and for too few images.
    """
    for part in (train, test) if val is None else (train, test, val):
        _check(part, train)
        if part.truth.ndim == 1:
            check_labels(part.truth.astype(np.int64), n_classes)
    fitted, held_out = (train, val) if val is not None else _split(train, seed)
    swept = _sweep(lambda cost: _fit(fitted, n_classes, cost).evaluate(held_out, metric).score)
    cost = max(sorted(swept), key=lambda each: swept[each])
    both = fitted + held_out
    final = _fit(both, n_classes, cost)
    return LinearProbe(
        final.evaluate(test, metric), cost, swept, len(both.images), len(held_out.images), final.converged
    )


def _check(part: Labelled, train: Labelled) -> None:
    if part.images.shape[1] != train.images.shape[1]:
        raise CapivaraError(
            f"training embeddings have {train.images.shape[1]} numbers and others {part.images.shape[1]}: "
            "they come from different models"
        )
    if part.truth.ndim != train.truth.ndim:
        raise CapivaraError("some images have one class and others a list of classes: a probe needs all of one kind")
    if not np.isfinite(part.images).all():
        raise CapivaraError("the model gives embeddings that are not finite numbers")


def _split(train: Labelled, seed: int) -> tuple[Labelled, Labelled]:
    """The training part and the validation part, a fifth of each class or, with several classes per image, of all."""
    rng = np.random.default_rng(seed)
    groups = train.truth if train.truth.ndim == 1 else np.zeros(len(train.truth), np.int64)
    held_out = np.zeros(len(groups), dtype=bool)
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        if len(members) > 1:
            held_out[rng.permutation(members)[: max(1, int(_HELD_OUT * len(members)))]] = True
    if not held_out.any():
        raise CapivaraError(
            f"a linear probe needs two training images of some class, and there are {len(groups)} images in all"
        )
    return train.rows(~held_out), train.rows(held_out)


def _sweep(score: Callable[[float], float]) -> dict[float, float]:
    """C -> score for every C that the search tries: one per two decades, then half steps around the best."""
    found: dict[int, float] = {}  # by exponent, in units of 1 / _STEPS
    step, limit = 2 * _STEPS, _DECADES * _STEPS
    exponents = range(-limit, limit + 1, step)
    while True:
        for exponent in exponents:
            if exponent not in found and abs(exponent) <= limit:
                found[exponent] = score(10 ** (exponent / _STEPS))
        if step == 1:
            return {10 ** (exponent / _STEPS): found[exponent] for exponent in sorted(found)}
        step //= 2
        best = max(sorted(found), key=lambda exponent: found[exponent])
        exponents = range(best - step, best + step + 1, step)


def _fit(train: Labelled, n_classes: int, cost: float) -> _Classifier:
    """Fit all classes of ``train``. A class without images is never predicted."""
    exclusive = train.truth.ndim == 1
    weights = np.zeros((n_classes, train.images.shape[1]), np.float32)
    bias = np.full(n_classes, -np.inf, np.float32)
    if exclusive:
        known = np.unique(train.truth)
        if len(known) < 2:
            raise CapivaraError(f"a linear probe needs training images of two classes, and all are of class {known[0]}")
        weights[known], bias[known], converged = _regression(train.images, train.truth, cost)
        return _Classifier(weights, bias, exclusive, converged)
    all_converged = True
    for index in np.flatnonzero(train.truth.any(axis=0) & ~train.truth.all(axis=0)):
        found_weights, found_bias, converged = _regression(train.images, train.truth[:, index], cost)
        weights[index], bias[index] = found_weights[1], found_bias[1]
        all_converged &= converged
    return _Classifier(weights, bias, exclusive, all_converged)


def _regression(images: Floats, truth: npt.NDArray[np.generic], cost: float) -> tuple[Floats, Floats, bool]:
    """Weights [C, d] and biases [C] of the classes that occur (at least two), and whether the fit converged."""
    from sklearn.exceptions import ConvergenceWarning  # the import takes half a second, and only probes need it
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # reported as ``converged``
        fitted = LogisticRegression(C=cost, max_iter=_ITERATIONS).fit(images, truth)
    weights, bias = fitted.coef_, fitted.intercept_
    if len(weights) == 1:  # of two classes, scikit-learn has weights for the second only; the first gets zeros
        weights, bias = np.concatenate([0 * weights, weights]), np.concatenate([0 * bias, bias])
    return weights.astype(np.float32), bias.astype(np.float32), bool((fitted.n_iter_ < _ITERATIONS).all())


# --- few-shot ---
@dataclass(frozen=True)
class Episodes:
    """``count`` episodes of ``way`` classes, with ``shot`` examples and ``queries`` test images per class."""

    way: int = 5
    shot: int = 5
    queries: int = 6
    count: int = 5000
    seed: int = 0


@dataclass(frozen=True, eq=False)
class FewShot:
    """Mean accuracy over the episodes, and its 95 % interval: 1.96 standard errors to either side.

    The interval covers the random choice of episodes, not of images, so it shrinks with more episodes on the same
    images. ``accuracies`` [E]: the accuracy of each episode; two models with the same images and seed get the same
    episodes. ``n_excluded``: the number of classes with too few images.
    """

    accuracy: float
    interval: tuple[float, float]
    accuracies: Doubles
    episodes: Episodes
    n_classes: int
    n_excluded: int

    def contributions(self) -> Contributions:
        """The contribution of each episode to the mean, for paired tests over episodes."""
        from capivara_cli.evaluation.significance import Contributions

        return Contributions(self.accuracies[None], np.ones((1, len(self.accuracies))))


def few_shot(train: Labelled, test: Labelled | None = None, episodes: Episodes | None = None) -> FewShot:
    """N-way K-shot accuracy, as LaCLIP reports it, by the protocol of El Banani et al. (2023).

    An episode has ``way`` classes, each with ``shot`` examples from ``train`` and ``queries`` test images from
    ``test``. Without ``test``, both come from ``train``, and no image occurs twice in an episode. All are centred on
    the mean of the episode's examples and L2-normalised. The prototype of a class is the mean of its examples, and the
    prediction is the nearest prototype (SimpleShot, Wang et al. 2019, arXiv 1911.04623). A test image with m nearest
    prototypes counts 1/m. The default numbers are those of the code of "Learning Visual Representations via
    Language-Guided Sampling" (configs/evaluation.yaml and lgssl/evaluation/fewshot.py of mbanani/lgssl).

    Classes with too few images are excluded; that code uses fewer test images for them instead. Raises
    ``CapivaraError`` if fewer than N classes remain.
    """
    plan = episodes or Episodes()
    for part in (train, test or train):
        _check(part, train)
        if part.truth.ndim != 1:
            raise CapivaraError("few-shot needs exactly one class per image; some images have several or none")
    classes, n_excluded = _classes(train, test, plan)
    accuracies = np.concatenate([_accuracies(*drawn, plan) for drawn in _draw(train, test, classes, plan)])
    mean, error = float(accuracies.mean()), float(accuracies.std() / math.sqrt(len(accuracies)))
    interval = (max(0.0, mean - 1.96 * error), min(1.0, mean + 1.96 * error))
    return FewShot(mean, interval, accuracies, plan, len(classes), n_excluded)


def _classes(train: Labelled, test: Labelled | None, plan: Episodes) -> tuple[Indices, int]:
    """The classes with enough images, and the number of others."""
    wanted = plan.shot if test is not None else plan.shot + plan.queries
    found, counts = np.unique(train.truth, return_counts=True)
    enough = set(found[counts >= wanted].tolist())
    if test is not None:
        tested, counts = np.unique(test.truth, return_counts=True)
        enough &= set(tested[counts >= plan.queries].tolist())
        found = np.union1d(found, tested)
    if len(enough) < plan.way:
        raise CapivaraError(
            f"episodes of {plan.way} classes with {plan.shot} examples and {plan.queries} test images each: "
            f"{len(enough)} of {len(found)} classes have enough images"
        )
    return np.array(sorted(enough), np.int64), len(found) - len(enough)


def _draw(train: Labelled, test: Labelled | None, classes: Indices, plan: Episodes) -> Iterator[tuple[Floats, Floats]]:
    """Blocks of episodes: embeddings of examples [E, way, shot, d] and of test images [E, way, queries, d]."""
    rng = np.random.default_rng(plan.seed)
    pools = [_EpisodePool(part.truth, classes) for part in ((train,) if test is None else (train, test))]
    for start in range(0, plan.count, _EPISODES):
        n_episodes = min(_EPISODES, plan.count - start)
        chosen = rng.random((n_episodes, len(classes))).argsort(axis=1)[:, : plan.way]
        if test is None:
            rows = pools[0].draw(chosen, plan.shot + plan.queries, rng)
            yield train.images[rows[..., : plan.shot]], train.images[rows[..., plan.shot :]]
        else:
            examples = pools[0].draw(chosen, plan.shot, rng)
            yield train.images[examples], test.images[pools[1].draw(chosen, plan.queries, rng)]


class _EpisodePool:
    """The images of each class, to draw from without replacement."""

    def __init__(self, labels: npt.NDArray[np.generic], classes: Indices) -> None:
        self._order = np.argsort(labels, kind="stable")
        self._start = np.searchsorted(labels[self._order], classes)
        self._size = np.searchsorted(labels[self._order], classes, side="right") - self._start

    def draw(self, chosen: Indices, count: int, rng: np.random.Generator) -> Indices:
        """Rows [E, way, count] of distinct images of the ``chosen`` classes [E, way], in random order.

        Floyd's sampling (Bentley and Floyd 1987), for all classes of all episodes at once.
        """
        size = self._size[chosen]
        drawn = np.empty((*chosen.shape, count), np.int64)
        for number in range(count):
            last = size - count + number
            index = rng.integers(0, last + 1)
            taken = (drawn[..., :number] == index[..., None]).any(axis=-1)
            drawn[..., number] = np.where(taken, last, index)
        return self._order[self._start[chosen][..., None] + rng.permuted(drawn, axis=-1)]


def _accuracies(examples: Floats, tested: Floats, plan: Episodes) -> Doubles:
    """The accuracy of each episode, [E]."""
    centre = examples.mean(axis=(1, 2), keepdims=True)
    prototypes = _unit(examples - centre).mean(axis=2)
    queries = _unit(tested - centre).reshape(len(tested), plan.way * plan.queries, -1)
    near = 2 * queries @ prototypes.transpose(0, 2, 1) - (prototypes**2).sum(axis=-1)[:, None]  # [E, way·queries, way]
    own = np.take_along_axis(near, np.arange(plan.way).repeat(plan.queries)[None, :, None], axis=2)
    best = (near >= own).sum(axis=2) == (near == own).sum(axis=2)
    return np.asarray((best / (near == own).sum(axis=2)).mean(axis=1), np.float64)


def _unit(vectors: Floats) -> Floats:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
