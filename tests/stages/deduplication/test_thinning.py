"""Many captions of one image: thinned as before by an algorithm that adds up every cosine at every step, and fast."""

from __future__ import annotations

import csv
import itertools
import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import variants
from support.made import PHOTOS

from capivara_cli.languages import similarity
from capivara_cli.languages.cosine_matrix import CosineMatrix
from capivara_cli.shards.sample import Caption
from capivara_cli.stages.deduplication import thinning
from capivara_cli.stages.deduplication.captions import algorithm_1, diverse

WORDS = ("cat", "dog", "red", "blue", "runs", "sleeps", "on", "a", "the", "grass", "sofa", "two", "big", "with", "ball")


# --- the algorithms as they were, whose results must not change ---
def cubic(texts: Sequence[str], rank: Sequence[tuple[float, bool, int]], k_min: int, threshold: float) -> list[int]:
    alive = list(range(len(texts)))
    while len(alive) > k_min:
        cosine = similarity.cosines(similarity.tfidf([similarity.ngrams(texts[index]) for index in alive]))
        left = cubic_once(cosine, [rank[index] for index in alive], k_min, threshold)
        if len(left) == len(alive):
            break
        alive = [alive[each] for each in left]
    return alive


def cubic_once(cosine: list[list[float]], rank: list[tuple[float, bool, int]], k_min: int, thr: float) -> list[int]:
    alive = list(range(len(cosine)))
    while len(alive) > k_min:
        near = [a for a in alive if any(cosine[a][b] > thr for b in alive if b != a)]
        if not near:
            break
        alive.remove(max(near, key=lambda a: (round(sum(sorted(cosine[a][b] for b in alive)), 9), rank[a])))
    return alive


def published_cosines(texts: Sequence[str]) -> list[list[float]]:
    def in_order(values: object) -> float:
        return similarity._in_order(values)  # type: ignore[arg-type]

    vectors = similarity.tfidf([similarity.words(text) for text in texts], in_order)
    vectors = [similarity.normalised(vector, in_order) for vector in vectors]
    return [
        [in_order(weight * other[term] for term, weight in one.items() if term in other) for other in vectors]
        for one in vectors
    ]


def cubic_as_published(texts: Sequence[str], k_min: int, threshold: float) -> list[int]:
    if len(texts) < k_min:
        return list(range(len(texts)))
    alike = np.array(published_cosines(texts)) - np.eye(len(texts))
    left = len(texts)
    while not (alike <= threshold).all() and left > k_min:
        most = int(np.argmax(alike.sum(axis=0)))
        alike[most, :] = 0
        alike[:, most] = 0
        left -= 1
    return [int(index) for index in np.flatnonzero(alike.sum(axis=0) != 0)]


# --- what stays ---
def kept(texts: Sequence[str], rank: list[tuple[float, bool, int]], k_min: int, threshold: float) -> list[int]:
    return diverse([Caption(text, "en", "alt") for text in texts], rank, list(range(len(texts))), k_min, threshold)


def some_rank(texts: Sequence[str], chance: random.Random) -> list[tuple[float, bool, int]]:
    return [(chance.choice((2.0, -0.1, -0.2)), chance.random() < 0.5, index) for index in range(len(texts))]


TIED = [" ".join(words) for words in (("red", "cat", "on"), ("cat", "on", "red"), ("on", "red", "cat"))]
line = st.one_of(
    st.lists(st.sampled_from(WORDS), min_size=1, max_size=7).map(" ".join),
    st.integers(0, 99).map("a photo of number {:02d}".format),  # many of their sums are equal
    st.sampled_from(TIED),
)


THRESHOLDS = st.sampled_from((0.0, 0.2, 0.3, 0.7, 1.0))


@settings(max_examples=variants.number(40, 120), deadline=None)
@given(
    st.lists(line, min_size=1, max_size=40), st.integers(1, 5), st.sampled_from((0.0, 0.2, 0.3, 0.7, 1.0)), st.randoms()
)
def test_the_fast_way_keeps_the_same_captions(
    lines: list[str], k_min: int, threshold: float, chance: random.Random
) -> None:
    rank = some_rank(lines, chance)
    many = thinning.MANY
    for from_here in (1, many):
        thinning.MANY = from_here
        try:
            assert kept(lines, rank, k_min, threshold) == cubic(lines, rank, k_min, threshold)
        finally:
            thinning.MANY = many


@settings(max_examples=variants.number(40, 120), deadline=None)
@given(st.lists(line, min_size=1, max_size=40), st.integers(1, 5), THRESHOLDS)
def test_algorithm_1_as_published_keeps_the_same_captions(lines: list[str], k_min: int, threshold: float) -> None:
    lines = ["a word", *lines]
    assert similarity.cosines_as_published(lines).tolist() == published_cosines(lines)
    assert algorithm_1(lines, k_min, threshold) == cubic_as_published(lines, k_min, threshold)


MADE = {
    "sentences": lambda chance: " ".join(chance.choices(WORDS, k=8)),
    "templates": lambda chance: f"a photo of {chance.choice(WORDS)} number {chance.randrange(1000):03d}",
    "permutations": lambda chance: " ".join(chance.sample(WORDS[:6], 6)),
    "no spaces": lambda chance: "".join(chance.choices("猫狗红蓝草大小", k=9)),
}


@pytest.mark.parametrize(("kind", "threshold"), variants.some([*itertools.product(MADE, [0.3, 0.8])], 4))
def test_two_hundred_captions_are_thinned_as_before(kind: str, threshold: float) -> None:
    chance = random.Random(kind)
    lines = list(dict.fromkeys(MADE[kind](chance) for _ in range(200)))
    rank = some_rank(lines, chance)
    assert kept(lines, rank, 3, threshold) == cubic(lines, rank, 3, threshold)
    if kind != "no spaces":
        assert algorithm_1(lines, 3, threshold) == cubic_as_published(lines, 3, threshold)


def real_captions() -> list[str]:
    if not (PHOTOS / "captions.csv").is_file():
        pytest.skip("the photos are not here")
    with open(PHOTOS / "captions.csv", encoding="utf-8", newline="") as rows:
        return [row["caption"] for row in csv.DictReader(rows)]


def test_real_captions_are_thinned_as_before() -> None:
    lines = real_captions()
    for start in range(0, len(lines), 150):
        some = lines[start : start + 150]
        rank = some_rank(some, random.Random(start))
        assert kept(some, rank, 3, 0.3) == cubic(some, rank, 3, 0.3)
        assert algorithm_1(some, 3, 0.3) == cubic_as_published(some, 3, 0.3)


# --- many ---
@pytest.mark.parametrize("kind", ["sentences", "templates", "no spaces"])
def test_a_thousand_captions_are_thinned(kind: str) -> None:
    """The cubic way takes minutes; ``benchmarks/peers/dedupe_captions.py`` measures how long this one takes."""
    chance = random.Random(0)
    lines = list(dict.fromkeys(MADE[kind](chance) for _ in range(4000)))[:1000]
    rank = some_rank(lines, chance)
    assert 3 <= len(kept(lines, rank, 3, 0.3)) < 1000
    if kind != "no spaces":
        assert 3 <= len(algorithm_1(lines, 3, 0.3)) < 1000


# --- the matrix ---
def test_rows_are_exact_and_the_matrix_is_within_its_error() -> None:
    chance = random.Random(3)
    texts = [" ".join(chance.choices(WORDS, k=chance.randint(1, 30))) for _ in range(80)]
    texts += ["unlike", *(f"number {number}" for number in range(60))]
    vectors = [*similarity.tfidf([similarity.ngrams(text) for text in texts]), {}]
    cosines = CosineMatrix(vectors)
    exact = np.array(similarity.cosines(vectors))
    assert np.array_equal(np.stack([cosines.exact_row(row) for row in range(len(vectors))]), exact)
    assert abs(cosines.matrix - exact).max() <= cosines.error < 1e-13
    assert ((cosines.matrix == 0) == (exact == 0)).all()


def test_a_matrix_of_texts_that_share_nothing() -> None:
    vectors = similarity.tfidf([["a"], ["b"], []])
    assert CosineMatrix(vectors).matrix.tolist() == [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]]
