"""What stays of images near each other: as comparing all of them would say; and the perceptual hash."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image
from support import variants
from support.deduping import cut, encoded, photos

from capivara_cli.errors import UsageError
from capivara_cli.pipeline.options import check_options
from capivara_cli.stages.dedupe import Options
from capivara_cli.stages.deduplication import clusters, cosine, hamming
from capivara_cli.stages.deduplication import first_of_near as search
from capivara_cli.stages.deduplication.clusters import ClusterSpace
from capivara_cli.stages.deduplication.cosine import CosineSpace, Vectors
from capivara_cli.stages.deduplication.first_of_near import first_of_near
from capivara_cli.stages.deduplication.hamming import HashIndex, HashSpace, distance, masks
from capivara_cli.stages.deduplication.image_hash import perceptual_hash

# What stays: by definition, and by comparing all


def by_definition(near: np.ndarray) -> np.ndarray:
    """bool [n] from bool [n, n]: each stays unless it is near an earlier one that stays."""
    stays = np.zeros(len(near), bool)
    for place in range(len(near)):
        stays[place] = not (near[place, :place] & stays[:place]).any()
    return stays


def related_hashes(count: int, radius: int, seed: int) -> np.ndarray:
    """Distinct hashes, half of them 0 to radius + 2 bits beside an earlier one, so that there are chains."""
    chance = np.random.default_rng(seed)
    hashes = [int(value) for value in chance.integers(0, 2**64, count, dtype=np.uint64)]
    for place in range(max(1, count // 2), count):
        value = hashes[chance.integers(place)]
        for bit in chance.integers(0, 64, chance.integers(0, radius + 3)):
            value ^= 1 << int(bit)
        hashes[place] = value
    distinct = np.array(list(dict.fromkeys(hashes)), np.uint64)
    chance.shuffle(distinct)
    return distinct


@pytest.mark.parametrize(("count", "radius"), [(1, 4), (2, 4), (200, 4), (5000, 1), (5000, 4), (3000, 7), (1000, 10)])
def test_hashes_are_judged_as_if_all_were_compared(count: int, radius: int) -> None:
    hashes = related_hashes(count, radius, seed=count + radius)
    near = np.stack([distance(hashes, each) <= radius for each in hashes])
    stays = first_of_near(HashSpace(hashes, radius))
    assert stays.tolist() == by_definition(near).tolist()
    if count > 100:
        assert 0.5 < stays.mean() < 0.95


def test_large_sets_are_sorted_and_small_ones_compared() -> None:
    assert masks(300, 4) == []
    assert len(masks(5000, 4)) == 5  # five bands, each of which may be the one that agrees
    assert len(masks(1_000_000, 4)) == 15  # six bands, any two of them
    assert len(masks(1_000_000, 1)) == 2
    for chosen in (masks(5000, 4), masks(1_000_000, 4)):
        bits = {sum((mask >> bit) & 1 for mask in chosen) for bit in range(64)}
        assert len(bits) == 1  # every bit counts as often as any other


@pytest.mark.parametrize("count", [1_000_000, 5000])
def test_every_pair_within_the_radius_agrees_under_a_mask(count: int) -> None:
    chosen = masks(count, 4)
    for bits in itertools.islice(itertools.combinations(range(64), 4), 0, None, 97):
        differing = sum(1 << bit for bit in bits)
        assert any(not mask & differing for mask in chosen)


def test_a_crowd_is_halved_instead_of_listed() -> None:
    """2,081 hashes within two bits of zero: two million near pairs; one hash apart from them."""
    crowd = [0, *(1 << bit for bit in range(64)), *(1 << a | 1 << b for a, b in itertools.combinations(range(64), 2))]
    hashes = np.array([*crowd, 2**40 - 1], np.uint64)
    one, other = HashSpace(hashes[:500], 4).pairs(np.arange(500)) or ((), ())
    assert len(set(zip(one, other, strict=True))) == len(one) == 500 * 499 / 2
    assert HashSpace(hashes, 4).pairs(np.arange(len(hashes))) is None
    assert np.flatnonzero(first_of_near(HashSpace(hashes, 4))).tolist() == [0, len(crowd)]


@pytest.mark.parametrize("others", [300, 20_000])
def test_hashes_known_before_are_found(others: int) -> None:
    chance = np.random.default_rng(0)
    known = chance.integers(0, 2**64, others, dtype=np.uint64)
    asked = np.concatenate([known[:50] ^ np.uint64(0b1111), known[:50] ^ np.uint64(0b11111), known[50:60]])
    assert HashIndex(known, 4).near_any(asked).tolist() == [True] * 50 + [False] * 50 + [True] * 10
    assert HashIndex(known[:0], 4).near_any(asked).tolist() == [False] * 110


def test_bits_are_counted_without_numpy_2(monkeypatch: pytest.MonkeyPatch) -> None:
    left = np.array([0, 1, 2**64 - 1, 0xF0F0], np.uint64)
    expected = [[0, 1, 64, 8], [1, 0, 63, 9]]
    right = np.array([[0], [1]], np.uint64)
    assert distance(left, right).tolist() == expected
    monkeypatch.delattr(np, "bitwise_count", raising=False)
    assert distance(left, right).tolist() == expected


def related_vectors(count: int, dim: int, seed: int) -> np.ndarray:
    chance = np.random.default_rng(seed)
    rows = chance.standard_normal((count, dim))
    for place in range(count // 2, count):
        rows[place] = rows[chance.integers(place)] + 0.3 * chance.random() * chance.standard_normal(dim)
    return rows[chance.permutation(count)].astype(np.float16)


def near_of(rows: np.ndarray, similarity: float) -> np.ndarray:
    wide = rows.astype(np.float64)
    wide /= np.linalg.norm(wide, axis=1, keepdims=True)
    return wide @ wide.T > similarity


@pytest.mark.parametrize("number", variants.some(["float32", "bfloat16"], 1))
def test_embeddings_are_judged_as_if_all_were_compared(monkeypatch: pytest.MonkeyPatch, number: str) -> None:
    monkeypatch.setattr(cosine, "_dtype", lambda device: number)
    rows = related_vectors(1500, 32, seed=1)
    expected = by_definition(near_of(rows, 0.96))
    assert 0.5 < expected.mean() < 0.9
    for block, tile in ((2048, 8192), (100, 37), (1, 1000)):
        monkeypatch.setattr(cosine, "BLOCK", block)
        monkeypatch.setattr(cosine, "_TILE", tile)
        assert first_of_near(CosineSpace(Vectors(rows, 0.96, "cpu"))).tolist() == expected.tolist()
    monkeypatch.setattr(search, "MOST_PAIRS", 50)
    monkeypatch.setattr(search, "SMALL", 8)
    monkeypatch.setattr(cosine, "BLOCK", 2048)
    assert first_of_near(CosineSpace(Vectors(rows, 0.96, "cpu"))).tolist() == expected.tolist()


@pytest.mark.parametrize("number", ["float32", "bfloat16"])
def test_float64_decides_at_the_threshold(monkeypatch: pytest.MonkeyPatch, number: str) -> None:
    """The cosine is 0.6 but for what other numbers add: not above it, whatever they are."""
    monkeypatch.setattr(cosine, "_dtype", lambda device: number)
    rows = np.array([[1, 0, 0, 0], [3, 4, 0, 0], [3, 0, 4, 0], [0, 0, 0, 2]], np.float16)
    assert first_of_near(CosineSpace(Vectors(rows, 0.6, "cpu"))).tolist() == [True, True, True, True]
    assert first_of_near(CosineSpace(Vectors(rows, 0.5999999, "cpu"))).tolist() == [True, False, False, True]


@pytest.mark.parametrize("block", [1, 2])
@pytest.mark.parametrize("number", ["float32", "bfloat16"])
def test_rounding_loses_no_pair(monkeypatch: pytest.MonkeyPatch, number: str, block: int) -> None:
    """Each of 40 pairs is above a threshold 10⁻¹² below its cosine, and not above one 10⁻¹² higher."""
    monkeypatch.setattr(cosine, "_dtype", lambda device: number)
    monkeypatch.setattr(cosine, "BLOCK", block)
    for seed in range(40):
        rows = np.random.default_rng(seed).standard_normal((2, 256))
        rows = (rows + [[0], [1]] * rows[:1] * 3).astype(np.float16)
        wide = rows.astype(np.float64)
        value = float(wide[0] @ wide[1] / np.sqrt((wide[0] @ wide[0]) * (wide[1] @ wide[1])))
        assert 0.9 < value < 0.99
        for similarity, stays in ((value - 1e-12, [True, False]), (value + 1e-12, [True, True])):
            assert first_of_near(CosineSpace(Vectors(rows, similarity, "cpu"))).tolist() == stays


def cluster_space(rows: np.ndarray, number: int, similarity: float) -> ClusterSpace:
    near = clusters.nearest(rows, clusters.centres(rows, number, "cpu"), "cpu")
    return ClusterSpace(Vectors(rows, similarity, "cpu"), near, np.arange(len(rows)))


def test_clusters_find_what_comparing_all_finds_where_images_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = related_vectors(3000, 64, seed=2)
    exact = by_definition(near_of(rows, 0.96))
    stays = first_of_near(cluster_space(rows, 30, 0.96))
    assert not (~stays & exact).sum() > 15  # it may only keep too many, and what hangs on those
    recall = (~stays & ~exact).sum() / (~exact).sum()
    assert recall > 0.99
    assert first_of_near(cluster_space(rows, 1, 0.96)).tolist() == exact.tolist()
    monkeypatch.setattr(clusters, "BLOCK", 173)
    assert first_of_near(cluster_space(rows, 30, 0.96)).tolist() == stays.tolist()
    monkeypatch.setattr(search, "MOST_PAIRS", 20)
    monkeypatch.setattr(search, "SMALL", 8)
    assert first_of_near(cluster_space(rows, 30, 0.96)).tolist() == stays.tolist()


@pytest.mark.parametrize(
    ("near", "stays"),
    [([[0, 1], [1, 2]], [True, True]), ([[1, 2], [0, 1]], [True, False]), ([[0], [0]], [True, False])],
)
def test_an_image_meets_the_earlier_ones_of_its_clusters(near: list[list[int]], stays: list[bool]) -> None:
    vectors = Vectors(np.ones((2, 4), np.float16), 0.96, "cpu")
    assert first_of_near(ClusterSpace(vectors, np.array(near, np.int32), np.arange(2))).tolist() == stays


def test_k_means_finds_three_heaps() -> None:
    chance = np.random.default_rng(0)
    heaps = np.eye(3, 16)[np.arange(300) % 3] + 0.05 * chance.standard_normal((300, 16))
    near = clusters.nearest(heaps.astype(np.float16), clusters.centres(heaps.astype(np.float16), 3, "cpu"), "cpu")
    assert near.shape == (300, 3)
    own = [near[heap::3, 0].tolist() for heap in range(3)]
    assert [len(set(each)) for each in own] == [1, 1, 1]
    assert len({each[0] for each in own}) == 3


def test_the_sample_for_the_clusters_is_spread_over_all_shards() -> None:
    rows = np.arange(1000, dtype=np.float16)[:, None]
    parts = [rows[:7], rows[7:7], rows[7:500], rows[500:]]
    assert clusters.sample_of(lambda: iter(parts), 1000, 5)[:, 0].tolist() == list(range(0, 1000, 3))


# The perceptual hash


def test_the_hash_is_zauners() -> None:
    """Against the DCT of its definition, one coefficient at a time."""
    chance = np.random.default_rng(0)
    image = Image.fromarray(chance.integers(0, 256, (48, 60, 3), dtype=np.uint8))
    grey = np.asarray(image.convert("L").resize((32, 32), Image.Resampling.LANCZOS), float)
    n = np.arange(32)
    wave = [np.cos(np.pi / 32 * (n + 0.5) * k) for k in range(8)]
    low = [float((grey * wave[row][:, None] * wave[column][None, :]).sum()) for row in range(8) for column in range(8)]
    expected = "".join("1" if each > np.median(low) else "0" for each in low)
    found = perceptual_hash(image)
    assert found is not None
    assert f"{found:064b}" == expected
    assert found.bit_count() == 32 if hasattr(int, "bit_count") else bin(found).count("1") == 32


def test_the_hash_is_imagehashs() -> None:
    imagehash = pytest.importorskip("imagehash")
    for image in itertools.islice(photos().values(), 40):
        assert f"{perceptual_hash(image):016x}" == str(imagehash.phash(image))


CHANGES: dict[str, tuple[Callable[[Image.Image], bytes], float]] = {
    "half": (lambda image: encoded(image.resize((image.width // 2, image.height // 2))), 1.0),
    "224": (lambda image: encoded(image.resize((224, 224))), 1.0),
    "quality 30": (lambda image: encoded(image, 30), 1.0),
    "cut 2 %": (lambda image: encoded(cut(image, 0.02)), 0.95),
    "cut 4 %": (lambda image: encoded(cut(image, 0.04)), 0.68),
}


def test_changed_photos_are_found_and_different_ones_are_not() -> None:
    images = photos()
    before = {key: perceptual_hash(image) or 0 for key, image in images.items()}
    hashes = np.array(list(before.values()), np.uint64)
    apart = distance(hashes[:, None], hashes[None, :])[np.triu_indices(len(hashes), 1)]
    assert (len(apart), apart.min(), (apart <= 14).sum()) == (19_900, 14, 2)  # none within 4, nor within 10
    for change, (changed, at_least) in CHANGES.items():
        after = [perceptual_hash(Image.open(io.BytesIO(changed(image)))) or 0 for image in images.values()]
        found = (distance(hashes, np.array(after, np.uint64)) <= 4).mean()
        assert found >= at_least, change


def test_bounds() -> None:
    with pytest.raises(UsageError, match="--radius 11: must be at least 0 and at most 10"):
        check_options(Options(radius=11))
    assert Options.__dataclass_fields__["radius"].metadata["max"] == hamming.MAX_RADIUS
