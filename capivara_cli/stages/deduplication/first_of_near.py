"""Keep the first of near items, exactly, without a list of all near pairs.

The first item stays; each other item stays unless it is near an earlier one that stays. So of a chain a-b-c whose ends
are not near each other, a and c stay. No two items that stay are near (a second run removes nothing), and each removed
item is near one that stays. Connected components would remove c, although nothing similar to it stays.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

Rows = np.ndarray
"""int64 [n], ascending: items by their place in the order of preference."""

Pairs = tuple[np.ndarray, np.ndarray]
"""int64 [p] and [p]: the earlier and the later item of each near pair, as places in the given rows."""

MOST_PAIRS = 1 << 20
"""The largest number of near pairs in a list (or the number of rows); beyond it the rows are halved."""

_AT_ONCE = 1 << 18

SMALL = 1024
"""The number of rows whose pairs are always listed."""


class Space(Protocol):
    """Items in order of preference, and how to find near ones without comparing all."""

    count: int
    block: int

    def beside(self, rows: Rows, kept: Rows) -> np.ndarray:
        """bool [len(rows)]: whether each is near one of ``kept``, which are all earlier."""

    def pairs(self, rows: Rows) -> Pairs | None:
        """All near pairs among ``rows``; None if there are ``too_many``."""


def first_of_near(space: Space) -> np.ndarray:
    """bool [count]: the items that stay. Memory beside that of ``space``: 9 bytes per item, 40 per item of a block."""
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
    """The items of ``rows`` that stay; none of ``rows`` is near an item kept before.

    n similar items have n²/2 pairs. They are halved until few are left, which then find all others at once.
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
            if stays[one]:  # every item that could remove it was handled before
                stays[other] = 0
    return np.frombuffer(stays, bool)


def too_many(pairs: int, rows: Any) -> bool:
    """Whether to stop listing pairs. Those of ``SMALL`` rows, half a million, are always listed."""
    return pairs > max(MOST_PAIRS, len(rows)) and len(rows) > SMALL
