"""Retrieval against a naive dense count, hand-made scores, ties, and broken embeddings."""

from __future__ import annotations

import numpy as np
import pytest

from capivara_cli.errors import CapivaraError
from capivara_cli.evaluation import retrieval as module
from capivara_cli.evaluation.retrieval import retrieval


def naive(images: np.ndarray, texts: np.ndarray, owners: list[int], k: int) -> tuple[float, float]:
    """CLIP_benchmark's definitions, one query at a time, in float64."""
    scores = texts.astype(np.float64) @ images.astype(np.float64).T
    found = [owner in np.argsort(-row, kind="stable")[:k] for row, owner in zip(scores, owners, strict=True)]
    hits = []
    for image, column in enumerate(scores.T):
        best = np.argsort(-column, kind="stable")[:k]
        hits.append(any(owners[text] == image for text in best))
    return float(np.mean(found)), float(np.mean(hits))


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def problem(seed: int, n_images: int, low: int, high: int, dim: int = 24) -> tuple[np.ndarray, np.ndarray, list[int]]:
    """Images with ``low`` to ``high`` captions each, in random order, that resemble them a little."""
    rng = np.random.default_rng(seed)
    images = unit(rng.standard_normal((n_images, dim)))
    owners = np.repeat(np.arange(n_images), rng.integers(low, high + 1, n_images))
    rng.shuffle(owners)
    texts = unit(0.35 * images[owners] + unit(rng.standard_normal((len(owners), dim))))
    return images, texts, owners.tolist()


def of_scores(scores: list[list[float]], owners: list[int], ks: tuple[int, ...] = (1, 5, 10)):
    """Retrieval for given scores [texts, images]: images are the basis, texts the rows of scores."""
    matrix = np.array(scores, dtype=np.float32)
    return retrieval(np.eye(matrix.shape[1], dtype=np.float32), matrix, owners, ks)


@pytest.mark.parametrize("tile", [1024, 7])
@pytest.mark.parametrize(("n_images", "low", "high"), [(60, 5, 5), (90, 1, 1), (77, 1, 6), (80, 0, 3)])
def test_equals_the_naive_count(monkeypatch, tile, n_images, low, high):
    monkeypatch.setattr(module, "_TILE", tile)
    for seed in range(4):
        images, texts, owners = problem(seed, n_images, low, high)
        found = retrieval(images, texts, owners, (1, 5, 10))
        for k in (1, 5, 10):
            by_text, by_image = naive(images, texts, owners, k)
            assert found.text_to_image[k] == pytest.approx(by_text, abs=1e-6)
            assert found.image_to_text[k] == pytest.approx(by_image, abs=1e-6)
        assert 0 < found.text_to_image[1] < found.text_to_image[10] < 1  # the problem is neither trivial nor hopeless
        assert found.n_uncaptioned == n_images - len(set(owners))
        assert (found.n_images, found.n_captions) == (n_images, len(owners))


def test_several_full_tiles():
    images, texts, owners = problem(9, 1100, 2, 2)
    found = retrieval(images, texts, owners)
    by_text, by_image = naive(images, texts, owners, 5)
    assert found.text_to_image[5] == pytest.approx(by_text, abs=1e-6)
    assert found.image_to_text[5] == pytest.approx(by_image, abs=1e-6)


def test_hand_made_scores():
    # Two texts per image. Image 0: its texts are 7th and 8th; image 3: 3rd; images 1 and 2: first.
    by_image = [
        [0.2, 0.1, 0.3, 0.4], [0.1, 0.2, 0.1, 0.3], [0.9, 1.0, 0.2, 0.9], [0.5, 0.9, 0.1, 0.8],
        [0.8, 0.3, 1.0, 0.1], [0.7, 0.2, 0.4, 0.2], [0.6, 0.1, 0.3, 0.7], [0.4, 0.0, 0.2, 0.6],
    ]  # fmt: skip
    found = of_scores(by_image, [0, 0, 1, 1, 2, 2, 3, 3])
    assert found.image_to_text == {1: 0.5, 5: 0.75, 10: 1.0}
    # First among the images are the texts 2, 3, 4, 6 and 7: five of eight.
    assert found.text_to_image == {1: 0.625, 5: 1.0, 10: 1.0}
    assert found.mean_recall == pytest.approx((0.75 + 2.625 / 3) / 2)


def test_perfect_and_reversed():
    assert of_scores([[1, 0], [0, 1]], [0, 1], (1,)).mean_recall == 1.0
    assert of_scores([[0, 1], [1, 0]], [0, 1], (1,)).mean_recall == 0.0


def test_an_image_without_captions_is_a_miss_in_the_denominator():
    found = of_scores([[1, 0, 0], [0, 1, 0]], [0, 1], (1,))
    assert found.image_to_text[1] == pytest.approx(2 / 3)
    assert found.text_to_image[1] == 1.0
    assert found.n_uncaptioned == 1


def test_one_caption_in_the_first_k_is_enough():
    scores = [[0.9, 0.0], [0.1, 0.2], [0.2, 0.8], [0.5, 0.6]]
    found = of_scores(scores, [0, 0, 1, 1], (1, 2))
    assert found.image_to_text == {1: 1.0, 2: 1.0}
    assert found.text_to_image == {1: 0.75, 2: 1.0}


@pytest.mark.parametrize("noise", [0.0, 1e-7])
def test_a_collapsed_model_scores_by_chance(noise):
    rng = np.random.default_rng(0)
    vector = unit(rng.standard_normal((1, 512)))
    owners = np.repeat(np.arange(1200), 2)
    images = np.tile(vector, (1200, 1)) + noise * rng.standard_normal((1200, 512)).astype(np.float32) / 23
    found = retrieval(images.astype(np.float32), np.tile(vector, (2400, 1)), owners)
    for k in (1, 5, 10):
        assert found.text_to_image[k] == pytest.approx(k / 1200, rel=1e-6)
    assert found.image_to_text[1] == pytest.approx(1 / 1200, rel=1e-6)
    # The chance that one of 2 texts is among 5 drawn from 2400 without replacement.
    assert found.image_to_text[5] == pytest.approx(1 - (2395 / 2400) * (2394 / 2399), rel=1e-6)


def test_ties_count_by_expectation():
    # The text ties with one other image for the first place: half a hit at 1, a whole one at 2.
    found = of_scores([[0.5, 0.5, 0.1], [0.0, 0.9, 0.0], [0.0, 0.0, 0.9]], [0, 1, 2], (1, 2))
    assert found.text_to_image == {1: pytest.approx(2.5 / 3), 2: 1.0}


def test_the_order_of_samples_does_not_matter():
    images, texts, owners = problem(3, 40, 0, 4)
    texts[5], texts[7] = texts[11], texts[12]  # duplicate captions
    images[4] = images[9]  # and a duplicate image
    found = retrieval(images, texts, owners)
    rng = np.random.default_rng(1)
    by_text, by_image = rng.permutation(len(texts)), rng.permutation(len(images))
    place = np.argsort(by_image)
    again = retrieval(images[by_image], texts[by_text], place[np.array(owners)[by_text]])
    assert again.text_to_image == pytest.approx(found.text_to_image)
    assert again.image_to_text == pytest.approx(found.image_to_text)


def test_k_beyond_the_candidates_is_everything():
    found = of_scores([[0, 1], [1, 0]], [0, 1], (1, 50))
    assert found.text_to_image[50] == found.image_to_text[50] == 1.0


def test_broken_embeddings_are_refused():
    images, texts, owners = problem(0, 5, 1, 1)
    broken = texts.copy()
    broken[2, 3] = np.nan
    with pytest.raises(CapivaraError, match="text embeddings that are not finite"):
        retrieval(images, broken, owners)
    with pytest.raises(CapivaraError, match="24 numbers and text embeddings 20"):
        retrieval(images, texts[:, :20], owners)
    with pytest.raises(CapivaraError, match="5 images and 0 captions"):
        retrieval(images, texts[:0], [])
    with pytest.raises(ValueError, match="one of 5 images"):
        retrieval(images, texts, [0, 1, 2, 3, 5])


def test_the_inputs_are_not_changed():
    images, texts, owners = problem(2, 12, 0, 3)
    kept = images.copy(), texts.copy(), list(owners)
    retrieval(images, texts, owners)
    assert (images == kept[0]).all()
    assert (texts == kept[1]).all()
    assert owners == kept[2]


def test_a_text_ties_with_itself_at_any_scale():
    images, texts, owners = problem(4, 50, 1, 3, dim=700)
    found = retrieval(images * 4096, texts * 4096, owners)
    for k in (1, 5, 10):
        by_text, by_image = naive(images, texts, owners, k)
        assert found.text_to_image[k] == pytest.approx(by_text, abs=1e-6)
        assert found.image_to_text[k] == pytest.approx(by_image, abs=1e-6)
