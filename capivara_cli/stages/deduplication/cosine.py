"""Find all pairs of embeddings whose cosine is above a threshold.

Tiles are multiplied on the device, in bfloat16 if it supports that. Pairs so near the threshold that rounding could
decide are computed again in float64. So the result does not depend on the device, the tiles or the threads.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from capivara_cli.stages.deduplication.first_of_near import Pairs, Rows, too_many

if TYPE_CHECKING:
    from torch import Tensor

BLOCK = 2048
_TILE = 8192
_DOUBT = {"float32": 1e-4, "bfloat16": 8e-3}
"""The largest error of a product of unit vectors; in bfloat16, 2⁻⁹ for each factor and for the result give 0.006."""

_EXACT = 1 << 14  # pairs computed in float64 at once: 128 MB at 512 numbers


class Vectors:
    """Embeddings, float16 [n, d], in memory or a mapped file, and the cosines between them."""

    def __init__(self, stored: np.ndarray, similarity: float, device: str) -> None:
        self.stored = stored
        self.similarity = similarity
        self.device = device
        self._dtype = _dtype(device)

    def above(self, left: Rows, right: Rows) -> tuple[np.ndarray, np.ndarray]:
        """The pairs whose cosine is above the threshold, as indexes into ``left`` and into ``right``."""
        if not len(left) or not len(right):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        return self.above_of(self.factors(left), left, right)

    def above_of(self, factors: Tensor, left: Rows, right: Rows) -> tuple[np.ndarray, np.ndarray]:
        """``above`` with ``factors(left)`` that was computed before."""
        import torch

        doubt = _DOUBT[self._dtype]
        with torch.inference_mode(), exact_products():
            products = factors @ self.factors(right).T
            some = (products.amax(dim=1).float() > self.similarity - doubt).nonzero()[:, 0]  # most rows have none
            products = products[some].float()
            rows, columns = (products > self.similarity - doubt).nonzero(as_tuple=True)
            doubtful = (products[rows, columns] <= self.similarity + doubt).cpu().numpy()
            one, other = some[rows].cpu().numpy(), columns.cpu().numpy()
        near = np.ones(len(one), bool)
        for part in np.array_split(np.flatnonzero(doubtful), 1 + int(doubtful.sum()) // _EXACT):
            near[part] = self._cosines(left[one[part]], right[other[part]]) > self.similarity
        return one[near], other[near]

    def factors(self, rows: Rows) -> Tensor:
        """``tensor`` in the dtype of the multiplication."""
        import torch

        return self.tensor(rows).to(getattr(torch, self._dtype))

    def tensor(self, rows: Rows) -> Tensor:
        """The unit vectors of the rows on the device, float32 [len(rows), d]."""
        import torch

        vectors = torch.from_numpy(np.ascontiguousarray(self.stored[rows])).to(self.device).float()
        return torch.nn.functional.normalize(vectors)

    def _cosines(self, left: Rows, right: Rows) -> np.ndarray:
        one, other = self.stored[left].astype(np.float64), self.stored[right].astype(np.float64)
        norms = np.sqrt((one * one).sum(axis=1) * (other * other).sum(axis=1))
        return (one * other).sum(axis=1) / norms


def _dtype(device: str) -> str:
    """``bfloat16`` if the device supports it, otherwise ``float32``, which is faster than emulated bfloat16."""
    import torch

    if device.startswith("cuda"):
        return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    tests = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")  # some versions of torch lack them
    able = device == "cpu" and any(getattr(torch.cpu, name, bool)() for name in tests)
    return "bfloat16" if able else "float32"


@contextlib.contextmanager
def exact_products() -> Iterator[None]:
    """Compute float32 products without TF32, whose error is in the fourth digit, within this context."""
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


class CosineSpace:
    """The space of embeddings in order of preference; each is compared with all earlier ones that stay.

    At most n² d / 2 multiplications. Memory: a tile of 2,048 by 8,192 products and its rows, about 300 MB for d = 512;
    the embeddings are in a file.
    """

    def __init__(self, vectors: Vectors) -> None:
        self.vectors = vectors
        self.count = len(vectors.stored)
        self.block = BLOCK

    def near_any(self, rows: Rows, kept: Rows) -> np.ndarray:
        near = np.zeros(len(rows), bool)
        if not len(rows):
            return near
        factors = self.vectors.factors(rows)
        for start in range(0, len(kept), _TILE):
            one, _ = self.vectors.above_of(factors, rows, kept[start : start + _TILE])
            near[one] = True
        return near

    def pairs(self, rows: Rows) -> Pairs | None:
        one, other = self.vectors.above(rows, rows)
        ahead = one < other
        if too_many(int(ahead.sum()), rows):
            return None
        return one[ahead], other[ahead]


class EmbeddingIndex:
    """Embeddings in memory, 2 d bytes each, with which others are compared repeatedly."""

    def __init__(self, stored: np.ndarray, similarity: float, device: str) -> None:
        self._stored, self._similarity, self._device = stored, similarity, device

    def near_any(self, queries: np.ndarray) -> np.ndarray:
        """bool [n]: whether each query, float16 [n, d], has a cosine above the threshold with one of these."""
        near = np.zeros(len(queries), bool)
        for start in range(0, len(self._stored), _TILE):
            tile = self._stored[start : start + _TILE]
            both = Vectors(np.concatenate([queries, tile]), self._similarity, self._device)
            one, _ = both.above(np.arange(len(queries)), np.arange(len(queries), len(queries) + len(tile)))
            near[one] = True
        return near


def tiles(count: int, size: int) -> Iterator[np.ndarray]:
    """The integers 0 to count - 1, ``size`` at a time."""
    for start in range(0, count, size):
        yield np.arange(start, min(start + size, count))
