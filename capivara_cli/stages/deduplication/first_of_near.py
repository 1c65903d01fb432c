"""Which of many things stay when those near an earlier one go: exactly, without the list of all near pairs.

The first stays; each of the others stays unless it is near one that stays. So of a chain a-b-c whose ends are not near
each other a and c stay, nothing that stays is near another that stays (a second run finds nothing), and everything
that goes is near something that stays. Connected components would lose c, though nothing like it is left.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

Rows = np.ndarray
"""int64 [n], ascending: places in the order in which things are judged."""

Pairs = tuple[np.ndarray, np.ndarray]
"""int64 [p] and [p]: the earlier and the later of each near pair, as places in the rows that were asked about."""

MOST_PAIRS = 1 << 20
"""Near pairs held at once, or one for each row: more are not listed, the rows are halved instead."""

_AT_ONCE = 1 << 18

SMALL = 1024
"""Rows whose pairs are listed however many they are."""


class Space(Protocol):
    """Things with a nearness: what is known of them, and how to find what is near without comparing all."""

    count: int
    block: int

    def beside(self, rows: Rows, kept: Rows) -> np.ndarray:
        """bool [len(rows)]: which are near one of ``kept``, all of which come earlier."""

    def pairs(self, rows: Rows) -> Pairs | None:
        """All near pairs among ``rows``; None when there are ``too_many``."""


def first_of_near(space: Space) -> np.ndarray:
    """bool [count]: what stays. Memory beside the space's own: 9 bytes for each thing, and 40 for each of a block."""
    stays = np.zeros(space.count, bool)
    kept, found = np.empty(space.count, np.int64), 0
    for start in range(0, space.count, space.block):
        rows = np.arange(start, min(start + space.block, space.count))
        if found:
            rows = rows[~space.beside(rows, kept[:found])]
        new = _solved(space, rows)
        kept[found : found + len(new)] = new
        found += len(new)
    stays[kept[:found]] = True
    return stays


def _solved(space: Space, rows: Rows) -> Rows:
    """Those of ``rows``, none of which is near anything kept before, that stay.

    A crowd of n has n²/2 pairs; halved until it is small, it leaves one or a few that find all others at once.
    """
    pairs = space.pairs(rows)
    if pairs is not None:
        return rows[_first(len(rows), *pairs)]
    middle = len(rows) // 2
    first = _solved(space, rows[:middle])
    rest = rows[middle:]
    return np.concatenate([first, _solved(space, rest[~space.beside(rest, first)])])


def _first(count: int, earlier: np.ndarray, later: np.ndarray) -> np.ndarray:
    stays = bytearray(b"\1") * count
    order = np.argsort(earlier, kind="stable")
    for part in np.array_split(order, 1 + len(order) // _AT_ONCE):
        for one, other in zip(earlier[part].tolist(), later[part].tolist(), strict=True):
            if stays[one]:  # all that could have removed it came before
                stays[other] = 0
    return np.frombuffer(stays, bool)


def too_many(pairs: int, rows: Any) -> bool:
    """Whether a space should stop listing pairs: half a million, those of ``SMALL`` rows, are always listed."""
    return pairs > max(MOST_PAIRS, len(rows)) and len(rows) > SMALL
