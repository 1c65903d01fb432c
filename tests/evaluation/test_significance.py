"""Intervals and tests against scipy, closed forms, exact small cases and a simulation of coverage."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from capivara_cli.evaluation import significance
from capivara_cli.evaluation.significance import Contributions, holm, interval, interval_of, paired, paired_of


def ratios(seed: int, n_images: int, n_parts: int = 2, gain: float = 0.0) -> Contributions:
    """Parts with 0 to 5 things to find for each image; models of the same ``seed`` agree on most of them."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 6, (n_parts, n_images)).astype(float)
    ability = rng.normal(0.4, 0.2, (n_parts, n_images))
    own = np.random.default_rng((seed, int(1000 * gain))).normal(gain, 0.1, (n_parts, n_images))
    return Contributions(counts * np.clip(ability + own, 0, 1), counts)


def mean_of(values: list[float]) -> Contributions:
    return Contributions(np.array([values], float), np.ones((1, len(values))))


def auc(scores: np.ndarray, truth: np.ndarray) -> float:
    """The share of pairs that are in the right order, NaN without a pair."""
    above = scores[truth][:, None] - scores[~truth][None]
    return float(np.mean((above > 0) + (above == 0) / 2)) if above.size else math.nan


# --- scores ---


def test_a_score_is_the_mean_of_ratios():
    hits = np.array([[2.0, 0.0, 1.0], [1.0, 0.0, 0.5]])
    counts = np.array([[5.0, 0.0, 1.0], [1.0, 1.0, 1.0]])
    assert Contributions(hits, counts).score == pytest.approx((3 / 6 + 1.5 / 3) / 2)
    nothing = np.zeros((1, 3))
    more = Contributions(np.concatenate([hits, nothing]), np.concatenate([counts, nothing]))
    assert more.score == pytest.approx((3 / 6 + 1.5 / 3) / 2)  # a part that counts nothing


def test_one_part_per_class_is_balanced_accuracy():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(5, size=(2, 200)) // np.array([[1], [2]])
    counts = (np.arange(5)[:, None] == labels).astype(float)
    assert Contributions(counts * (labels == predicted), counts).score == pytest.approx(
        metrics.balanced_accuracy_score(labels, predicted)
    )


@pytest.mark.parametrize(("hits", "counts"), [((2, 3), (1, 3)), ((3,), (3,)), ((2, 0), (2, 0))])
def test_shapes_are_checked(hits, counts):
    with pytest.raises(ValueError, match=r"must both be \[parts, images\]"):
        Contributions(np.zeros(hits), np.ones(counts))


# --- intervals ---


def test_the_interval_of_two_images_is_exact():
    # Resamples of (0, 1) have the mean 0, 1/2 and 1 with the probabilities 1/4, 1/2 and 1/4.
    assert interval(mean_of([0, 1])) == (0.0, 1.0)
    assert interval(mean_of([0, 1]), level=0.4) == (0.5, 0.5)


def test_the_interval_of_an_accuracy_is_about_the_normal_one():
    found = interval(mean_of([1] * 1200 + [0] * 800), resamples=4000)
    half = 1.959964 * (0.6 * 0.4 / 2000) ** 0.5
    assert found == pytest.approx((0.6 - half, 0.6 + half), abs=0.04 * half)


def test_the_interval_equals_that_of_scipy():
    stats = pytest.importorskip("scipy.stats")
    given = ratios(1, 150)

    def score(h0, h1, c0, c1, axis):
        return (h0.sum(axis) / c0.sum(axis) + h1.sum(axis) / c1.sum(axis)) / 2

    theirs = stats.bootstrap(
        (*given.hits, *given.counts), score, paired=True, vectorized=True, method="percentile", n_resamples=8000,
        rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    found = interval(given, resamples=8000)
    width = theirs.high - theirs.low
    assert found == pytest.approx((theirs.low, theirs.high), abs=0.04 * width)
    assert found[0] < given.score < found[1]


def test_captions_of_one_image_are_no_independent_evidence():
    once = mean_of([1] * 60 + [0] * 40)
    five = Contributions(5 * once.hits, 5 * once.counts)
    assert interval(five) == pytest.approx(interval(once))
    apart = interval(mean_of([1] * 300 + [0] * 200))
    assert (interval(once)[1] - interval(once)[0]) / (apart[1] - apart[0]) == pytest.approx(5**0.5, rel=0.1)


def test_intervals_cover_the_truth_as_often_as_they_say():
    rng = np.random.default_rng(0)
    covered = 0
    for seed in range(400):
        low, high = interval(mean_of(rng.binomial(5, 0.4, 60) / 5), level=0.9, resamples=300, seed=seed)
        covered += low <= 0.4 <= high
    assert covered / 400 == pytest.approx(0.9, abs=0.045)  # three standard errors


def test_a_class_that_is_not_drawn_does_not_count_in_that_resample():
    counts = np.array([[1.0] * 9 + [0.0], [0.0] * 9 + [1.0]])  # class 1 has one image: absent from a third of them
    found = interval(Contributions(counts * np.array([[0.0], [1.0]]), counts), level=0.2)
    assert found == (0.5, 0.5)  # the two classes' mean when there, else 0: never NaN


def test_results_are_those_of_the_seed_and_of_nothing_else(monkeypatch):
    given, other = ratios(3, 40), ratios(3, 40, gain=0.05)
    assert interval(given) == interval(given)
    assert interval(given) != interval(given, seed=1)
    assert paired(given, other) == paired(given, other)
    whole = interval(given)
    monkeypatch.setattr(significance, "_CELLS", 130)  # three resamples at a time
    assert interval(given) == pytest.approx(whole, rel=1e-12)


def test_every_random_number_is_of_the_seed():
    """Intervals and permutations, of means and of other scores: alike for the same seed, others for another one."""
    given, other = ratios(3, 40), ratios(3, 40, gain=0.02)
    first, second = np.random.default_rng(0).random((2, 25))

    def mean(rows):
        return float(first[rows].mean())

    def median(outputs, rows):
        return float(np.median(outputs[rows]))

    def found(seed):
        pair = paired(given, other, permutations=400, seed=seed)
        others = paired_of(median, first, second, resamples=50, permutations=400, seed=seed)
        means = [interval(given, seed=seed), interval_of(mean, 25, resamples=50, seed=seed)]
        return [*means, (pair.low, pair.high), pair.p, (others.low, others.high), others.p]

    zero, one = found(0), found(1)
    assert found(0) == zero
    assert [a == b for a, b in zip(zero, one, strict=True)] == [False] * 6
    default = paired(given, other, permutations=400)
    assert (default.low, default.high, default.p) == (*zero[2], zero[3])


def test_resamples_and_permutations_are_as_many_as_asked_for(monkeypatch):
    monkeypatch.setattr(significance, "_CELLS", 30)  # three rows of ten images at a time, the last block incomplete
    drawn = [block.shape for block in significance._drawn(10, 7, 0)]
    swapped = [block.shape for block in significance._swaps(10, 8, 0)]
    assert (drawn, swapped) == ([(3, 10), (3, 10), (1, 10)], [(3, 10), (3, 10), (2, 10)])
    assert [block.sum() for block in significance._times_drawn(10, 2, 0)] == [20.0]


def test_any_score_has_the_interval_of_its_mean():
    values = np.random.default_rng(0).random(50)
    found = interval_of(lambda rows: float(values[rows].mean()), 50)
    assert found == pytest.approx(interval(mean_of(values.tolist())), rel=1e-12)


def test_resamples_without_a_score_are_ignored():
    truth, scores = np.array([True, False, False]), np.array([0.9, 0.1, 0.2])
    assert interval_of(lambda rows: auc(scores[rows], truth[rows]), 3) == (1.0, 1.0)
    assert all(math.isnan(bound) for bound in interval_of(lambda rows: math.nan, 3))


# --- tests ---


def test_p_of_few_images_is_that_of_all_sign_patterns():
    # Only all signs alike are as far from 0 as eight times +1: 2 of 256.
    found = paired(mean_of([0] * 8 + [1] * 3), mean_of([1] * 8 + [1] * 3))
    assert found.difference == pytest.approx(8 / 11)
    assert found.p == pytest.approx(2 / 256, abs=4 * (2 / 256 / 10000) ** 0.5)
    assert round(found.p * 10000) == pytest.approx(found.p * 10000)  # (1 + a count) / (1 + 9999)
    always = paired(mean_of([0] * 60), mean_of([1] * 60), permutations=99)
    assert always.p == 1 / 100  # no permutation reaches it: never 0


@pytest.mark.parametrize("gain", [0.02, 0.06])
def test_p_equals_that_of_scipy(gain):
    stats = pytest.importorskip("scipy.stats")
    first, second = ratios(5, 12), ratios(5, 12, gain=gain)
    totals = first.counts.sum(axis=1)

    def score(a0, b0, a1, b1):
        return ((b0 - a0).sum() / totals[0] + (b1 - a1).sum() / totals[1]) / 2

    by_image = [(each.hits / totals[:, None]).mean(axis=0) for each in (first, second)]
    theirs = stats.permutation_test(
        by_image, lambda a, b: (b - a).sum(), permutation_type="samples", n_resamples=np.inf, vectorized=False
    )
    found = paired(first, second)
    assert found.difference == pytest.approx(theirs.statistic) == pytest.approx(
        score(first.hits[0], second.hits[0], first.hits[1], second.hits[1])
    )  # fmt: skip
    assert 0.001 < theirs.pvalue < 0.9
    assert found.p == pytest.approx(theirs.pvalue, abs=4 * (theirs.pvalue / 10000) ** 0.5)


def test_models_that_do_not_differ_have_p_1():
    given = ratios(2, 30)
    found = paired(given, given)
    assert (found.difference, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)
    # +0.1 +0.2 -0.3 is 0 on paper only: every permutation reaches it.
    assert paired(mean_of([0, 0, 0.3]), mean_of([0.1, 0.2, 0])).p == 1.0
    scores = np.random.default_rng(0).random(30)
    assert paired_of(lambda outputs, rows: float(np.median(outputs[rows])), scores, scores.copy()).p == 1.0


@pytest.mark.parametrize("tenths", [[1, 2, -3, 5], [1, 2, -3, 1], [2, 4, -6, 3, 1]])
def test_sign_patterns_that_reach_the_difference_exactly_are_counted_whatever_rounding_makes_of_them(tenths):
    """-0.1 - 0.2 + 0.3 + 0.5 is less than 0.5 in floating point only."""
    signs = np.array(list(itertools.product([1, -1], repeat=len(tenths))))
    expected = np.mean(np.abs(signs @ tenths) >= abs(sum(tenths)))
    changes = np.array(tenths) / 10
    found = paired(mean_of([0.0] * len(changes)), mean_of(changes.tolist()))
    assert found.p == pytest.approx(expected, abs=4 * (expected / 10000) ** 0.5)
    other = paired_of(
        lambda outputs, rows: float(outputs[rows].sum()), np.zeros(len(changes)), changes, permutations=9999
    )
    assert other.p == pytest.approx(expected, abs=4 * (expected / 10000) ** 0.5)


def test_the_difference_changes_its_sign_with_the_order_and_p_does_not():
    first, second = ratios(4, 80), ratios(4, 80, gain=0.05)
    there, back = paired(first, second), paired(second, first)
    assert there.difference == pytest.approx(second.score - first.score)
    assert back.difference == -there.difference
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low))
    assert back.p == there.p
    assert there.low < there.difference < there.high


def test_the_interval_of_a_difference_is_of_the_same_images():
    first, second = ratios(6, 300), ratios(6, 300, gain=0.03)
    found = paired(first, second)
    apart = [high - low for low, high in (interval(first), interval(second))]
    assert found.high - found.low < 0.6 * math.hypot(*apart)  # models agree on what is hard
    assert found.low > 0
    assert found.p < 0.005


def test_p_is_uniform_where_there_is_no_difference():
    rng = np.random.default_rng(1)
    p_values = [paired(mean_of(rng.random(30)), mean_of(rng.random(30)), resamples=2, permutations=199).p
                for _ in range(400)]  # fmt: skip
    assert np.mean(np.array(p_values) <= 0.05) == pytest.approx(0.05, abs=0.033)  # three standard errors
    assert np.mean(p_values) == pytest.approx(0.5, abs=0.045)


def test_other_images_cannot_be_compared():
    with pytest.raises(ValueError, match="only be compared on the same images"):
        paired(mean_of([1, 0]), mean_of([1, 0, 1]))
    with pytest.raises(ValueError, match="only be compared on the same images"):
        paired(Contributions(np.zeros((1, 2)), np.ones((1, 2))), Contributions(np.zeros((1, 2)), np.full((1, 2), 2.0)))
    with pytest.raises(ValueError, match=r"same captions and classes: \(3,\) and \(4,\)"):
        paired_of(lambda outputs, rows: 0.0, np.zeros(3), np.zeros(4))


def test_any_score_is_tested_as_its_mean_is():
    rng = np.random.default_rng(0)
    first, second = rng.random((2, 40))
    second += 0.15
    found = paired_of(lambda outputs, rows: float(outputs[rows].mean()), first, second)
    mean = paired(mean_of(first.tolist()), mean_of(second.tolist()))
    assert (found.difference, found.low, found.high) == pytest.approx((mean.difference, mean.low, mean.high))
    assert 0.01 < mean.p < 0.3
    assert found.p == pytest.approx(mean.p, abs=4 * (mean.p / 1000) ** 0.5)


def test_the_level_is_that_of_the_interval_of_a_difference_too():
    first, second = np.random.default_rng(0).random((2, 30))
    one, other = mean_of(first.tolist()), mean_of(second.tolist())
    for level in (0.5, 0.95):
        found = paired(one, other, level=level, permutations=1)
        expected = interval(mean_of((second - first).tolist()), level=level)
        assert (found.low, found.high) == pytest.approx(expected)
        by_score = paired_of(
            lambda outputs, rows: float(outputs[rows].mean()), first, second, level=level, permutations=1
        )
        assert (by_score.low, by_score.high) == pytest.approx(expected)


def test_p_of_an_area_equals_that_of_scipy():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(3)
    truth = np.arange(10) < 4
    first, second = rng.normal(size=10) + truth * 0.2, rng.normal(size=10) + truth * 1.5
    theirs = stats.permutation_test(
        (first, second), lambda a, b: auc(b, truth) - auc(a, truth), permutation_type="samples", n_resamples=np.inf,
        vectorized=False,
    )  # fmt: skip
    found = paired_of(lambda outputs, rows: auc(outputs[rows], truth[rows]), first, second)
    assert found.difference == pytest.approx(theirs.statistic)
    assert 0.01 < theirs.pvalue < 0.9
    assert found.p == pytest.approx(theirs.pvalue, abs=4 * (theirs.pvalue / 1000) ** 0.5)


def test_all_outputs_of_an_image_are_swapped_together():
    """The columns of an image cancel but for 0.1, which is the second model's: not so if one of them came alone."""
    first = np.random.default_rng(0).random((20, 1)) * [[1, -1]]
    found = paired_of(lambda outputs, rows: float(outputs[rows].sum(axis=1).mean()), first, 3 * first + [[0.1, 0]])
    assert found.difference == pytest.approx(0.1)
    assert found.p == 1 / 1000


# --- several tests ---


def test_holm():
    # Sorted: 4 * 0.005, 3 * 0.01, 2 * 0.03, and 1 * 0.04, which may not be less than the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([0.02, 0.02, 0.9]) == pytest.approx([0.06, 0.06, 0.9])
    assert holm([0.03]) == [0.03]
    assert holm([]) == []
