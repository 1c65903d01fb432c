"""Linear probes against scikit-learn on its own, and episodes against a plain loop and numbers worked out by hand."""

from __future__ import annotations

import itertools
import warnings
from collections import Counter

import numpy as np
import pytest

from capivara_cli.errors import CapivaraError
from capivara_cli.evaluation import probes as module
from capivara_cli.evaluation.probes import Episodes, Labelled, few_shot, linear_probe


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def images_of(labels: np.ndarray, seed: int, noise: float, n_classes: int = 5, dim: int = 12) -> np.ndarray:
    """Embeddings [N, d] around one centre per class; the centres are the same for every seed."""
    centres = np.random.default_rng(0).standard_normal((n_classes, dim))
    return unit(centres[labels] + noise * np.random.default_rng(seed).standard_normal((len(labels), dim)))


def single(seed: int, n: int, noise: float = 1.3, n_classes: int = 5) -> Labelled:
    labels = np.random.default_rng(seed).integers(0, n_classes, n)
    return Labelled(images_of(labels, seed + 100, noise, n_classes), labels)


# --- linear probe ---
@pytest.mark.parametrize("n_classes", [2, 5])
def test_a_probe_is_the_logistic_regression_of_scikit_learn(n_classes):
    linear_model = pytest.importorskip("sklearn.linear_model")
    metrics = pytest.importorskip("sklearn.metrics")
    train, val, test = (single(seed, 150, n_classes=n_classes) for seed in (1, 2, 3))
    found = linear_probe(train, test, n_classes, "accuracy", val)

    def reference(cost: float, *parts: Labelled):
        images = np.concatenate([part.images for part in parts])
        labels = np.concatenate([part.truth for part in parts])
        return linear_model.LogisticRegression(C=cost, max_iter=1000).fit(images, labels)

    for cost, score in found.swept.items():
        assert score == pytest.approx(reference(cost, train).score(val.images, val.truth), abs=1e-6)
    assert len(set(found.swept.values())) > 3  # the sweep had something to choose from
    assert found.swept[found.cost] == max(found.swept.values())
    final = reference(found.cost, train, val)
    assert found.test.score == found.test.top1 == pytest.approx(final.score(test.images, test.truth), abs=1e-6)
    balanced = metrics.balanced_accuracy_score(test.truth, final.predict(test.images))
    assert found.test.mean_per_class == pytest.approx(balanced, abs=1e-6)
    assert np.array_equal(found.test.predicted, final.predict(test.images))
    assert (found.n_train, found.n_val, found.test.n_images, found.converged) == (300, 150, 150, True)
    assert 0.5 < found.test.score < 1


def test_the_area_is_of_the_log_odds_of_class_1():
    linear_model = pytest.importorskip("sklearn.linear_model")
    metrics = pytest.importorskip("sklearn.metrics")
    train, val, test = (single(seed, 120, 2.5, 2) for seed in (1, 2, 3))
    found = linear_probe(train, test, 2, "roc-auc", val)
    both = train + val
    final = linear_model.LogisticRegression(C=found.cost, max_iter=1000).fit(both.images, both.truth)
    odds = final.decision_function(test.images)
    assert found.test.scores is not None
    assert found.test.scores[:, 1] == pytest.approx(odds, abs=1e-4)
    assert found.test.score == pytest.approx(metrics.roc_auc_score(test.truth, odds), abs=1e-6)
    assert 0.6 < found.test.score < 1


def test_several_classes_per_image_are_one_regression_each():
    linear_model = pytest.importorskip("sklearn.linear_model")
    metrics = pytest.importorskip("sklearn.metrics")
    evaluators = pytest.importorskip("vision_evaluation.evaluators")

    def several(seed: int) -> Labelled:
        part = single(seed, 150)
        truth = np.eye(6, dtype=bool)[part.truth] | (np.random.default_rng(seed).random((150, 6)) < 0.2)
        truth[:, 5] = False  # a class nobody has
        return Labelled(part.images, truth)

    val, test = several(1), several(2)
    found = linear_probe(several(3), test, 6, "map-11-point", val)
    train = several(3) + val
    scores = np.zeros((150, 6))
    for index in range(5):
        fitted = linear_model.LogisticRegression(C=found.cost, max_iter=1000).fit(train.images, train.truth[:, index])
        scores[:, index] = fitted.decision_function(test.images)
    theirs = evaluators.MeanAveragePrecisionNPointsEvaluator()
    theirs.add_predictions(scores, test.truth.astype(int))
    (expected,) = theirs.get_report().values()
    assert found.test.score == pytest.approx(expected, abs=1e-6)
    exact = metrics.average_precision_score(test.truth[:, :5], scores[:, :5])
    assert found.test.average_precision == pytest.approx(exact, abs=1e-6)
    assert (found.n_train, found.n_val, found.test.top1) == (300, 150, None)
    assert linear_probe(val, test, 6, "map-11-point").n_val == 30
    assert 0.4 < found.test.score < 1


def test_the_sweep_halves_the_interval_around_the_best():
    tried: list[float] = []

    def score(cost: float) -> float:
        tried.append(round(8 * np.log10(cost)))
        return -abs(tried[-1] - 21)  # best at 21 eighths of a decade

    found = module._sweep(score)
    assert tried[:7] == [-48, -32, -16, 0, 16, 32, 48]
    assert tried[7:] == [8, 24, 20, 28, 18, 22, 19, 21]
    assert max(found, key=lambda cost: found[cost]) == pytest.approx(10 ** (21 / 8))
    assert list(found) == sorted(found)
    edge = module._sweep(lambda cost: cost)
    assert max(edge) == 1e6  # never beyond
    assert len(edge) == 7 + 4


def test_the_smallest_cost_of_equals_is_taken():
    centres = np.eye(3, 6, dtype=np.float32)
    part = Labelled(np.repeat(centres, 10, axis=0), np.repeat(np.arange(3), 10))
    found = linear_probe(part, part, 3, "accuracy", part)
    assert found.cost == min(found.swept) == pytest.approx(1e-6)
    assert found.test.score == 1.0


def test_a_fifth_of_each_class_is_held_out_and_one_of_two():
    labels = np.repeat([0, 1, 2, 3], [20, 9, 2, 1])
    part = Labelled(np.arange(32, dtype=np.float32)[:, None], labels)
    left, held_out = module._split(part, 3)
    assert Counter(held_out.truth.tolist()) == {0: 4, 1: 1, 2: 1}
    assert sorted([*left.images[:, 0], *held_out.images[:, 0]]) == list(range(32))
    assert np.array_equal(labels[held_out.images[:, 0].astype(int)], held_out.truth)
    assert np.array_equal(module._split(part, 3)[1].images, held_out.images)
    assert not np.array_equal(module._split(part, 4)[1].images, held_out.images)


def test_a_class_that_is_only_tested_is_never_predicted():
    train, test = single(1, 100, n_classes=5), single(2, 100, n_classes=5)
    known = train.rows(train.truth != 3)
    unseen = linear_probe(known, test.rows(test.truth == 3), 6, "accuracy")  # and the last has no images at all
    assert unseen.test.top5 == pytest.approx(1 / 2)  # four known classes are first, then the two others, as equals
    found = linear_probe(known, test, 5, "mean-per-class")
    assert 3 not in found.test.predicted
    assert found.test.hits is not None
    assert found.test.hits[test.truth == 3].sum() == 0
    assert found.test.score == found.test.mean_per_class < 0.8


def test_a_fit_that_did_not_end_is_reported_and_warns_nobody(monkeypatch):
    monkeypatch.setattr(module, "_ITERATIONS", 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not linear_probe(single(1, 100), single(2, 50), 5, "accuracy").converged


def test_what_a_probe_cannot_be_fitted_on():
    part = single(1, 40)
    ones = np.ones(40, np.int64)
    with pytest.raises(CapivaraError, match="training images of two classes, and all are of class 1"):
        linear_probe(Labelled(part.images, ones), part, 5, "accuracy")
    with pytest.raises(CapivaraError, match="needs two training images of some class, and there are 5 images in all"):
        linear_probe(Labelled(part.images[:5], np.arange(5)), part, 5, "accuracy")
    with pytest.raises(CapivaraError, match="training embeddings have 12 numbers and others 7"):
        linear_probe(part, Labelled(part.images[:, :7], part.truth), 5, "accuracy")
    with pytest.raises(CapivaraError, match="a probe needs all of one kind"):
        linear_probe(part, Labelled(part.images, np.ones((40, 5), bool)), 5, "accuracy")
    with pytest.raises(CapivaraError, match="not finite"):
        linear_probe(part, Labelled(part.images * np.float32("inf"), part.truth), 5, "accuracy")
    with pytest.raises(CapivaraError, match="an image has class 4, and there are 4 class names"):
        linear_probe(part, part, 4, "accuracy")


# --- few-shot ---
def naive(examples: np.ndarray, questions: np.ndarray) -> float:
    """Accuracy of one episode, examples [way, shot, d] and questions [way, queries, d], in double precision."""
    examples, questions = examples.astype(np.float64), questions.astype(np.float64)
    centre = examples.reshape(-1, examples.shape[-1]).mean(axis=0)
    prototypes = []
    for of_class in examples:
        centred = [(each - centre) / np.linalg.norm(each - centre) for each in of_class]
        prototypes.append(np.mean(centred, axis=0))
    right = []
    for label, of_class in enumerate(questions):
        for each in of_class:
            asked = (each - centre) / np.linalg.norm(each - centre)
            right.append(np.argmin([np.linalg.norm(asked - prototype) for prototype in prototypes]) == label)
    return float(np.mean(right))


@pytest.mark.parametrize("pool", ["two splits", "one"])
def test_episodes_equal_a_plain_loop(pool):
    train, test = single(1, 200, 1.5, 8), single(2, 150, 1.5, 8)
    plan = Episodes(way=4, shot=3, queries=6, count=300, seed=5)
    found = few_shot(train, test if pool == "two splits" else None, plan)
    classes = np.arange(8)
    drawn = list(module._draw(train, test if pool == "two splits" else None, classes, plan))
    assert [len(examples) for examples, _ in drawn] == [256, 44]
    expected = [naive(*episode) for block in drawn for episode in zip(*block, strict=True)]
    assert found.accuracies == pytest.approx(expected, abs=1e-9)
    mean, error = np.mean(expected), np.std(expected) / np.sqrt(300)
    assert found.accuracy == pytest.approx(mean)
    assert found.interval == pytest.approx((mean - 1.96 * error, mean + 1.96 * error))
    assert (found.n_classes, found.n_excluded) == (8, 0)
    assert 0.5 < found.accuracy < 0.97


def test_the_same_seed_asks_the_same():
    train, test = single(1, 200), single(2, 200)
    found = few_shot(train, test, Episodes(count=20))
    assert np.array_equal(found.accuracies, few_shot(train, test, Episodes(count=20)).accuracies)
    assert not np.array_equal(found.accuracies, few_shot(train, test, Episodes(count=20, seed=1)).accuracies)


@pytest.mark.parametrize("pool", ["two splits", "one"])
def test_an_episode_takes_no_class_and_no_image_twice(pool):
    labels = np.repeat(np.arange(6), [9, 9, 12, 40, 9, 10])
    rows = np.arange(len(labels), dtype=np.float32)[:, None]
    part = Labelled(rows, labels)
    plan = Episodes(way=5, shot=4, queries=5, count=400)
    for examples, questions in module._draw(part, part if pool == "two splits" else None, np.arange(6), plan):
        for episode in zip(examples[..., 0].astype(int), questions[..., 0].astype(int), strict=True):
            of_class = [labels[each] for each in episode]
            assert (of_class[0] == of_class[0][:, :1]).all()
            assert (of_class[1] == of_class[0][:, :1]).all()
            assert len(set(of_class[0][:, 0])) == 5
            assert len(set(episode[0].ravel())) == 20
            assert len(set(episode[1].ravel())) == 25
            if pool == "one":
                assert not set(episode[0].ravel()) & set(episode[1].ravel())


def test_every_choice_is_equally_likely():
    drawn = module._EpisodePool(np.repeat([0, 3], [4, 5]), np.array([0, 3]))
    chosen = np.ones((6000, 1), np.int64)  # the second class, rows 4 to 8
    rows = drawn.draw(chosen, 2, np.random.default_rng(0))[:, 0]
    counts = Counter(map(tuple, rows.tolist()))
    assert set(counts) == set(itertools.permutations(range(4, 9), 2))  # in any order
    assert 220 < min(counts.values()) <= max(counts.values()) < 380  # 300 each, within 4.7 standard deviations
    everything = drawn.draw(np.zeros((50, 1), np.int64), 4, np.random.default_rng(0))[:, 0]
    assert (np.sort(everything, axis=1) == np.arange(4)).all()
    assert len(set(map(tuple, everything.tolist()))) > 15  # of 24 orders


def test_classes_with_too_few_images_are_excluded_and_counted():
    train = Labelled(unit(np.random.default_rng(0).standard_normal((30, 4))), np.repeat(np.arange(5), [6, 6, 6, 4, 8]))
    test = Labelled(
        unit(np.random.default_rng(1).standard_normal((30, 4))), np.repeat(np.arange(1, 7), [6, 5, 6, 6, 6, 1])
    )
    plan = Episodes(way=2, shot=5, queries=6, count=10)
    # Class 0 is not tested, 2 has five questions, 3 four examples, 5 and 6 no examples: 1 and 4 are left.
    found = few_shot(train, test, plan)
    assert (found.n_classes, found.n_excluded) == (2, 5)
    assert len(few_shot(train, None, Episodes(way=1, shot=5, queries=3, count=7)).accuracies) == 7
    with pytest.raises(
        CapivaraError, match="of 3 classes with 5 examples and 6 test images each: 2 of 7 classes have enough im"
    ):
        few_shot(train, test, Episodes(way=3, shot=5, queries=6))
    with pytest.raises(CapivaraError, match="with 5 examples and 6 test images each: 0 of 5 classes"):
        few_shot(train)


def test_a_collapsed_tower_answers_by_chance():
    part = Labelled(np.ones((60, 3), np.float32), np.repeat(np.arange(5), 12))
    found = few_shot(part, part, Episodes(count=10))
    assert found.accuracy == pytest.approx(0.2)
    assert found.interval == pytest.approx((0.2, 0.2))


def test_an_interval_stays_within_0_and_1():
    part = Labelled(np.repeat(np.eye(5, dtype=np.float32), 12, axis=0), np.repeat(np.arange(5), 12))
    found = few_shot(part, part, Episodes(count=10))
    assert (found.accuracy, found.interval) == (1.0, (1.0, 1.0))
    almost = few_shot(single(1, 100, 0.4), single(2, 100, 0.4), Episodes(count=40))
    assert 0.99 < almost.accuracy < 1.0 == almost.interval[1]


def test_episodes_are_parts_of_the_mean():
    found = few_shot(single(1, 100), single(2, 100), Episodes(count=30))
    parts = found.contributions()
    assert parts.hits.shape == parts.counts.shape == (1, 30)
    assert parts.hits.sum() / parts.counts.sum() == pytest.approx(found.accuracy)


def test_what_episodes_cannot_be_of():
    part = single(1, 100)
    with pytest.raises(CapivaraError, match="few-shot needs exactly one class per image"):
        few_shot(Labelled(part.images, np.ones((100, 5), bool)))
    with pytest.raises(CapivaraError, match="12 numbers and others 7"):
        few_shot(part, Labelled(part.images[:, :7], part.truth))
