"""Recall beside CLIP_benchmark's own code, on the same embeddings; ranks beside scipy's."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support import variants

from capivara_cli.evaluation.retrieval import retrieval
from capivara_cli.evaluation.sets import toy
from capivara_cli.models.clip import load_clip
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings
from capivara_cli.shards.images import decode_image

peer = pytest.importorskip("clip_benchmark.metrics.zeroshot_retrieval")

KS = (1, 5, 10)


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def peer_recalls(
    images: np.ndarray, texts: np.ndarray, owners: Sequence[int], ks: Sequence[int], batch: int = 7
) -> tuple[dict[int, float], dict[int, float]]:
    """CLIP_benchmark's ``evaluate`` with a model that has these embeddings: a batch of images with their captions each
    time, as its data loaders give them; a caption is the number of its embedding."""
    captions = [[str(text) for text, owner in enumerate(owners) if owner == image] for image in range(len(images))]
    model = SimpleNamespace(
        encode_image=lambda rows: rows, encode_text=lambda numbers: torch.from_numpy(texts)[numbers]
    )
    loader = [
        (torch.from_numpy(images[start : start + batch]), captions[start : start + batch])
        for start in range(0, len(images), batch)
    ]

    def tokenizer(names: list[str]) -> torch.Tensor:
        return torch.tensor([int(name) for name in names], dtype=torch.long)

    found = peer.evaluate(model, loader, tokenizer, "cpu", amp=False, recall_k_list=list(ks))
    return (
        {k: found[f"image_retrieval_recall@{k}"] for k in ks},
        {k: found[f"text_retrieval_recall@{k}"] for k in ks},
    )


def problem(seed: int, n_images: int, low: int, high: int, dim: int = 32) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images with ``low`` to ``high`` captions each, in random order, that resemble them a little."""
    rng = np.random.default_rng(seed)
    images = unit(rng.standard_normal((n_images, dim)))
    owners = np.repeat(np.arange(n_images), rng.integers(low, high + 1, n_images))
    rng.shuffle(owners)
    texts = unit(0.4 * images[owners] + unit(rng.standard_normal((len(owners), dim))))
    return images, texts, owners


def assert_the_same(images: np.ndarray, texts: np.ndarray, owners: np.ndarray, ks: Sequence[int]) -> None:
    found = retrieval(images, texts, owners, ks)
    by_text, by_image = peer_recalls(images, texts, owners, ks)
    assert found.text_to_image == pytest.approx(by_text, abs=1e-6)
    assert found.image_to_text == pytest.approx(by_image, abs=1e-6)


@pytest.mark.parametrize(
    ("n_images", "low", "high"), [(100, 5, 5), (150, 1, 1), (77, 1, 6), (90, 0, 3), (40, 0, 1), (1300, 1, 2)]
)
def test_recalls_equal_those_of_clip_benchmark(n_images, low, high):
    images, texts, owners = problem(n_images, n_images, low, high)
    assert_the_same(images, texts, owners, (1, 2, 5, 10))
    assert 0.05 < retrieval(images, texts, owners, (1,)).mean_recall < 0.95  # neither hopeless nor trivial


@settings(max_examples=variants.number(13, 40), deadline=None, derandomize=True)
@given(
    counts=st.lists(st.integers(0, 4), min_size=2, max_size=30).filter(any),
    seed=st.integers(0, 2**32 - 1),
    k=st.integers(1, 8),
)
def test_recalls_equal_those_of_clip_benchmark_on_any_captions(counts, seed, k):
    rng = np.random.default_rng(seed)
    owners = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    images = unit(rng.standard_normal((len(counts), 8)))
    texts = unit(0.5 * images[owners] + unit(rng.standard_normal((len(owners), 8))))
    scores = texts.astype(np.float64) @ images.T.astype(np.float64)
    assume(np.diff(np.unique(scores)).min(initial=1) > 1e-6)  # two scores that only rounding tells apart: ties, below
    assert_the_same(images, texts, owners, (min(k, len(counts), len(owners)),))


@pytest.fixture(scope="module")
def toy_world():
    """Embeddings by the real toy CLIP: images, and captions in two languages."""
    torch.set_num_threads(1)
    clip, env = load_clip("toy", device="cpu"), Env(Settings(device="cpu"), "eval", {})
    samples = {lang: list(toy.load("", lang=lang, data="", split="test", env=env).samples) for lang in ("en", "pt")}
    images = clip.embed_images([clip.preprocess(decode_image(sample)) for sample in samples["en"]])
    return images, {
        lang: clip.embed_texts([sample.captions[0].text for sample in each], lang) for lang, each in samples.items()
    }


def test_the_toy_world_scores_as_in_clip_benchmark(toy_world):
    images, texts = toy_world
    rows = np.arange(len(images))
    assert len(images) == 300
    for lang in ("en", "pt"):
        assert_the_same(images, texts[lang], rows, KS)
    both = np.concatenate([texts["en"], texts["pt"][::3]])
    assert_the_same(images, both, np.concatenate([rows, rows[::3]]), KS)
    english, portuguese = (retrieval(images, texts[lang], rows).mean_recall for lang in ("en", "pt"))
    assert english > 0.8 > portuguese > 0.3


# --- ties: here the two differ on purpose ---


def recall(scores: np.ndarray, owners: np.ndarray, k: int) -> tuple[float, float]:
    """CLIP_benchmark's recall at k, text to image and image to text, of scores [T, N]."""
    table = torch.from_numpy(scores)
    positive = torch.from_numpy(owners[:, None] == np.arange(scores.shape[1]))
    by_text, by_image = peer.recall_at_k(table, positive, k), peer.recall_at_k(table.T, positive.T, k)
    return float((by_text > 0).float().mean()), float((by_image > 0).float().mean())


def of_scores(scores: np.ndarray, owners: np.ndarray, ks: Sequence[int]):
    """Retrieval for given scores [T, N]: images are the basis, texts the rows of scores."""
    return retrieval(np.eye(scores.shape[1], dtype=np.float32), scores, owners, ks)


def shuffled(scores: np.ndarray, owners: np.ndarray, texts: Sequence[int], images: Sequence[int]):
    """The same scores and owners with texts and images in another order."""
    place = np.argsort(images)
    return scores[np.ix_(texts, images)], place[owners[list(texts)]]


def test_a_tie_for_the_first_place_depends_on_the_order_in_clip_benchmark_only():
    scores, owners = np.array([[0.5, 0.5, 0.25]], np.float32), np.array([0])
    orders = [shuffled(scores, owners, [0], images) for images in itertools.permutations(range(3))]
    assert {recall(*order, 1)[0] for order in orders} == {0.0, 1.0}
    assert {of_scores(*order, (1,)).text_to_image[1] for order in orders} == {0.5}


def test_a_collapsed_model_is_worth_chance_and_in_clip_benchmark_what_the_order_makes_of_it():
    images, owners = np.ones((30, 4), np.float32) / 2, np.repeat(np.arange(30), 2)
    texts = np.ones((60, 4), np.float32) / 2
    found = retrieval(images, texts, owners, KS)
    assert found.text_to_image == pytest.approx({1: 1 / 30, 5: 5 / 30, 10: 10 / 30})
    assert found.image_to_text[5] == pytest.approx(1 - (55 / 60) * (54 / 59))  # 5 of 60 drawn, one of two is enough
    rng = np.random.default_rng(0)
    theirs = [recall(np.ones((60, 30), np.float32), rng.permutation(owners), 5)[1] for _ in range(400)]
    assert min(theirs) == pytest.approx(3 / 30)  # the five captions it took have three images: 0.1
    assert max(theirs) == pytest.approx(5 / 30)  # five images: 0.167
    assert np.mean(theirs) == pytest.approx(found.image_to_text[5], abs=4 * np.std(theirs) / 20)  # 0.161


def test_ties_equal_the_mean_of_clip_benchmark_over_all_orders():
    scores = np.array(
        [[2, 2, 1, 0], [1, 2, 2, 2], [0, 0, 0, 0], [1, 1, 0, 2], [2, 0, 1, 2]], np.float32
    ) / 4  # fmt: skip
    owners = np.array([0, 1, 1, 2, 0])
    for k in (1, 2, 3):
        found = of_scores(scores, owners, (k,))
        by_image_order = [
            recall(*shuffled(scores, owners, range(5), images), k)[0] for images in itertools.permutations(range(4))
        ]
        by_text_order = [
            recall(*shuffled(scores, owners, texts, range(4)), k)[1] for texts in itertools.permutations(range(5))
        ]
        assert found.text_to_image[k] == pytest.approx(np.mean(by_image_order), abs=1e-6)
        assert found.image_to_text[k] == pytest.approx(np.mean(by_text_order), abs=1e-6)
        assert np.ptp(by_image_order) > 0.1  # the order did matter
    assert of_scores(scores, owners, (1,)).text_to_image[1] == pytest.approx((1 / 2 + 1 / 3 + 1 / 4 + 0 + 1 / 2) / 5)


def test_many_ties_equal_the_mean_of_clip_benchmark_over_random_orders():
    images, texts, owners = problem(5, 60, 0, 4)
    scores = (np.round(16 * texts @ images.T) / 16).astype(np.float32)  # some twenty different scores
    found = of_scores(scores, owners, (5,))
    rng = np.random.default_rng(0)
    theirs = np.array([
        recall(*shuffled(scores, owners, rng.permutation(len(texts)), rng.permutation(60)), 5) for _ in range(300)
    ])  # fmt: skip
    error = theirs.std(axis=0) / 300**0.5
    assert (error > 1e-4).all()
    assert abs(theirs.mean(axis=0) - [found.text_to_image[5], found.image_to_text[5]]) == pytest.approx(
        [0, 0], abs=4 * error.max()
    )


@pytest.mark.parametrize(("low", "high"), [(1, 1), (1, 5), (0, 3)])
def test_ranks_of_texts_equal_those_of_scipy(low, high):
    """With ``method="average"`` scipy gives equals the mean of their places: ours for one positive among them."""
    stats = pytest.importorskip("scipy.stats")
    images, texts, owners = problem(11, 80, low, high)
    scores = (np.round(64 * texts @ images.T) / 64).astype(np.float32)
    found = of_scores(scores, owners, (1,))
    by_text = stats.rankdata(-scores, method="average", axis=1)[np.arange(len(texts)), owners]
    assert found.text_ranks == pytest.approx(by_text)
    assert found.median_rank_text == np.median(by_text)
    assert (by_text % 1 > 0).any()  # there were ties


@pytest.mark.parametrize(("low", "high"), [(1, 1), (1, 5), (0, 3)])
def test_an_image_has_the_rank_of_its_best_caption(low, high):
    stats = pytest.importorskip("scipy.stats")
    images, texts, owners = problem(11, 80, low, high)
    found = retrieval(images, texts, owners, (1,))
    places = stats.rankdata(-(texts @ images.T), axis=0)
    by_image = [places[owners == image, image].min(initial=len(texts) + 1) for image in range(80)]
    assert found.image_ranks == pytest.approx(by_image)
    assert found.median_rank_image == np.median(by_image)


def test_the_rank_of_the_first_of_several_equals_is_the_mean_over_all_orders():
    scores = np.array([[3], [2], [2], [2], [2], [1]], np.float32) / 4  # of the image's two captions, both tie with two
    orders = itertools.permutations([1, 2, 3, 4])
    firsts = [2 + min(order.index(1), order.index(3)) for order in orders]
    images = np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)
    texts = np.concatenate([scores, np.zeros_like(scores)], axis=1)
    found = retrieval(images, texts, [1, 0, 1, 0, 1, 1], (1,))
    assert found.image_ranks[0] == pytest.approx(np.mean(firsts)) == pytest.approx(8 / 3)
