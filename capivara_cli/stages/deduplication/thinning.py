"""Remove near-duplicates from a group of texts, one at a time: the corrected loop of Algorithm 1 (arXiv 2310.13683)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from capivara_cli.languages import similarity
from capivara_cli.languages.similarity import Vector

MANY = 48
"""The number of texts from which numpy is faster."""
_DIGITS = 9
_REFRESHED_EVERY = 64


def thinned(vectors: Sequence[Vector], rank: Sequence[Any], k_min: int, threshold: float) -> list[int]:
    """The indexes, in order, of the texts that stay; between equal sums ``rank`` decides: the highest is removed.

    While a pair has a cosine above ``threshold`` and more than ``k_min`` texts are left, one text of such pairs is
    removed: the one with the largest sum of cosines with the texts that are left, itself included. Sums are rounded, so
    that sums that differ only in the order of addition are equal.
    """
    if len(vectors) >= MANY:
        thinning = _Thinning(vectors, threshold)
        while thinning.left > k_min and thinning.near.any():
            thinning.remove(thinning.most_similar(rank))
        return [int(one) for one in thinning.alive.nonzero()[0]]
    cosine = similarity.cosines(vectors)
    alive = list(range(len(cosine)))
    while len(alive) > k_min:
        near = [a for a in alive if any(cosine[a][b] > threshold for b in alive if b != a)]
        if not near:
            break
        alive.remove(max(near, key=lambda a: (round(sum(sorted(cosine[a][b] for b in alive)), _DIGITS), rank[a])))
    return alive


class _Thinning:
    """The same for many texts, without adding up all cosines again for each that is removed.

    Rounding errors decide nothing: what lies within them of a limit is computed again, exactly. ``alive`` bool [n]: the
    texts that are left, ``left`` of them. ``near`` int64 [n]: how many of them a text is near, 0 for removed ones.
    """

    def __init__(self, vectors: Sequence[Vector], threshold: float) -> None:
        import numpy as np

        from capivara_cli.languages.cosine_matrix import CosineMatrix

        self._cosines = CosineMatrix(vectors)
        matrix, error = self._cosines.matrix, self._cosines.error
        self.left = len(vectors)
        self.alive = np.ones(self.left, bool)
        self._is_near = matrix > threshold
        for one, other in np.argwhere(np.triu((abs(matrix - threshold) <= error) & (matrix > 0), 1)).tolist():
            is_above = bool(self._cosines.exact_row(one)[other] > threshold)
            self._is_near[one, other] = self._is_near[other, one] = is_above
        np.fill_diagonal(self._is_near, False)
        self.near = self._is_near.sum(axis=1)
        self._doubt = 1e-15 * self.left**1.5 + self.left * error
        self._sums = matrix.sum(axis=1)

    def most_similar(self, rank: Sequence[Any]) -> int:
        """Of the texts that are near another, the one with the largest sum."""
        near = self.near.nonzero()[0]
        sums = self._sums[near]
        candidates = near[sums >= sums.max() - 10.0**-_DIGITS - 2 * self._doubt].tolist()
        if len(candidates) == 1:
            return candidates[0]
        return max(candidates, key=lambda one: (self._rounded_sum(one), rank[one]))

    def _rounded_sum(self, one: int) -> float:
        total = float(self._sums[one])
        if abs(total * 10**_DIGITS % 1 - 0.5) > self._doubt * 10**_DIGITS + 1e-3:
            return round(total, _DIGITS)
        return round(sum(sorted(self._cosines.exact_row(one)[self.alive].tolist())), _DIGITS)

    def remove(self, one: int) -> None:
        self.alive[one] = False
        self.left -= 1
        self.near -= self._is_near[one]
        self.near[~self.alive] = 0
        matrix = self._cosines.matrix
        self._sums = self._sums - matrix[one] if self.left % _REFRESHED_EVERY else matrix @ self.alive
