"""The metrics against scikit-learn, vision_evaluation (CAPIVARA's and ELEVATER's) and CLIP_benchmark, with ties."""

from __future__ import annotations

import math

import numpy as np
import pytest

from capivara_cli.errors import CapivaraError
from capivara_cli.evaluation.metrics import (
    ClassRanking,
    Rankings,
    ScoreCounts,
    above_and_tied,
    average_precision,
    average_precision_11_point,
    check_metric,
    expected_hits,
    log_odds,
    mean_per_class_recall,
    roc_auc,
)


def several_labels(seed: int, n: int, n_classes: int, levels: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores [N, C] and which classes each image has; ``levels``: so many different scores, hence ties."""
    rng = np.random.default_rng(seed)
    truth = rng.random((n, n_classes)) < rng.uniform(0.05, 0.5, n_classes)
    scores = rng.standard_normal((n, n_classes)) + truth
    if levels:
        scores = np.floor(scores * levels / 4)
    return scores.astype(np.float32), truth


def counts_of(scores: list[float], truth: list[int]) -> ScoreCounts:
    return ClassRanking(np.array(scores), np.array(truth, bool)).counts()


@pytest.mark.parametrize("levels", [0, 12, 3])
@pytest.mark.parametrize("seed", range(3))
def test_11_point_map_equals_vision_evaluation(seed, levels):
    evaluators = pytest.importorskip("vision_evaluation.evaluators")
    scores, truth = several_labels(seed, 157, 9, levels)
    truth[:, 4] = False  # a class that never occurs is left out by both
    theirs = evaluators.MeanAveragePrecisionNPointsEvaluator()
    theirs.add_predictions(scores[:80], truth[:80].astype(int))
    theirs.add_predictions(scores[80:], truth[80:].astype(int))
    (expected,) = theirs.get_report().values()
    assert Rankings(scores, truth).map_11_point() == pytest.approx(expected, abs=1e-9)
    assert 0.2 < expected < 0.95


@pytest.mark.parametrize("levels", [0, 12, 3])
def test_average_precision_equals_scikit_learn_with_ties_too(levels):
    metrics = pytest.importorskip("sklearn.metrics")
    scores, truth = several_labels(5, 200, 8, levels)
    each = [metrics.average_precision_score(truth[:, k], scores[:, k]) for k in range(8)]
    assert Rankings(scores, truth).average_precision() == pytest.approx(np.mean(each), abs=1e-9)


def test_average_precision_equals_clip_benchmark_without_ties():
    theirs = pytest.importorskip("clip_benchmark.metrics.zeroshot_classification")
    torch = pytest.importorskip("torch")
    scores, truth = several_labels(6, 200, 8)
    each = theirs.average_precision_per_class(torch.from_numpy(scores), torch.from_numpy(truth))
    assert Rankings(scores, truth).average_precision() == pytest.approx(each.mean().item(), abs=1e-6)


def test_average_precision_differs_from_clip_benchmark_where_the_order_of_the_images_would_decide():
    theirs = pytest.importorskip("clip_benchmark.metrics.zeroshot_classification").average_precision_per_class
    torch = pytest.importorskip("torch")
    equal = torch.zeros(4, 1)
    assert theirs(equal, torch.tensor([[1], [0], [0], [0]])).tolist() == [1.0]
    assert theirs(equal, torch.tensor([[0], [0], [0], [1]])).tolist() == [0.25]
    assert average_precision(counts_of([0, 0, 0, 0], [1, 0, 0, 0])) == 0.25
    assert average_precision(counts_of([0, 0, 0, 0], [0, 0, 0, 1])) == 0.25
    # A class that never occurs counts as 0 in CLIP_benchmark; here, as in vision_evaluation, it is left out.
    scores, truth = np.array([[0.9, 0.1], [0.2, 0.3]]), np.array([[True, False], [False, False]])
    assert theirs(torch.tensor(scores), torch.tensor(truth)).mean().item() == 0.5
    assert Rankings(scores, truth).average_precision() == 1.0


@pytest.mark.parametrize("levels", [0, 12, 2])
def test_roc_auc_equals_scikit_learn_and_vision_evaluation(levels):
    metrics = pytest.importorskip("sklearn.metrics")
    evaluators = pytest.importorskip("vision_evaluation.evaluators")
    scores, truth = several_labels(7, 300, 2, levels)
    labels = truth[:, 1].astype(int)
    expected = metrics.roc_auc_score(labels, scores[:, 1])
    one_hot = np.eye(2, dtype=bool)[labels]
    assert Rankings(scores, one_hot).roc_auc() == pytest.approx(expected, abs=1e-9)
    theirs = evaluators.RocAucEvaluator()
    theirs.add_predictions(scores, labels)
    assert theirs.get_report()["roc_auc"] == pytest.approx(expected, abs=1e-9)


def test_hand_made_rankings():
    # Best first: yes, no, yes, no, no, yes; precisions at the three: 1, 2/3, 1/2.
    counts = counts_of([6, 5, 4, 3, 2, 1], [1, 0, 1, 0, 0, 1])
    assert average_precision(counts) == pytest.approx((1 + 2 / 3 + 1 / 2) / 3)
    # Recall 1/3 covers 0 to 0.3, 2/3 to 0.6, 1 to 1.
    assert average_precision_11_point(counts) == pytest.approx((4 * 1 + 3 * 2 / 3 + 4 / 2) / 11)
    assert roc_auc(counts) == pytest.approx((3 + 2 + 0) / 9)
    tied = counts_of([2, 2, 1], [1, 0, 1])
    assert roc_auc(tied) == 0.25  # half of a pair of two
    assert average_precision(tied) == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_precision_at_recall_0_is_1_as_in_vision_evaluation_and_not_as_in_the_voc_kit():
    # No cut has a precision above 1/2: the development kit of VOC gives 0.5 at all eleven points.
    assert average_precision_11_point(counts_of([2, 1], [0, 1])) == pytest.approx((1 + 10 * 0.5) / 11)


def test_recalls_are_compared_in_whole_numbers():
    # 3 of 10 found is a recall of 0.3, whatever 3 / 10 is in floating point.
    truth = [1] * 3 + [0] * 7 + [1] * 7
    counts = counts_of(list(range(17, 0, -1)), truth)
    assert average_precision_11_point(counts) == pytest.approx((4 * 1 + 7 * 10 / 17) / 11)


def test_rankings_without_positives_or_negatives_are_not_numbers():
    assert math.isnan(average_precision(counts_of([1, 2], [0, 0])))
    assert math.isnan(average_precision_11_point(counts_of([1, 2], [0, 0])))
    assert math.isnan(roc_auc(counts_of([1, 2], [0, 0])))
    assert math.isnan(roc_auc(counts_of([1, 2], [1, 1])))
    assert math.isnan(roc_auc(counts_of([], [])))
    assert math.isnan(average_precision(counts_of([], [])))
    nothing = Rankings(np.ones((3, 2)), np.zeros((3, 2), bool))
    assert math.isnan(nothing.map_11_point())


@pytest.mark.parametrize("levels", [0, 5])
def test_weights_are_repetitions(levels):
    scores, truth = several_labels(8, 60, 4, levels)
    rng = np.random.default_rng(0)
    for _ in range(5):
        rows = rng.integers(0, 60, 60)
        weights = np.bincount(rows, minlength=60).astype(np.float64)
        ours, again = Rankings(scores, truth), Rankings(scores[rows], truth[rows])
        assert ours.map_11_point(weights) == pytest.approx(again.map_11_point(), abs=1e-12)
        assert ours.average_precision(weights) == pytest.approx(again.average_precision(), abs=1e-12)
        assert ours.roc_auc(weights) == pytest.approx(again.roc_auc(), abs=1e-12)


def test_hits_are_shared_among_equals():
    scores = np.array([[3.0, 2, 2, 1, 0, 0], [3, 2, 2, 1, 0, 0], [3, 2, 2, 1, 0, 0], [5, 5, 5, 5, 5, 5]])
    above, equal = above_and_tied(scores, np.array([0, 2, 5, 1]))
    assert above.tolist() == [0, 1, 4, 0]
    assert equal.tolist() == [1, 2, 2, 6]
    assert expected_hits(above, equal, 1).tolist() == pytest.approx([1, 0, 0, 1 / 6])
    assert expected_hits(above, equal, 2).tolist() == pytest.approx([1, 0.5, 0, 2 / 6])
    assert expected_hits(above, equal, 5).tolist() == pytest.approx([1, 1, 0.5, 5 / 6])


def test_mean_per_class_recall_leaves_out_classes_that_do_not_occur():
    assert mean_per_class_recall(np.array([1, 0, 0.5, 1]), np.array([0, 0, 7, 2])) == pytest.approx((0.5 + 0.5 + 1) / 3)


def test_log_odds_are_those_of_the_softmax():
    scores = np.random.default_rng(0).standard_normal((50, 4)) * 0.03
    scores[3] = scores[4] = 0.01
    exponentials = np.exp(100 * scores)
    p = exponentials / exponentials.sum(axis=1, keepdims=True)
    assert log_odds(scores, 100.0) == pytest.approx(np.log(p / (1 - p)), abs=1e-9)
    assert log_odds(scores[3:5], 100.0) == pytest.approx(np.log(1 / 3))
    assert np.array_equal(log_odds(scores, 100.0)[3], log_odds(scores, 100.0)[4])


def test_log_odds_keep_apart_what_is_certain():
    found = log_odds(np.array([[0.50, 0.0], [0.51, 0.0], [0.0, 0.52]]), 100.0)
    assert found == pytest.approx(np.array([[50, -50], [51, -51], [-52, 52]]))
    assert 1 / (1 + np.exp(-50.0)) == 1 / (1 + np.exp(-51.0)) == 1.0
    assert log_odds(np.array([[0.3]]), 100.0).tolist() == [[np.inf]]
    assert log_odds(np.array([[-np.inf, 1.0, 2.0]]), 1.0).tolist() == [[-np.inf, -1.0, 1.0]]


def test_an_unknown_metric_lists_the_known():
    check_metric("roc-auc")
    with pytest.raises(
        CapivaraError, match="there is no metric 'acuracy'; there are accuracy, map-11-point, mean-per-"
    ):
        check_metric("acuracy")
