"""Keep the first of near items, exactly, without a list of all near pairs.

Each item stays unless it is near an earlier item that stays. In a chain a-b-c whose ends are not near each other, a and
c stay. No two items that stay are near (a second run removes nothing), and each removed item is near one that stays.
Connected components would remove c, although nothing similar to it stays.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

Rows = np.ndarray
"""int64 [n], ascending: items, as indexes into the order of preference."""

Pairs = tuple[np.ndarray, np.ndarray]
"""int64 [p] and [p]: the earlier and the later item of each near pair, as indexes into the given rows."""

MOST_PAIRS = 1 << 20
"""The largest list of near pairs, unless there are more rows than this. For longer lists the rows are halved."""

_AT_ONCE = 1 << 18

SMALL = 1024
"""The number of rows up to which all near pairs are listed, whatever their number."""


class Space(Protocol):
    """Items in order of preference, and a search for near ones.

    ``count``: the number of items; ``block``: how many of them to decide at a time.
    """

    count: int
    block: int

    def near_any(self, rows: Rows, kept: Rows) -> np.ndarray:
        """bool [len(rows)]: whether each item is near one of ``kept``, which are all earlier."""

    def pairs(self, rows: Rows) -> Pairs | None:
        """All near pairs among ``rows``; None if there are ``too_many``."""


def first_of_near(space: Space) -> np.ndarray:
    """bool [count]: the items that stay. Memory, besides ``space``: 9 bytes per item, 40 per item of a block."""
    stays = np.zeros(space.count, bool)
    kept, found = np.empty(space.count, np.int64), 0
    for start in range(0, space.count, space.block):
        rows = np.arange(start, min(start + space.block, space.count))
        if found:
            rows = rows[~space.near_any(rows, kept[:found])]
        new = _solved(space, rows)
        kept[found : found + len(new)] = new
        found += len(new)
    stays[kept[:found]] = True
    return stays


def _solved(space: Space, rows: Rows) -> Rows:
    """The items of ``rows`` that stay, if none of ``rows`` is near an item kept before.

    n similar items have n²/2 pairs, too many to list. So the first half is decided, and then what is left of the rest.
    """
    pairs = space.pairs(rows)
    if pairs is not None:
        return rows[_first(len(rows), *pairs)]
    middle = len(rows) // 2
    first = _solved(space, rows[:middle])
    rest = rows[middle:]
    return np.concatenate([first, _solved(space, rest[~space.near_any(rest, first)])])


def _first(count: int, earlier: np.ndarray, later: np.ndarray) -> np.ndarray:
    stays = bytearray(b"\1") * count
    order = np.argsort(earlier, kind="stable")
    for part in np.array_split(order, 1 + len(order) // _AT_ONCE):
        for one, other in zip(earlier[part].tolist(), later[part].tolist(), strict=True):
            if stays[one]:  # final, because every item that could remove it came before
                stays[other] = 0
    return np.frombuffer(stays, bool)


def too_many(pairs: int, rows: Rows) -> bool:
    """Whether this is too many near pairs to list; never for ``SMALL`` rows, which have at most half a million."""
    return pairs > max(MOST_PAIRS, len(rows)) and len(rows) > SMALL
