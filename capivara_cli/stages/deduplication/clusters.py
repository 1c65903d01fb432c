"""Near-duplicates among very many embeddings: each is compared within k-means clusters, not with all others.

SemDeDup (Abbas et al. 2023, arXiv 2303.09540) compares within each cluster alone. Here each image is also compared with
the images of the ``NEAREST`` clusters, because near-duplicates may be on both sides of a border. The order in which
images are decided is that of smaller corpora. Pairs in clusters far from each other are missed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from capivara_cli.stages.deduplication.cosine import Vectors, exact_products, tiles
from capivara_cli.stages.deduplication.first_of_near import Pairs, Rows, too_many

LARGE = 10_000_000
"""The largest number of embeddings of which all pairs are compared, 5 x 10¹³ of them."""

NEAREST = 4
BLOCK = 1 << 20
_PER_CLUSTER = 64  # embeddings per centre to fit the centres
_ROUNDS = 10
_TILE = 4096


def count_for(images: int) -> int:
    """2 sqrt(n) clusters: then comparing and assigning to clusters take about the same time."""
    return max(1, int(2 * images**0.5))


def centres(sample: np.ndarray, count: int, device: str) -> Any:
    """Spherical k-means (Dhillon and Modha 2001) of float16 [n, d]: a float32 tensor [count, d] of unit vectors.

    The first centres are embeddings at equal distances in the sample. An empty cluster keeps its centre.
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


def nearest(embeddings: np.ndarray, found: Any, device: str) -> np.ndarray:
    """int32 [n, up to ``NEAREST``]: the nearest clusters of float16 [n, d], nearest first."""
    vectors = Vectors(embeddings, 0.0, device)
    wide = min(NEAREST, len(found))
    parts = [_closest(vectors.tensor(rows), found, wide).cpu().numpy() for rows in tiles(len(embeddings), _TILE)]
    return np.concatenate(parts).astype(np.int32) if parts else np.empty((0, wide), np.int32)


def _closest(unit: Any, found: Any, wide: int) -> Any:
    import torch

    with torch.inference_mode(), exact_products():
        return (unit @ found.T).topk(wide, dim=1).indices


def sample_of(shards: Callable[[], Iterator[np.ndarray]], total: int, clusters: int) -> np.ndarray:
    """Embeddings at equal distances over all shards, 64 for each cluster."""
    step = max(1, total // (_PER_CLUSTER * clusters))
    parts, seen = [], 0
    for embeddings in shards():
        parts.append(embeddings[-seen % step :: step])
        seen += len(embeddings)
    return np.concatenate(parts)


class ClusterSpace:
    """Embeddings in order of preference; each is compared with the earlier ones in its nearest clusters.

    ``near`` int32 [n, c]: the nearest clusters of each embedding, its own first. The embeddings are stored cluster by
    cluster; ``at`` [n]: their places. Memory: 60 bytes per embedding, and the vectors of a block in one cluster.
    """

    def __init__(self, vectors: Vectors, near: np.ndarray, at: np.ndarray) -> None:
        self.vectors = vectors
        self.near = near
        self.at = at
        self.count = len(near)
        self.block = BLOCK

    def beside(self, rows: Rows, kept: Rows) -> np.ndarray:
        near = np.zeros(len(rows), bool)
        for visitors, members in self._meetings(rows, kept):
            visitors = visitors[~near[visitors]]
            one, _ = self.vectors.above(self.at[rows[visitors]], self.at[kept[members]])
            near[visitors[one]] = True
        return near

    def pairs(self, rows: Rows) -> Pairs | None:
        earlier, later = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        total = 0
        for visitors, members in self._meetings(rows, rows):
            one, other = self.vectors.above(self.at[rows[visitors]], self.at[rows[members]])
            visitor, member = visitors[one], members[other]
            ahead = member < visitor
            earlier.append(member[ahead])
            later.append(visitor[ahead])
            total += int(ahead.sum())
            if too_many(total, rows):
                return None
        return np.concatenate(earlier), np.concatenate(later)

    def _meetings(self, rows: Rows, others: Rows) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """For each cluster: the places in ``rows`` of embeddings near it, and in ``others`` of embeddings in it."""
        homes = self.near[others, 0]
        by_home = np.argsort(homes, kind="stable")
        asked = self.near[rows]
        by_visit = np.argsort(asked, axis=None, kind="stable")
        visited = asked.reshape(-1)[by_visit]
        names = np.unique(homes)
        starts, stops = np.searchsorted(homes[by_home], names), np.searchsorted(homes[by_home], names, "right")
        first, last = np.searchsorted(visited, names), np.searchsorted(visited, names, "right")
        for place in range(len(names)):
            members = by_home[starts[place] : stops[place]]
            visitors = by_visit[first[place] : last[place]] // asked.shape[1]
            for part in tiles(len(visitors), _TILE):
                for other in tiles(len(members), _TILE):
                    yield visitors[part], members[other]
