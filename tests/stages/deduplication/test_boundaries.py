"""Where images and captions begin to be duplicates: exactly at the limit, beyond the first tile, over two hops."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.made import shard_bytes, toy_like

from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings
from capivara_cli.shards.sample import Caption
from capivara_cli.stages import dedupe as stage
from capivara_cli.stages.dedupe import Options
from capivara_cli.stages.deduplication import cosine, other_sets
from capivara_cli.stages.deduplication.captions import algorithm_1, by_text, is_synthetic
from capivara_cli.stages.deduplication.cosine import CosineSpace, EmbeddingIndex, Vectors, exact_products
from capivara_cli.stages.deduplication.hamming import HashIndex, masks
from capivara_cli.stages.deduplication.thinning import thinned


@pytest.mark.parametrize("others", [0, 60])
def test_captions_as_similar_as_the_threshold_stay(others: int) -> None:
    vectors = [{"a": 1.0}, {"a": 0.5, "b": math.sqrt(0.75)}, *({f"t{number}": 1.0} for number in range(others))]
    rank = list(range(len(vectors)))
    assert thinned(vectors, rank, 1, 0.5) == rank
    assert len(thinned(vectors, rank, 1, 0.4999)) == len(vectors) - 1


@pytest.mark.parametrize("count", [4, 60])
def test_sums_that_differ_in_the_order_of_addition_are_equal(count: int) -> None:
    """Each text shares a third, a fifth and a seventh with its neighbours, in another order; then the rank decides."""
    weights = [1 / 3, 1 / 5, 1 / 7]
    texts: list[dict[str, float]] = []
    for number in range(3):
        turned = weights[number:] + weights[:number]
        rest = math.sqrt(1 - sum(value * value for value in weights))
        texts.append({"a": turned[0], "b": turned[1], "c": turned[2], f"own {number}": rest})
    texts += [{f"t{number}": 1.0} for number in range(count - 3)]
    for rank in ([0, 1, 2], [2, 1, 0], [1, 2, 0]):
        gone = set(range(count)) - set(thinned(texts, [*rank, *range(3, count)], count - 1, 0.1))
        assert gone == {rank.index(2)}


def test_a_caption_over_two_hops_is_by_its_first_author() -> None:
    first = Caption("a dog", "en", "alt")
    second = Caption("um cão", "pt", "x:en-pt", "a dog")
    third = Caption("un perro", "es", "x:pt-es", "um cão")
    fourth = Caption("un gos", "ca", "x:es-ca", "un perro")
    captions = [fourth, third, second, first]
    assert not any(is_synthetic(each, by_text(captions)) for each in captions)
    made = [fourth, third, second, Caption("a dog", "en", "Salesforce/blip2", prefix="a photo of")]
    assert all(is_synthetic(each, by_text(made)) for each in made)


def test_algorithm_1_begins_at_k_min_texts() -> None:
    assert algorithm_1(["aa", "bb"], 3, 0.3) == [0, 1]
    assert algorithm_1(["aa", "bb", "cc"], 3, 0.3) == [], "texts unlike all others go, as published"


@pytest.mark.parametrize("radius", [0, 3, 4])
@pytest.mark.parametrize("count", [1, 20_000])
def test_hashes_that_differ_in_exactly_radius_bits_are_near(radius: int, count: int) -> None:
    hashes = np.random.default_rng(0).integers(0, 1 << 63, count, np.uint64)
    assert bool(masks(count, radius)) == (count > 1)
    index = HashIndex(hashes, radius)
    at, beyond = np.uint64((1 << radius) - 1), np.uint64((1 << (radius + 1)) - 1)
    spread = np.uint64(sum(1 << (15 * bit) for bit in range(radius)))
    queries = np.array(
        [hashes[0], hashes[0] ^ at, hashes[0] ^ spread, hashes[0] ^ beyond, hashes[0] ^ (beyond << np.uint64(20))]
    )
    assert index.near_any(queries).tolist() == [True, True, True, False, False]


def vectors(count: int, dim: int = 8) -> np.ndarray:
    found = np.random.default_rng(1).normal(size=(count, dim))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float16)


def test_images_as_similar_as_the_limit_stay() -> None:
    stored = vectors(6)
    alike = Vectors(stored, 0.0, "cpu")
    exact = float(alike._cosines(np.array([0]), np.array([1]))[0])
    rows = np.arange(2)
    for similarity, near in ((exact, False), (np.nextafter(exact, -1), True), (np.nextafter(exact, 1), False)):
        one, other = Vectors(stored, float(similarity), "cpu").above(rows[:1], rows[1:])
        assert bool(len(one)) is near and len(one) == len(other)


def test_images_beyond_the_first_tile_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cosine, "_TILE", 2)
    stored = vectors(7)
    index = EmbeddingIndex(stored, 0.999, "cpu")
    assert index.near_any(stored).tolist() == [True] * 7
    assert not index.near_any(-stored).any()
    space = CosineSpace(Vectors(np.concatenate([stored, stored]), 0.999, "cpu"))
    assert space.near_any(np.arange(7, 14), np.arange(7)).tolist() == [True] * 7
    assert space.near_any(np.arange(7, 14), np.arange(3)).tolist() == [True] * 3 + [False] * 4


@pytest.mark.parametrize("before", ["medium", "high", "highest"])
def test_the_precision_of_products_is_restored(before: str) -> None:
    import torch

    now = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(before)
        with exact_products():
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == before
        with pytest.raises(ValueError), exact_products():
            raise ValueError
        assert torch.get_float32_matmul_precision() == before
    finally:
        torch.set_float32_matmul_precision(now)


OTHER = {
    "radius": {"radius": 9}, "similarity": {"similarity": 0.5}, "matches": {"against_by": "phash"},
    "split": {"split": "train"}, "data": {"data": "copy"}, "sets": {"against": "b"}, "model": {"model": "other"},
    "weights": {"pretrained": "other"},
}  # fmt: skip


@pytest.mark.parametrize("what", OTHER)
def test_two_steps_that_differ_in_one_option_examine_the_other_sets_twice(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        Path(name).mkdir()
        Path(name, "00000.tar").write_bytes(shard_bytes(toy_like(1)))
    made: list[Any] = []

    def examined(settings: Any, examiner: Any, env: Env) -> object:
        made.append(settings)
        return object()

    monkeypatch.setattr(other_sets, "OtherSets", examined)
    monkeypatch.setattr(stage, "_clip", lambda options, env: None)
    env = Env(Settings(), "dedupe")
    base: dict[str, Any] = {"against": "a"}
    first = stage._others(Options(**base), env)
    assert stage._others(Options(**base), env) is first and len(made) == 1
    assert stage._others(Options(**{**base, **OTHER[what]}), env) is not first
    assert len(made) == 2
