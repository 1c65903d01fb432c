"""Exact search: compares every row with each query, in blocks. The result does not depend on the block size.

A matrix product rounds differently in blocks of other sizes, so equal rows can get unequal scores. Here it only picks
candidates, with a margin for rounding. Their scores are scalar products that depend on the two vectors alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from capivara_cli.errors import CapivaraError

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]

_QUERIES = 1024  # most queries in one block
_SCORES = 1 << 22  # scores in one block: 16 MB
_PAIRS = 1 << 15  # scalar products at a time: their vectors are gathered first
_ROUNDING = float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class SearchHits:
    """The best rows of Q queries: ``rows`` [Q, k] and their ``scores`` [Q, k], best first, ties by row."""

    rows: Indices
    scores: Floats


def best(features: Floats, queries: Floats, k: int) -> SearchHits:
    """The ``k`` rows of ``features`` [N, d] with the highest scalar products with each of ``queries`` [Q, d].

    All vectors have length 1; a ``k`` above N gives N rows. The features may be memory-mapped: memory beyond them
    does not depend on N. Raises ``CapivaraError`` for vectors of another size.
    """
    check_sizes(features.shape[1], queries)
    k = min(k, len(features))
    some = max(1, min(_QUERIES, _SCORES // k))
    parts = [_best(features, queries[start : start + some], k) for start in range(0, len(queries), some)]
    return SearchHits(
        np.concatenate([np.zeros((0, k), np.int64), *(part.rows for part in parts)]),
        np.concatenate([np.zeros((0, k), np.float32), *(part.scores for part in parts)]),
    )


def check_sizes(dim: int, queries: Floats) -> None:
    """Raise ``CapivaraError`` when the queries come from another model than the index, or are not finite numbers."""
    if queries.shape[1] != dim:
        raise CapivaraError(
            f"the embeddings of the images have {dim} numbers, that of the query has {queries.shape[1]}: they come "
            "from different models"
        )
    if not np.isfinite(queries).all():
        raise CapivaraError(
            "the model gives query embeddings that are not finite numbers",
            "its training has probably diverged: take an earlier checkpoint, or train with a lower --lr",
        )


def _best(features: Floats, queries: Floats, k: int) -> SearchHits:
    width = max(k, min(len(features), _SCORES // len(queries)))
    memory = np.empty(len(queries) * width, np.float32)
    # Matrix product and ``products`` each compute a scalar product of unit vectors with an error below d / 2 roundings.
    margin = np.float32(features.shape[1] * _ROUNDING)
    found = SearchHits(np.zeros((len(queries), 0), np.int64), np.zeros((len(queries), 0), np.float32))
    for start in range(0, len(features), width):
        rows = features[start : start + width]
        block = np.matmul(queries, rows.T, out=memory[: len(queries) * len(rows)].reshape(len(queries), len(rows)))
        lowest = found.scores[:, -1] if start else np.partition(block, len(rows) - k, axis=1)[:, len(rows) - k]
        owners, columns = np.divmod(np.flatnonzero(block >= (lowest - margin)[:, None]), len(rows))
        found = _merged(found, owners, columns + start, products(features, queries, columns + start, owners), k)
    return found


def products(features: Floats, queries: Floats, rows: Indices, owners: Indices) -> Floats:
    """The scalar products [M] of ``features[rows]`` and ``queries[owners]``, each independent of all others."""
    scores = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), _PAIRS):
        some = slice(start, start + _PAIRS)
        scores[some] = np.einsum("md,md->m", features[rows[some]], queries[owners[some]])
    return scores


def _merged(found: SearchHits, owners: Indices, rows: Indices, scores: Floats, k: int) -> SearchHits:
    """The k best of each query, among those found before and the new pairs of query (``owners``) and row.

    The rows found before are lower, and all are in the order of ties, so a stable sort by score keeps that order.
    """
    n_queries, before = found.rows.shape
    counts = np.bincount(owners, minlength=n_queries)
    places = before + np.arange(len(owners)) - np.repeat(np.cumsum(counts) - counts, counts)
    shape = n_queries, before + counts.max(initial=0)
    all_rows, all_scores = np.zeros(shape, np.int64), np.full(shape, -np.inf, np.float32)
    all_rows[:, :before], all_scores[:, :before] = found.rows, found.scores
    all_rows[owners, places], all_scores[owners, places] = rows, scores
    order = np.argsort(-all_scores, axis=1, kind="stable")[:, :k]
    return SearchHits(np.take_along_axis(all_rows, order, 1), np.take_along_axis(all_scores, order, 1))
