"""Retrieval against a naive dense count, hand-made scores, ties, and broken embeddings."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from capivara_cli.errors import CapivaraError
from capivara_cli.evaluation import retrieval as module
from capivara_cli.evaluation.retrieval import Positives, equal_captions, retrieval


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


@pytest.mark.parametrize(
    ("other", "rank"),
    [(-(2.0**-20), 1.0), (-(2.0**-21), 1.5), (-(2.0**-22), 1.5), (2.0**-22, 1.5), (2.0**-21, 1.5), (2.0**-20, 2.0)],
)
def test_what_rounding_may_tell_apart_is_a_tie(other, rank):
    found = of_scores([[0.5, 0.5 + other]], [0], (1,))
    assert found.text_ranks.tolist() == [rank]
    assert found.text_to_image[1] == 2 - rank
    transposed = of_scores([[0.5], [0.5 + other], [0.1]], [0, 0, 0], (1,))
    assert transposed.image_ranks.tolist() == [1.0]  # both are right


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


def test_memory_is_that_of_one_block_and_not_of_all_scores():
    images, texts, owners = problem(0, 4000, 2, 2, dim=4)
    tracemalloc.start()
    retrieval(images, texts, owners)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16e6  # all scores: 128 MB


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


@pytest.mark.parametrize("row", [0, 3, 7])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("broken", ["image", "text"])
def test_one_number_that_is_not_finite_is_found_in_every_tile(monkeypatch, row, value, broken):
    monkeypatch.setattr(module, "_TILE", 3)
    images, texts, owners = problem(0, 8, 1, 1)
    (images if broken == "image" else texts)[row, 23] = value
    with pytest.raises(CapivaraError, match=f"the model gives {broken} embeddings that are not finite numbers"):
        retrieval(images, texts, owners)


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


# --- ranks ---


def test_ranks_are_in_the_order_of_the_inputs():
    by_text = [
        [0.1, 0.2, 0.9],  # image 0: third
        [0.3, 0.8, 0.9],  # image 1: second
        [0.2, 0.2, 0.5],  # image 2: first
        [0.4, 0.5, 0.5],  # image 1 ties for the first place
    ]
    found = of_scores(by_text, [0, 1, 2, 1])
    assert found.text_ranks.tolist() == [3.0, 2.0, 1.0, 1.5]
    assert found.image_ranks.tolist() == [4.0, 1.0, 3.5]
    assert (found.median_rank_text, found.median_rank_image) == (1.75, 3.5)
    again = of_scores([by_text[row] for row in (3, 0, 2, 1)], [1, 0, 2, 1])
    assert again.text_ranks.tolist() == [1.5, 3.0, 1.0, 2.0]
    assert again.image_ranks.tolist() == found.image_ranks.tolist()


def test_an_image_without_captions_ranks_behind_all_of_them():
    found = of_scores([[1, 0, 0], [0, 1, 0]], [0, 1])
    assert found.image_ranks.tolist() == [1.0, 1.0, 3.0]
    nearly_none = of_scores([[1, 0, 0]], [0])
    assert nearly_none.image_ranks.tolist() == [1.0, 2.0, 2.0]
    assert nearly_none.median_rank_image == 2.0


def test_ranks_and_recalls_agree(monkeypatch):
    monkeypatch.setattr(module, "_TILE", 16)
    images, texts, owners = problem(1, 70, 0, 4)
    found = retrieval(images, texts, owners, (1, 5))
    for k in (1, 5):
        assert found.text_to_image[k] == pytest.approx(np.mean(found.text_ranks <= k))
        assert found.image_to_text[k] == pytest.approx(np.mean(found.image_ranks <= k))


# --- what each image adds ---


def test_contributions_are_the_hits_of_each_image_and_its_captions():
    by_text = [[0.1, 0.2, 0.9], [0.3, 0.8, 0.9], [0.2, 0.2, 0.5], [0.4, 0.5, 0.5]]
    found = of_scores(by_text, [0, 1, 2, 1], (1, 2))
    # The captions' hits at 1 and 2: 0 0, 0 1, 1 1, 1/2 1. The images' best captions rank fourth, first, and 3.5.
    assert found.contributions.hits.tolist() == [[0.0, 0.5 + 0.75, 1.0], [0.0, 1.0, 0.0]]
    assert found.contributions.counts.tolist() == [[1.0, 2.0, 1.0], [1.0, 1.0, 1.0]]
    assert found.contributions.score == pytest.approx(found.mean_recall) == pytest.approx((2.25 / 4 + 1 / 3) / 2)


def test_the_score_of_the_contributions_is_mean_recall():
    images, texts, owners = problem(6, 90, 0, 5)
    found = retrieval(images, texts, owners)
    assert found.contributions.score == pytest.approx(found.mean_recall, rel=1e-12)
    assert found.contributions.counts[0].tolist() == np.bincount(owners, minlength=90).tolist()
    assert (found.contributions.counts[0] == 0).sum() == found.n_uncaptioned > 0


# --- several positives ---


def naive_of_pairs(scores: np.ndarray, right: np.ndarray, k: int) -> float:
    """Recall at k of the rows of scores, any of whose ``right`` columns will do; no ties."""
    best = np.argsort(-scores, axis=1)[:, :k]
    return float(np.take_along_axis(right, best, axis=1).any(axis=1).mean())


@pytest.mark.parametrize("tile", [1024, 9])
def test_any_of_several_positives_is_a_hit(monkeypatch, tile):
    monkeypatch.setattr(module, "_TILE", tile)
    images, texts, owners = problem(8, 50, 0, 3)
    right = np.random.default_rng(0).random((len(texts), 50)) < 0.1
    right[np.arange(len(texts)), owners] = True
    rows, columns = np.nonzero(right)
    mixed = np.random.default_rng(1).permutation(len(rows))
    found = retrieval(images, texts, owners, (1, 5), Positives(rows[mixed], columns[mixed]))
    scores = texts.astype(np.float64) @ images.astype(np.float64).T
    for k in (1, 5):
        assert found.text_to_image[k] == pytest.approx(naive_of_pairs(scores, right, k))
        assert found.image_to_text[k] == pytest.approx(naive_of_pairs(scores.T, right.T, k))
    usual = retrieval(images, texts, owners, (1, 5))
    assert found.mean_recall > usual.mean_recall + 0.05
    assert (found.text_ranks <= usual.text_ranks).all()
    assert found.contributions.score == pytest.approx(found.mean_recall)
    assert found.n_uncaptioned == usual.n_uncaptioned


def test_the_usual_positives_are_the_owners():
    images, texts, owners = problem(7, 40, 0, 3)
    plain = retrieval(images, texts, owners)
    pairs = retrieval(images, texts, owners, positives=Positives(np.arange(len(texts)), np.array(owners)))
    assert pairs.text_to_image == plain.text_to_image
    assert pairs.image_to_text == plain.image_to_text
    assert pairs.image_ranks.tolist() == plain.image_ranks.tolist()


def test_a_text_without_an_image_ranks_behind_all_of_them():
    one = Positives(np.array([1]), np.array([1]))
    images = np.eye(3, dtype=np.float32)
    found = retrieval(images, images[:2], [0, 1], (1,), one)
    assert found.text_ranks.tolist() == [4.0, 1.0]
    assert found.text_to_image == {1: 0.5}
    assert found.image_ranks.tolist() == [3.0, 1.0, 3.0]


def test_positives_that_tie_share_the_first_places():
    # Three images score the same for the text, and two of them are right.
    found = retrieval(
        np.array([[1, 0], [1, 0], [1, 0], [0, 1]], np.float32), np.array([[1, 0]], np.float32), [0], (1, 2),
        Positives(np.array([0, 0]), np.array([0, 2])),
    )  # fmt: skip
    assert found.text_to_image == {1: pytest.approx(2 / 3), 2: 1.0}
    assert found.text_ranks.tolist() == [pytest.approx(4 / 3)]
    assert found.image_to_text == {1: 0.5, 2: 0.5}  # images 0 and 2; nothing describes the others


def test_equal_captions_describe_each_others_images():
    texts, owners = ["a dog", "a cat", "a dog", "A dog", "a dog", "a cat"], [0, 1, 2, 2, 0, 3]
    found = equal_captions(texts, owners)
    assert found is not None
    pairs = list(zip(found.texts.tolist(), found.images.tolist(), strict=True))
    assert pairs == [(0, 0), (0, 2), (1, 1), (1, 3), (2, 0), (2, 2), (3, 2), (4, 0), (4, 2), (5, 1), (5, 3)]
    assert equal_captions(["a dog", "a cat", "a dog"], [0, 1, 0]) is None  # twice, of one image
    assert equal_captions([], []) is None


def test_a_caption_of_two_images_is_worth_a_half_unless_equal_captions_count():
    images, owners = np.eye(2, dtype=np.float32), [0, 1]
    texts = np.array([[0.5, 0.5], [0.5, 0.5]], np.float32)
    assert retrieval(images, texts, owners, (1,)).mean_recall == 0.5
    shared = retrieval(images, texts, owners, (1,), equal_captions(["two dogs", "two dogs"], owners))
    assert (shared.text_to_image, shared.image_to_text) == ({1: 1.0}, {1: 1.0})
    assert shared.text_ranks.tolist() == shared.image_ranks.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("row", [0, 4, 5, -1])
@pytest.mark.parametrize("side", ["image", "text"])
def test_embeddings_that_are_no_numbers_are_refused_in_every_tile(
    side: str, row: int, bad: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TILE", 5)
    images, texts, owners = problem(3, 12, 1, 2)
    retrieval(images, texts, owners)
    (images if side == "image" else texts)[row, 3] = bad
    with pytest.raises(CapivaraError, match=f"{side} embeddings that are not finite"):
        retrieval(images, texts, owners)
