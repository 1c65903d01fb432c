"""Zero-shot classification and disparity: against scikit-learn, published rows and numbers worked out by hand."""

from __future__ import annotations

import statistics

import numpy as np
import pytest

from capivara_cli.errors import CapivaraError
from capivara_cli.evaluation.disparity import disparity
from capivara_cli.evaluation.zeroshot import check_names, check_templates, class_vectors, classify, prompt


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


def test_top5_says_nothing_with_four_classes():
    assert classify(np.eye(4, dtype=np.float32), [0, 1, 2, 3], np.eye(4, dtype=np.float32)).top5 is None


def test_a_collapsed_classifier_scores_by_chance():
    images, classes = np.ones((6, 3), np.float32), np.ones((8, 3), np.float32)
    found = classify(images, [0, 1, 2, 3, 4, 5], classes)
    assert (found.top1, found.top5, found.mean_per_class) == (1 / 8, 5 / 8, 1 / 8)


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
