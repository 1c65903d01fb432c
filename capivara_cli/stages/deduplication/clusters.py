"""Find near-duplicates among very many embeddings by k-means clusters, without comparing all pairs.

SemDeDup (Abbas et al. 2023, arXiv 2303.09540) compares embeddings within one cluster. Here each image is compared with
the images of its ``NEAREST`` clusters, because near-duplicates may be on both sides of a border. Images are decided in
the same order as in smaller corpora. Pairs in clusters far from each other are missed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from capivara_cli.stages.deduplication.cosine import Vectors, exact_products, tiles
from capivara_cli.stages.deduplication.first_of_near import Pairs, Rows, too_many

if TYPE_CHECKING:
    from torch import Tensor

LARGE = 10_000_000
"""The largest number of embeddings for which all pairs are compared: 5 x 10¹³ pairs."""

NEAREST = 4
BLOCK = 1 << 20
_PER_CLUSTER = 64  # embeddings per centre to fit the centres
_ROUNDS = 10
_TILE = 4096


def count_for(images: int) -> int:
    """The default number of clusters, 2 sqrt(n): then comparing and assigning take about the same time."""
    return max(1, int(2 * images**0.5))


def centres(sample: np.ndarray, count: int, device: str) -> Tensor:
    """The centres of clusters of float16 [n, d], by spherical k-means: float32 [count, d], unit vectors.

    The first centres are evenly spaced rows of the sample. An empty cluster keeps its centre. Source: Dhillon and Modha
    2001.
    """
    import torch

    vectors = Vectors(sample, 0.0, device)
    found = vectors.tensor(np.linspace(0, len(sample) - 1, count).astype(np.int64))
    for _ in range(_ROUNDS):
        sums = torch.zeros_like(found)
        for rows in tiles(len(sample), _TILE):
            unit = vectors.tensor(rows)
            sums.index_add_(0, _closest(unit, found, 1)[:, 0], unit)
        lengths = sums.norm(dim=1, keepdim=True)
        found = torch.where(lengths > 0, sums / lengths.clamp(min=1e-12), found)
    return found


def nearest(embeddings: np.ndarray, centres: Tensor, device: str) -> np.ndarray:
    """int32 [n, up to ``NEAREST``]: the clusters with the nearest centres to float16 [n, d], nearest first."""
    vectors = Vectors(embeddings, 0.0, device)
    count = min(NEAREST, len(centres))
    parts = [_closest(vectors.tensor(rows), centres, count).cpu().numpy() for rows in tiles(len(embeddings), _TILE)]
    return np.concatenate(parts).astype(np.int32) if parts else np.empty((0, count), np.int32)


def _closest(unit: Tensor, centres: Tensor, count: int) -> Tensor:
    """int64 [n, count]: the indexes of the nearest centres to unit vectors [n, d], nearest first."""
    import torch

    with torch.inference_mode(), exact_products():
        return (unit @ centres.T).topk(count, dim=1).indices


def sample_of(shards: Callable[[], Iterator[np.ndarray]], total: int, clusters: int) -> np.ndarray:
    """Evenly spaced embeddings over all shards, 64 for each cluster, to fit the centres."""
    step = max(1, total // (_PER_CLUSTER * clusters))
    parts, seen = [], 0
    for embeddings in shards():
        parts.append(embeddings[-seen % step :: step])
        seen += len(embeddings)
    return np.concatenate(parts)


class ClusterSpace:
    """The space of embeddings in order of preference; each is compared with earlier ones in its nearest clusters.

    ``near`` int32 [n, c]: the nearest clusters of each embedding, its own first. ``at`` [n]: the row of each embedding
    in ``vectors``, where they are stored cluster by cluster. Memory: 60 bytes per embedding, and the vectors of a block
    in one cluster.
    """

    def __init__(self, vectors: Vectors, near: np.ndarray, at: np.ndarray) -> None:
        self.vectors = vectors
        self.near = near
        self.at = at
        self.count = len(near)
        self.block = BLOCK

    def near_any(self, rows: Rows, kept: Rows) -> np.ndarray:
        near = np.zeros(len(rows), bool)
        for queries, members in self._candidates(rows, kept):
            queries = queries[~near[queries]]
            one, _ = self.vectors.above(self.at[rows[queries]], self.at[kept[members]])
            near[queries[one]] = True
        return near

    def pairs(self, rows: Rows) -> Pairs | None:
        earlier, later = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        total = 0
        for queries, members in self._candidates(rows, rows):
            one, other = self.vectors.above(self.at[rows[queries]], self.at[rows[members]])
            query, member = queries[one], members[other]
            ahead = member < query
            earlier.append(member[ahead])
            later.append(query[ahead])
            total += int(ahead.sum())
            if too_many(total, rows):
                return None
        return np.concatenate(earlier), np.concatenate(later)

    def _candidates(self, rows: Rows, others: Rows) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield, for each cluster, the indexes into ``rows`` of what is near it, and into ``others`` of its members."""
        own = self.near[others, 0]
        by_own = np.argsort(own, kind="stable")
        near = self.near[rows]
        by_near = np.argsort(near, axis=None, kind="stable")
        sorted_near = near.reshape(-1)[by_near]
        clusters = np.unique(own)
        starts, stops = np.searchsorted(own[by_own], clusters), np.searchsorted(own[by_own], clusters, "right")
        first, last = np.searchsorted(sorted_near, clusters), np.searchsorted(sorted_near, clusters, "right")
        for index in range(len(clusters)):
            members = by_own[starts[index] : stops[index]]
            queries = by_near[first[index] : last[index]] // near.shape[1]
            for part in tiles(len(queries), _TILE):
                for other in tiles(len(members), _TILE):
                    yield queries[part], members[other]
