"""The uncertainty of scores: bootstrap intervals, paired tests of two models, and Holm's adjustment for many tests.

An image is resampled together with all its captions, because they depend on each other: intervals from captions
resampled one by one would be too narrow.

Intervals are percentile intervals of the bootstrap (Efron and Tibshirani 1993, An Introduction to the Bootstrap,
chapter 13). Tests are two-sided permutation tests (Fisher 1935, The Design of Experiments, section 21; Good 2005,
Permutation, Parametric and Bootstrap Tests of Hypotheses). Under the null hypothesis the outputs of two models for an
image are exchangeable, so a permutation swaps them at random for each image (approximate randomisation: Noreen 1989,
Computer-Intensive Methods for Testing Hypotheses, chapter 2).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
Outputs = npt.NDArray[Any]
Indices = npt.NDArray[np.int64]

LEVEL = 0.95
RESAMPLES = 1000
PERMUTATIONS = 9999
RESCORINGS = 999
"""Permutations for a score that is not a mean over images: each computes the score twice."""

_DIFFER = "two models can only be compared on the same images, with the same captions and classes"
_CELLS = 2**20  # resamples times images in memory at once: 8 MiB of weights
_ROUNDING = 1e-9  # relative: sums of the same numbers in another order count as equal


@dataclass(frozen=True)
class Paired:
    """The score of the second model minus that of the first, with its interval and two-sided p-value."""

    difference: float
    low: float
    high: float
    p: float


@dataclass(frozen=True, eq=False)
class Contributions:
    """What each of N images contributes to a score that is the mean of P ratios.

    ``hits`` and ``counts`` are [P, N]. The score is the mean over the parts p of sum_i hits[p, i] / sum_i counts[p, i];
    parts whose counts are 0 are ignored. Accuracy has one part, mean per-class recall has one per class, and mean
    recall has two, one for each direction.
    """

    hits: Doubles
    counts: Doubles

    def __post_init__(self) -> None:
        if self.hits.ndim != 2 or self.hits.shape != self.counts.shape or not self.hits.size:
            raise ValueError(f"hits {self.hits.shape} and counts {self.counts.shape} must both be [parts, images]")

    @property
    def score(self) -> float:
        """The score of all images, each counted once."""
        return float(_ratios(np.ones((1, self.hits.shape[1])), self)[0])


# --- means of ratios ---
def interval(
    contributions: Contributions, *, level: float = LEVEL, resamples: int = RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """The percentile bootstrap interval of a score; images are drawn with replacement.

    If a resample has no images of a part (a class), its score ignores that part. Memory beyond the inputs: some tens of
    MiB for any N and ``resamples``.
    """
    n_images = contributions.hits.shape[1]
    scores = [_ratios(weights, contributions) for weights in _times_drawn(n_images, resamples, seed)]
    return _bounds(np.concatenate(scores), level)


def paired(
    first: Contributions,
    second: Contributions,
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
) -> Paired:
    """The difference between two models' scores on the same images, ``second`` minus ``first``, with a paired test.

    The interval is a bootstrap interval of the difference. p = (1 + the number of permutations whose difference is at
    least as far from 0 as the observed one) / (1 + permutations). A permutation swaps the two models' hits for each
    image with probability 1/2. Raises ``ValueError`` unless both have the same counts for each image.
    """
    if first.counts.shape != second.counts.shape or not (first.counts == second.counts).all():
        raise ValueError(_DIFFER)
    change = Contributions(second.hits - first.hits, first.counts)
    low, high = interval(change, level=level, resamples=resamples, seed=seed)
    totals = change.counts.sum(axis=1)
    counted = totals > 0
    by_image = (change.hits[counted] / totals[counted, None]).mean(axis=0)
    return Paired(change.score, low, high, _sign_flips(by_image, permutations, seed))


def _ratios(weights: Doubles, contributions: Contributions) -> Doubles:
    """The scores [B] if image n occurs ``weights[b, n]`` times; ``weights`` is [B, N]."""
    hits, counts = weights @ contributions.hits.T, weights @ contributions.counts.T
    counted = counts > 0
    ratios = np.divide(hits, counts, out=np.zeros_like(hits), where=counted)
    return ratios.sum(axis=1) / np.maximum(counted.sum(axis=1), 1)


def _sign_flips(differences: Doubles, permutations: int, seed: int) -> float:
    """The two-sided p-value of the sum of ``differences`` [N] under random signs."""
    differences = differences[differences != 0]  # a zero has no sign
    observed, slack = abs(differences.sum()), _ROUNDING * np.abs(differences).sum()
    reached = 0
    for swapped in _swaps(len(differences), permutations, seed):
        sums = differences.sum() - 2 * (swapped @ differences)
        reached += int((np.abs(sums) >= observed - slack).sum())
    return (1 + reached) / (1 + permutations)


# --- other scores ---
def interval_of(
    score: Callable[[Indices], float],
    n_images: int,
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> tuple[float, float]:
    """The percentile bootstrap interval of any ``score``, a function of the rows of images, which may repeat.

    Resamples without a score (NaN, such as ROC AUC without one of the two classes) are ignored. The interval is NaN if
    no resample has a score.
    """
    scores = [score(rows) for block in _drawn(n_images, resamples, seed) for rows in block]
    return _bounds(np.array(scores), level)


def paired_of(
    score: Callable[[Outputs, Indices], float],
    first: Outputs,
    second: Outputs,
    *,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    permutations: int = RESCORINGS,
    seed: int = 0,
) -> Paired:
    """``paired`` for any ``score`` of ``first`` and ``second``, two models' outputs [N, …] for the same images.

    ``score`` takes outputs [N, …] and the rows to score. A permutation swaps the two models' outputs for each image
    with probability 1/2 and scores both mixtures. Raises ``ValueError`` if the outputs differ in shape.
    """
    if first.shape != second.shape:
        raise ValueError(f"{_DIFFER}: {first.shape} and {second.shape}")
    everything = np.arange(len(first))
    difference = score(second, everything) - score(first, everything)
    low, high = interval_of(
        lambda rows: score(second, rows) - score(first, rows),
        len(first),
        level=level,
        resamples=resamples,
        seed=seed,
    )
    reached = 0
    for block in _swaps(len(first), permutations, seed):
        for coins in block.astype(bool).reshape(len(block), len(first), *[1] * (first.ndim - 1)):
            former, latter = np.where(coins, second, first), np.where(coins, first, second)
            change = score(latter, everything) - score(former, everything)
            reached += int(abs(change) >= abs(difference) - _ROUNDING)
    return Paired(difference, low, high, (1 + reached) / (1 + permutations))


# --- random numbers ---
def _drawn(n_images: int, resamples: int, seed: int) -> Iterator[Indices]:
    """Blocks [B, N] of resamples; each row has the indexes of N images drawn with replacement."""
    chance = np.random.default_rng((seed, 0))
    for rows in _blocks(n_images, resamples):
        yield chance.integers(n_images, size=(rows, n_images))


def _times_drawn(n_images: int, resamples: int, seed: int) -> Iterator[Doubles]:
    """Blocks [B, N] of resamples as counts: the number of times that each image is drawn."""
    for drawn in _drawn(n_images, resamples, seed):
        drawn += n_images * np.arange(len(drawn))[:, None]
        yield np.bincount(drawn.ravel(), minlength=drawn.size).reshape(drawn.shape).astype(np.float64)


def _swaps(n_images: int, permutations: int, seed: int) -> Iterator[Doubles]:
    """Blocks [B, N] of permutations: 1, with probability 1/2, for images whose outputs are swapped; 0 for others."""
    chance = np.random.default_rng((seed, 1))
    for rows in _blocks(n_images, permutations):
        coins = chance.integers(256, size=(rows, -(-n_images // 8)), dtype=np.uint8)
        yield np.unpackbits(coins, axis=1, count=n_images).astype(np.float64)


def _blocks(n_images: int, repeats: int) -> Iterator[int]:
    """The sizes of blocks that fit in memory and sum to ``repeats``."""
    size = max(1, _CELLS // max(1, n_images))
    for start in range(0, repeats, size):
        yield min(size, repeats - start)


def _bounds(values: Doubles, level: float) -> tuple[float, float]:
    values = values[~np.isnan(values)]
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for multiple comparisons, in the given order (Holm 1979, Scandinavian Journal of Statistics 6).

    The smallest of m is multiplied by m, the next by m - 1, and so on; no adjusted value is smaller than the one before
    it, or larger than 1. If all hypotheses with adjusted values up to alpha are rejected, the probability of any false
    rejection is at most alpha.
    """
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable").tolist()):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted
