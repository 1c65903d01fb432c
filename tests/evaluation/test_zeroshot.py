"""Zero-shot classification and disparity: against scikit-learn, CLIP_benchmark, published rows, and by hand."""

from __future__ import annotations

import statistics
from types import SimpleNamespace

import numpy as np
import pytest

from capivara_cli import registry
from capivara_cli.errors import CapivaraError
from capivara_cli.evaluation import zeroshot as module
from capivara_cli.evaluation.disparity import disparity
from capivara_cli.evaluation.evalset import check_names, check_templates
from capivara_cli.evaluation.metrics import Rankings
from capivara_cli.evaluation.zeroshot import Scale, class_vectors, classify, confused, confusion, prompt, scored
from capivara_cli.models.clip import load_clip
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings
from capivara_cli.shards.images import decode_image


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def clip_benchmark(monkeypatch):
    """Its module, which calls float() on arrays of one number: numpy 2.4 does no longer do that."""
    module = pytest.importorskip("clip_benchmark.metrics.zeroshot_classification")
    monkeypatch.setattr(module, "float", lambda number: float(np.asarray(number).reshape(-1)[0]), raising=False)
    return module


def problem(seed: int, n_classes: int, n_images: int = 200) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images [N, 16] near the vectors [C, 16] of their classes, which are near each other; the last class is nobody's.

    Cosines differ by some hundredths, as CLIP's do: with larger differences the softmax of the references is 0 or 1.
    """
    rng = np.random.default_rng(seed)
    centre = 6 * rng.standard_normal(16)
    classes = unit(centre + rng.standard_normal((n_classes, 16)))
    labels = rng.choice(max(n_classes - 1, 2), size=n_images)
    images = unit(classes[labels] + 0.06 * rng.standard_normal((n_images, 16)))
    return images, labels, classes


def test_a_class_is_the_normalised_mean_of_its_prompts():
    known = {
        "a cat": [1.0, 0.0], "cat!": [0.0, 1.0],
        "a dog": [0.0, 1.0], "dog!": [0.0, 1.0],
    }  # fmt: skip
    asked: list[str] = []

    def embed(texts: list[str]) -> np.ndarray:
        asked.extend(texts)
        return np.array([known[text] for text in texts], np.float32)

    vectors = class_vectors(embed, ["cat", "dog"], ["a {}", "{c}!"])
    assert asked == ["a cat", "cat!", "a dog", "dog!"]
    assert vectors == pytest.approx(np.array([[0.5**0.5, 0.5**0.5], [0.0, 1.0]]))


def test_classes_are_embedded_in_blocks(monkeypatch):
    monkeypatch.setattr(module, "_PROMPTS", 7)  # two classes of three prompts at a time
    sizes: list[int] = []

    def embed(texts: list[str]) -> np.ndarray:
        sizes.append(len(texts))
        return unit(np.array([[len(text), text.count("a"), 1.0] for text in texts]))

    names, templates = ["a", "bb", "aaa", "dddd", "ea"], ["{}", "a {}", "aa {}."]
    found = class_vectors(embed, names, templates)
    assert sizes == [6, 6, 3]
    monkeypatch.setattr(module, "_PROMPTS", 1)  # fewer than one class has
    assert np.array_equal(class_vectors(embed, names, templates), found)
    assert sizes[3:] == [3] * 5
    assert found.shape == (5, 3)
    assert np.linalg.norm(found, axis=1) == pytest.approx(1)


def test_prompt_fills_one_placeholder_and_keeps_other_braces():
    assert prompt("a {c} in {place}", "cat") == "a cat in {place}"
    assert prompt("uma {}", "casa") == "uma casa"


def test_accuracies_equal_those_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    classes = rng.standard_normal((7, 16)).astype(np.float32)
    labels = rng.choice(6, size=200, p=[0.5, 0.2, 0.1, 0.1, 0.05, 0.05])  # class 6 never occurs
    images = (classes[labels] + 2.5 * rng.standard_normal((200, 16))).astype(np.float32)
    found = classify(images, labels, classes)
    scores = images @ classes.T
    assert found.top1 == pytest.approx(metrics.accuracy_score(labels, scores.argmax(axis=1)))
    assert found.top5 == pytest.approx(metrics.top_k_accuracy_score(labels, scores, k=5, labels=range(7)))
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        balanced = metrics.balanced_accuracy_score(labels, scores.argmax(axis=1))
    assert found.mean_per_class == pytest.approx(balanced)
    assert 0.2 < found.top1 < 0.95
    assert (found.n_images, found.n_classes) == (200, 7)


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.parametrize("rows", [4096, 33])
def test_accuracies_equal_those_of_clip_benchmark(monkeypatch, rows):
    theirs = clip_benchmark(monkeypatch)
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(module, "_ROWS", rows)
    for seed, n_classes in enumerate([2, 4, 5, 11]):
        images, labels, classes = problem(seed, n_classes)
        found = classify(images, labels.tolist(), classes)
        loader = Loader([(torch.from_numpy(images), torch.from_numpy(labels))], range(n_classes))
        monkeypatch.setattr(
            theirs, "zero_shot_classifier", lambda *_, classes=classes, **__: torch.from_numpy(classes).T
        )
        expected = theirs.evaluate(SimpleNamespace(encode_image=lambda x: x), loader, None, [], [], "cpu", amp=False)
        assert found.top1 == found.score == pytest.approx(expected["acc1"], abs=1e-6)
        assert found.mean_per_class == pytest.approx(expected["mean_per_class_recall"], abs=1e-6)
        assert found.top5 == (pytest.approx(expected["acc5"], abs=1e-6) if n_classes >= 5 else None)
        assert 0.3 < found.top1 < 1


class Loader(list):
    """What CLIP_benchmark takes for a data loader: batches, and a data set that knows its classes."""

    def __init__(self, batches, classes):
        super().__init__(batches)
        self.dataset = SimpleNamespace(classes=list(classes))


def test_the_toy_world_scores_as_in_clip_benchmark_from_images_to_accuracy(monkeypatch):
    theirs = clip_benchmark(monkeypatch)
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    clip = load_clip("toy")
    toy = registry.load(
        "evalsets", "toy:100", lang="pt", data="", split="test", env=Env(Settings(device="cpu"), "eval")
    )
    shown = [sample for sample in toy.samples if "cls" in sample.members]
    labels = [int(sample.members["cls"]) for sample in shown]
    pixels = [clip.preprocess(decode_image(sample)) for sample in shown]
    vectors = class_vectors(lambda texts: clip.embed_texts(texts, "pt"), toy.classes, toy.templates)
    found = classify(clip.embed_images(pixels), labels, vectors)
    loader = Loader([(clip.preprocess.normalised(torch.stack(pixels)), torch.tensor(labels))], toy.classes)
    templates = [template.replace("{}", "{c}") for template in toy.templates]
    expected = theirs.evaluate(clip.model, loader, clip.tokenizer, list(toy.classes), templates, "cpu", amp=False)
    assert (found.top1, found.top5) == pytest.approx((expected["acc1"], expected["acc5"]), abs=1e-6)
    assert found.mean_per_class == pytest.approx(expected["mean_per_class_recall"], abs=1e-6)
    assert found.n_images == len(labels) > 20
    assert 0.1 < found.top1 < 1  # and not by chance, of ten classes


def test_ties_are_shared_where_others_take_the_first(monkeypatch):
    theirs = clip_benchmark(monkeypatch)
    torch = pytest.importorskip("torch")
    images, classes = np.ones((8, 1), np.float32), np.ones((8, 1), np.float32)
    found = classify(images, list(range(8)), classes)
    assert (found.top1, found.mean_per_class, found.predicted.tolist()) == (1 / 8, 1 / 8, [0] * 8)
    zeros = torch.zeros(8, 8)
    for label in range(8):  # all images of one class: right or wrong as one
        assert theirs.accuracy(zeros, torch.full((8,), label)) in ([1.0], [0.0])
        assert classify(images, [label] * 8, classes).top1 == 1 / 8


def test_top5_says_nothing_with_four_classes():
    assert classify(np.eye(4, dtype=np.float32), [0, 1, 2, 3], np.eye(4, dtype=np.float32)).top5 is None


def test_a_collapsed_classifier_scores_by_chance():
    images, classes = np.ones((6, 3), np.float32), np.ones((8, 3), np.float32)
    found = classify(images, [0, 1, 2, 3, 4, 5], classes)
    assert (found.top1, found.top5, found.mean_per_class) == (1 / 8, 5 / 8, 1 / 8)


def test_scores_that_differ_by_rounding_are_equal():
    classes = unit(np.array([[1.0, 0, 0], [1, 2e-7, 0], [0, 1, 0]]))
    images = unit(np.array([[1.0, 1, 0]] * 2))  # nearer to the second class by 1.4e-7
    found = classify(images, [0, 1], classes)
    assert found.hits is not None
    assert found.hits.tolist() == [1 / 3, 1 / 3]
    ranked = scored([np.array([[0.1], [0.1 + 1e-15], [0.2]])], np.ones((3, 1), bool), "map-11-point", Scale(1, None))
    assert ranked.scores is not None
    assert ranked.scores[:, 0].tolist() == [0.1, 0.1, 0.2]


def test_a_label_without_a_name_is_an_error():
    vectors = np.eye(5, dtype=np.float32)
    with pytest.raises(CapivaraError, match=r"class 4, and there are 4 class names: 0 to 3"):
        classify(vectors, [0, 1, 2, 3, 4], vectors[:4])
    with pytest.raises(CapivaraError, match="5 numbers and class embeddings 3"):
        classify(vectors, [0] * 5, vectors[:, :3])
    with pytest.raises(CapivaraError, match="no image has a class"):
        classify(vectors[:0], [], vectors)
    with pytest.raises(CapivaraError, match="not finite"):
        classify(vectors * np.float32("nan"), [0] * 5, vectors)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("broken", ["an image", "a class"])
def test_one_number_that_is_not_finite_is_an_error(value, broken):
    images, classes = np.eye(5, dtype=np.float32), np.eye(5, dtype=np.float32)
    (images if broken == "an image" else classes)[4, 2] = value  # the last row: of no earlier block
    with pytest.raises(CapivaraError, match="the model gives embeddings that are not finite numbers"):
        classify(images, [0, 1, 2, 3, 4], classes)


@pytest.mark.parametrize(("n_classes", "top5"), [(4, None), (5, 1.0), (6, 5 / 6)])
def test_top5_needs_five_classes(n_classes, top5):
    """The class of each image is its worst one: among five of five, but not of six; the last two classes tie."""
    images, classes = np.ones((n_classes, 1), np.float32), np.ones((n_classes, 1), np.float32)
    assert classify(images, list(range(n_classes)), classes).top5 == (top5 if top5 is None else pytest.approx(top5))


# --- several classes for each image, and two to tell apart ---
def test_images_with_several_classes_score_as_in_vision_evaluation_and_clip_benchmark(monkeypatch):
    evaluators = pytest.importorskip("vision_evaluation.evaluators")
    theirs = clip_benchmark(monkeypatch)
    torch = pytest.importorskip("torch")
    images, labels, classes = problem(3, 6)
    truth = np.eye(6, dtype=bool)[labels] | (np.random.default_rng(0).random((200, 6)) < 0.2)
    found = classify(images, truth, classes, "map-11-point")
    logits = 100.0 * torch.from_numpy(images).double() @ torch.from_numpy(classes).double().T
    expected = eleven_points(evaluators, logits.softmax(dim=1).numpy(), truth)
    assert found.score == found.map_11_point == pytest.approx(expected, abs=1e-6)
    exact = theirs.average_precision_per_class(logits, torch.from_numpy(truth)).mean().item()
    assert found.average_precision == pytest.approx(exact, abs=1e-6)
    assert abs(exact - expected) > 0.005  # by the logits and by the softmax are not the same number
    assert (found.top1, found.top5, found.mean_per_class, found.roc_auc, found.hits) == (None,) * 5
    assert found.contributions() is None
    assert found.predicted.tolist() == logits.argmax(dim=1).tolist()
    assert Rankings(found.scores, found.truth).map_11_point() == found.score  # what a bootstrap starts from


def eleven_points(evaluators, scores: np.ndarray, truth: np.ndarray) -> float:
    theirs = evaluators.MeanAveragePrecisionNPointsEvaluator()
    theirs.add_predictions(scores, truth.astype(int))
    (found,) = theirs.get_report().values()
    return found


def test_equal_images_are_equals_whatever_blas_makes_of_them():
    evaluators = pytest.importorskip("vision_evaluation.evaluators")
    images, labels, classes = problem(3, 6)
    truth = np.eye(6, dtype=bool)[labels] | (np.random.default_rng(0).random((200, 6)) < 0.2)
    images[50:80] = images[50]
    found = classify(images, truth, classes, "map-11-point")
    assert found.scores is not None
    assert len(np.unique(found.scores[50:80], axis=0)) == 1
    assert found.score == pytest.approx(eleven_points(evaluators, found.scores, truth), abs=1e-9)
    order = np.random.default_rng(1).permutation(200)
    assert classify(images[order], truth[order], classes, "map-11-point").score == pytest.approx(found.score, abs=1e-12)
    collapsed = classify(np.repeat(images[:1], 200, axis=0), labels % 2, classes[:2], "roc-auc")
    assert collapsed.score == 0.5


def test_one_class_per_image_can_be_scored_by_map_too():
    evaluators = pytest.importorskip("vision_evaluation.evaluators")
    images, labels, classes = problem(4, 6)
    found = classify(images, labels.tolist(), classes, "map-11-point")
    assert found.scores is not None
    assert found.score == pytest.approx(eleven_points(evaluators, found.scores, np.eye(6)[labels]), abs=1e-9)
    assert found.top1 == classify(images, labels.tolist(), classes).top1
    assert found.contributions() is None


def test_roc_auc_is_of_the_probability_of_class_1():
    metrics = pytest.importorskip("sklearn.metrics")
    images, labels, classes = problem(5, 2)
    images[10:40] = images[10]
    found = classify(images, labels.tolist(), classes, "roc-auc")
    logits = 100.0 * images.astype(np.float64) @ classes.T.astype(np.float64)
    assert (
        found.score
        == found.roc_auc
        == pytest.approx(metrics.roc_auc_score(labels, (logits[:, 1] - logits[:, 0]).round(7)), abs=1e-6)
    )
    assert found.top1 == classify(images, labels.tolist(), classes).top1
    assert found.contributions() is None
    assert 0.6 < found.score < 1


def test_a_metric_that_does_not_fit_is_an_error():
    two, three = np.eye(2, dtype=np.float32), np.eye(3, dtype=np.float32)
    with pytest.raises(CapivaraError, match="roc-auc needs two classes, and there are 3 class names"):
        classify(three, [0, 1, 2], three, "roc-auc")
    with pytest.raises(CapivaraError, match="roc-auc compares two classes, and all 2 images have class 1"):
        classify(two, [1, 1], two, "roc-auc")
    with pytest.raises(CapivaraError, match="accuracy needs exactly one class per image") as error:
        classify(two, np.ones((2, 2), bool), two, "accuracy")
    assert error.value.hint == "images with several classes are scored by map-11-point"
    with pytest.raises(CapivaraError, match="images have 2 classes to choose from, and there are 3 class names"):
        classify(three[:2], np.ones((2, 2), bool), three, "map-11-point")
    with pytest.raises(CapivaraError, match="no image has a class"):
        classify(two, np.zeros((2, 2), bool), two, "map-11-point")
    with pytest.raises(CapivaraError, match="there is no metric 'top1'"):
        classify(two, [0, 1], two, "top1")
    with pytest.raises(CapivaraError, match="an image has class -1"):
        classify(two, [0, -1], two)


def test_one_class_and_one_image():
    found = classify(np.ones((1, 2), np.float32), [0], np.ones((1, 2), np.float32))
    assert (found.top1, found.top5, found.mean_per_class, found.n_classes) == (1.0, None, 1.0, 1)


def test_classes_that_do_not_compete_are_ranked_by_their_scores():
    raw = np.array([[3.0, -1], [2, 5], [1, 4]])
    found = scored([raw[:2], raw[2:]], np.array([[1, 0], [0, 1], [1, 1]], bool), "map-11-point", Scale(2, None))
    assert np.array_equal(found.scores, raw)
    assert found.average_precision == pytest.approx(((1 + 2 / 3) / 2 + 1) / 2)


# --- mistakes, and what a bootstrap needs ---
def test_confusion_and_the_most_frequent_mistakes():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    labels, predicted = rng.integers(0, 4, 100), rng.integers(0, 5, 100)
    counts = confusion(predicted, labels.tolist(), 6)
    assert np.array_equal(counts, metrics.confusion_matrix(labels, predicted, labels=range(6)))
    by_hand = np.array([[9, 2, 0], [4, 9, 2], [0, 1, 9]])
    assert confused(by_hand) == [(1, 0, 4), (0, 1, 2), (1, 2, 2), (2, 1, 1)]
    assert confused(by_hand, 2) == [(1, 0, 4), (0, 1, 2)]
    assert by_hand[0, 0] == 9  # as it was
    assert confused(np.diag([3, 4])) == []


def test_contributions_make_the_score():
    images, labels, classes = problem(6, 7)
    images[:3] = 0  # equal scores: a part of a hit
    accuracy = classify(images, labels.tolist(), classes)
    assert accuracy.hits is not None
    assert accuracy.hits[:3].tolist() == pytest.approx([1 / 7] * 3)
    found = accuracy.contributions()
    assert found.hits.shape == found.counts.shape == (1, 200)
    assert found.hits.sum() / found.counts.sum() == pytest.approx(accuracy.score)
    by_class = classify(images, labels.tolist(), classes, "mean-per-class")
    parts = by_class.contributions()
    assert parts.hits.shape == parts.counts.shape == (6, 200)  # class 6 never occurs
    assert (parts.hits.sum(axis=1) / parts.counts.sum(axis=1)).mean() == pytest.approx(by_class.score)
    assert by_class.score == by_class.mean_per_class == accuracy.mean_per_class != accuracy.score


def test_names_and_templates_are_checked():
    with pytest.raises(CapivaraError, match=r"names.txt: class name 'notebook' stands for classes 0, 2; 1 more names"):
        check_names(["notebook", "cup", "notebook", "cup"], "names.txt")
    with pytest.raises(CapivaraError, match="class 1 has an empty name"):
        check_names(["a", " "], "names.txt")
    with pytest.raises(CapivaraError, match="1 class names"):
        check_names(["a"], "names.txt")
    with pytest.raises(CapivaraError, match=r"'a photo' has no \{\} or \{c\}"):
        check_templates(["{}", "a photo"], "templates.txt")
    check_names(["a", "b"], "names.txt")
    check_templates(["{}", "a {c}"], "templates.txt")


def test_disparity_of_published_scores():
    # M-CLIP's README, XLM-R Large ViT-L/14, text-to-image R@10 on XTD10: mean 89.03, range 10.5, std 3.11.
    scores = {
        "en": 92.4, "de": 90.6, "es": 91.0, "fr": 90.0, "zh": 89.7, "it": 91.1,
        "pl": 91.3, "ko": 85.2, "ru": 85.8, "tr": 90.3, "ja": 81.9,
    }  # fmt: skip
    found = disparity(scores)
    assert round(found.mean, 2) == 89.03
    assert round(found.range, 2) == 10.5
    assert round(found.std, 2) == 3.11
    assert found.std == pytest.approx(statistics.pstdev(scores.values()))
    assert found.worst == "ja"
    assert found.gap_to_english is not None
    assert found.gap_to_english["ja"] == pytest.approx(10.5)
    assert "en" not in found.gap_to_english


def test_disparity_without_english_and_of_one_language():
    found = disparity({"pt": 50.0, "xh": 50.0})
    assert (found.range, found.std, found.worst, found.gap_to_english) == (0.0, 0.0, "pt", None)
    with pytest.raises(CapivaraError, match="at least two"):
        disparity({"pt": 50.0})


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["first image", "last image", "first class", "last class"])
def test_embeddings_that_are_no_numbers_are_refused_wherever_they_are(bad: float, where: str) -> None:
    """Images are scored in blocks: the last one is not in the first block."""
    images = unit(np.random.default_rng(0).normal(size=(module._ROWS + 3, 4)))
    classes = unit(np.random.default_rng(1).normal(size=(3, 4)))
    classify(images, [0] * len(images), classes)
    (images if "image" in where else classes)[0 if "first" in where else -1, 2] = bad
    with pytest.raises(CapivaraError, match="not finite numbers"):
        classify(images, [0] * len(images), classes)
