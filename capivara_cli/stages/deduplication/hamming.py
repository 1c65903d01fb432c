"""Find all 64-bit hashes within a Hamming radius, exactly and without comparing all pairs.

The bits are divided into b bands. Two hashes that differ in at most r bits differ in at most r bands, so they agree in
some b - r bands (the pigeonhole principle). Hashes are therefore sorted by each choice of b - r bands, and only equal
neighbours are compared. More bands need more sorts, C(b, r), but fewer hashes agree by chance. Multi-index hashing
(Norouzi, Punjani and Fleet 2012, arXiv 1307.2982) is similar and uses one band at a time.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from capivara_cli.stages.deduplication.drawn_looks import Looks, key
from capivara_cli.stages.deduplication.first_of_near import Pairs, Rows, too_many

BITS = 64
MAX_RADIUS = 10
"""The nearest of 19,900 pairs of unrelated Flickr photos are 14 bits apart, and the work grows fast with the radius."""

_CHUNK = 1 << 20  # pairs compared at once: about 40 MB
_SORT, _COMPARE, _PLAIN = 120.0, 12.0, 2.0  # nanoseconds to sort a hash, gather and compare a pair, compare in a block
_MOST_CHOICES = 500


def masks(count: int, radius: int) -> list[int]:
    """One mask of bits for each choice of bands; near hashes agree under one of them. [] if comparing all is faster.

    ``count``: the number of hashes. Bits go to the bands in turn, because neighbouring bits are correlated.
    """
    best, cost = 0, _PLAIN * count * count / 2
    for bands in range(radius + 1, BITS + 1):
        choices = math.comb(bands, radius)
        if choices > _MOST_CHOICES:
            break
        agreeing = BITS * (bands - radius) / bands
        expected = choices * (_SORT * count + _COMPARE * count * count / 2 / 2**agreeing)
        if expected < cost:
            best, cost = bands, expected
    if not best:
        return []
    bands_bits = [sum(1 << bit for bit in range(band, BITS, best)) for band in range(best)]
    return [sum(chosen) for chosen in itertools.combinations(bands_bits, best - radius)]


def distance(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The number of differing bits, uint8, of uint64 arrays that broadcast."""
    different = np.bitwise_xor(left, right)
    if hasattr(np, "bitwise_count"):  # since numpy 2.0
        return np.bitwise_count(different)
    parts = np.ascontiguousarray(different)[..., None].view(np.uint16)
    return _BITS_OF[parts].sum(axis=-1, dtype=np.uint8)


_BITS_OF = np.array([bin(value).count("1") for value in range(1 << 16)], np.uint8)


class HashIndex:
    """Hashes with which others are compared repeatedly; ``looks``: of the same images.

    Memory per hash: 8 bytes, and 16 per mask. Radius 4 has 5 masks, or 15 for more than a few hundred thousand hashes.
    """

    def __init__(self, hashes: np.ndarray, radius: int, looks: Sequence[bytes | None] = ()) -> None:
        looks = looks or [None] * len(hashes)
        firsts = distinct(hashes, [key(each) for each in looks])
        self.hashes = hashes[firsts]
        self.radius = radius
        self._looks = Looks.of([looks[first] for first in firsts.tolist()])
        self._tables = list(_tables(self.hashes, masks(len(self.hashes), radius)))

    def near_any(self, queries: np.ndarray, looks: Sequence[bytes | None] = ()) -> np.ndarray:
        """bool [n]: whether each of the hashes uint64 [n], with these looks, is near one of these."""
        queried = Looks.of(looks or [None] * len(queries))
        return _near_any(
            queries, self.hashes, self.radius, iter(self._tables),
            lambda ones, others: queried.agree(ones, others, self._looks),
        )  # fmt: skip


def distinct(hashes: np.ndarray, keys: Sequence[int] | np.ndarray) -> np.ndarray:
    """int64, ascending: the images whose hash, or key of the look, is another than that of all earlier ones."""
    both = np.empty(len(hashes), [("hash", np.uint64), ("key", np.uint64)])
    both["hash"], both["key"] = hashes, np.array(keys, np.uint64)
    return np.sort(np.unique(both, return_index=True)[1])


class HashSpace:
    """The space of hashes, uint64 [n], in order of preference. Memory: about 90 bytes each.

    ``looks``: of the same images; two of them are near if their looks agree, too.
    """

    def __init__(self, hashes: np.ndarray, radius: int, looks: Looks | None = None) -> None:
        self.hashes = hashes
        self.radius = radius
        self._looks = looks or Looks.of([None] * len(hashes))
        self.count = len(hashes)
        self.block = max(1, len(hashes))

    def near_any(self, rows: Rows, kept: Rows) -> np.ndarray:
        others = self.hashes[kept]
        tables = _tables(others, masks(len(others), self.radius))
        return _near_any(
            self.hashes[rows], others, self.radius, tables,
            lambda one, other: self._looks.agree(rows[one], kept[other], self._looks),
        )  # fmt: skip

    def pairs(self, rows: Rows) -> Pairs | None:
        hashes = self.hashes[rows]
        chosen = masks(len(hashes), self.radius)
        found: list[Pairs] = []
        total = 0
        for earlier, later, before in _agreeing_pairs(hashes, chosen) if chosen else _all_pairs(len(hashes)):
            near = distance(hashes[earlier], hashes[later]) <= self.radius
            earlier, later = earlier[near], later[near]
            different = hashes[earlier] ^ hashes[later]
            for mask in before:
                new = different & mask != 0
                earlier, later, different = earlier[new], later[new], different[new]
            alike = self._looks.agree(rows[earlier], rows[later], self._looks)
            earlier, later = earlier[alike], later[alike]
            found.append((earlier, later))
            total += len(earlier)
            if too_many(total, rows):
                return None
        if not found:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        return np.concatenate([pair[0] for pair in found]), np.concatenate([pair[1] for pair in found])


MaskTable = tuple[np.uint64, np.ndarray, np.ndarray]
"""A mask, the masked hashes in ascending order, and the index of each of them."""


def _tables(hashes: np.ndarray, chosen: list[int]) -> Iterator[MaskTable]:
    for mask in map(np.uint64, chosen):
        under = hashes & mask
        order = np.argsort(under, kind="stable")
        yield mask, under[order], order


Agree = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""int64 [p] of queries and int64 [p] of hashes -> bool [p]: whether their images look alike."""


def _near_any(
    queries: np.ndarray, hashes: np.ndarray, radius: int, tables: Iterator[MaskTable], agree: Agree
) -> np.ndarray:
    """bool [len(queries)]: whether each is near one of the hashes; without tables, compares all."""
    near = np.zeros(len(queries), bool)
    table = None
    for table in tables:
        mask, keys, order = table
        open_ = np.flatnonzero(~near)
        wanted = queries[open_] & mask
        left = np.searchsorted(keys, wanted, "left")
        sizes = np.searchsorted(keys, wanted, "right") - left
        for part in _parts(sizes):
            owners = np.repeat(part, sizes[part])
            places = np.arange(len(owners)) - np.repeat(np.cumsum(sizes[part]) - sizes[part], sizes[part])
            others = order[left[owners] + places]
            hit = np.flatnonzero(distance(queries[open_[owners]], hashes[others]) <= radius)
            hit = hit[agree(open_[owners[hit]], others[hit])]
            near[open_[owners[hit]]] = True
    if table is None and len(hashes):
        step = max(1, _CHUNK // len(hashes))
        for start in range(0, len(queries), step):
            one, other = np.nonzero(distance(queries[start : start + step, None], hashes[None, :]) <= radius)
            near[start + one[agree(start + one, other)]] = True
    return near


def _parts(sizes: np.ndarray) -> Iterator[np.ndarray]:
    """The indexes of nonzero sizes, in runs of at most ``_CHUNK`` in total; a larger size is a run of its own."""
    places = np.flatnonzero(sizes)
    ends = np.cumsum(sizes[places])
    start = 0
    while start < len(places):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + _CHUNK, "right")))
        yield places[start:stop]
        start = stop


Candidates = tuple[np.ndarray, np.ndarray, Sequence[np.uint64]]
"""Pairs, as in ``Pairs``, and the masks under which some of them may have been found before."""


def _all_pairs(count: int) -> Iterator[Candidates]:
    for apart in range(1, count):
        earlier = np.arange(count - apart)
        yield earlier, earlier + apart, ()


def _agreeing_pairs(hashes: np.ndarray, chosen: list[int]) -> Iterator[Candidates]:
    """All pairs that agree under one of the masks."""
    for number, (_, keys, order) in enumerate(_tables(hashes, chosen)):
        before = [np.uint64(mask) for mask in chosen[:number]]
        here = np.arange(len(keys) - 1)
        for apart in itertools.count(1):
            here = here[here + apart < len(keys)]
            here = here[keys[here] == keys[here + apart]]
            if not len(here):
                break
            one, other = order[here], order[here + apart]  # the sort is stable: the earlier of equal keys comes first
            yield one, other, before
