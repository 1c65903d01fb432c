"""Batches of fixed shapes, so that the result of an item does not depend on what else is in its batch.

Libraries choose the kernel of a matrix product by its shape, and kernels add in different orders. In a batch of another
size an embedding differs in its last bits. So every batch has the same number of rows, and rows of tokens are padded to
a width that only their own length decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

_WIDTH = 4


def fixed_batches(items: Sequence[int], size: int) -> Iterator[tuple[list[int], list[int]]]:
    """Yield the items in batches of ``size``: those of the batch, and the same, filled up with its first one.

    >>> list(fixed_batches([5, 6, 7], 2))
    [([5, 6], [5, 6]), ([7], [7, 7])]
    """
    for start in range(0, len(items), size):
        batch = list(items[start : start + size])
        yield batch, batch + batch[:1] * (size - len(batch))


def by_width(lengths: Sequence[int], longest: int) -> dict[int, list[int]]:
    """The indexes of rows by the width to which they are padded: the next multiple of four, at most ``longest``.

    >>> by_width([3, 9, 4, 10], 10)
    {4: [0, 2], 10: [1, 3]}
    """
    found: dict[int, list[int]] = {}
    for index, length in enumerate(lengths):
        width = max(length, min(longest, -(-length // _WIDTH) * _WIDTH))
        found.setdefault(width, []).append(index)
    return found
