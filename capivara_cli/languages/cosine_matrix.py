"""The cosines of many sparse vectors, by matrix products; single rows exactly, as by ``similarity.cosine``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from capivara_cli.languages.similarity import Vector, cosine

_AT_ONCE = 1024
_RARE = 32
"""Terms of at most so many vectors are multiplied pair by pair, others in matrices."""


class CosineMatrix:
    """``matrix``: float64 [n, n], each element within ``error`` of the exact one; 0 if two vectors share no term.

    Memory: 8 bytes for each pair of vectors, 8 more while it is computed, 8 kB for each vector, 16 bytes for each of
    its terms.
    """

    def __init__(self, vectors: Sequence[Vector]) -> None:
        frequency = Counter(term for vector in vectors for term in vector)
        shared = [term for term, count in frequency.most_common() if count > 1]
        self._common = sum(count > _RARE for count in frequency.values())
        place = {term: number for number, term in enumerate(shared)}
        lists = [[(place[term], weight) for term, weight in vector.items() if term in place] for vector in vectors]
        longest = max(map(len, lists))
        self._terms = np.full((len(vectors), longest), len(shared), np.int64)  # the last place is empty
        self._weights = np.zeros((len(vectors), longest))
        for row, pairs in enumerate(lists):
            self._terms[row, : len(pairs)] = [number for number, _ in pairs]
            self._weights[row, : len(pairs)] = [weight for _, weight in pairs]
        self._own = [cosine(vector, vector) for vector in vectors]
        self._vocabulary = len(shared)
        self._exact: dict[int, np.ndarray] = {}
        self.matrix = self._products()
        self.error = 2.3e-16 * (8 + longest + len(shared) // _AT_ONCE)

    def _products(self) -> np.ndarray:
        count, longest = self._terms.shape
        terms, weights = self._terms.ravel(), self._weights.ravel()
        rows = np.repeat(np.arange(count), longest)
        used = terms < self._vocabulary
        order = np.argsort(terms[used], kind="stable")
        terms, weights, rows = terms[used][order], weights[used][order], rows[used][order]
        rare = int(np.searchsorted(terms, self._common))
        matrix = _pair_by_pair(terms[rare:], rows[rare:], weights[rare:], count)
        for start in range(0, self._common, _AT_ONCE):
            here = slice(*np.searchsorted(terms[:rare], (start, start + _AT_ONCE)))
            block = np.zeros((count, min(_AT_ONCE, self._common - start)))
            block[rows[here], terms[here] - start] = weights[here]
            matrix += block @ block.T
        np.fill_diagonal(matrix, self._own)
        return matrix

    def exact_row(self, one: int) -> np.ndarray:
        """float64 [n]: the cosines of one vector with all, rounded once, as ``math.fsum`` rounds.

        The rounding error of each addition is added up apart, so the sum has twice the digits of a float64.
        """
        if one not in self._exact:
            own = np.zeros(self._vocabulary + 1)
            own[self._terms[one]] = self._weights[one]
            own[-1] = 0.0
            products = own[self._terms] * self._weights
            total, errors = np.zeros(len(products)), np.zeros(len(products))
            for column in products.T:
                new = total + column
                part = new - total
                errors += (total - (new - part)) + (column - part)
                total = new
            row = total + errors
            row[one] = self._own[one]
            self._exact[one] = row
        return self._exact[one]


def _pair_by_pair(terms: np.ndarray, rows: np.ndarray, weights: np.ndarray, count: int) -> np.ndarray:
    """float64 [count, count]: the sums of the products of two rows' weights of equal terms; 0 on the diagonal.

    ``terms``: ascending; ``rows``: ascending within a term.
    """
    places: list[np.ndarray] = []
    products: list[np.ndarray] = []
    for apart in range(1, _RARE):
        one = np.flatnonzero(terms[:-apart] == terms[apart:])
        if not len(one):
            break
        places.append(rows[one] * count + rows[one + apart])
        products.append(weights[one] * weights[one + apart])
    if not places:
        return np.zeros((count, count))
    upper: np.ndarray = np.bincount(np.concatenate(places), np.concatenate(products), count * count)
    return upper.reshape(count, count) + upper.reshape(count, count).T
