"""Image-text retrieval: recall at k in both directions, exact, in blocks of constant memory.

The definitions are those of CLIP_benchmark and big_vision. Text to image: the share of captions whose image is among
the k best images. Image to text: the share of images that have at least one of their captions among the k best
captions; an image without captions can never be found and still counts. Mean recall is the mean over the k's, then
over both directions.

Ties are settled by expectation: a query that ties with others scores the probability of a hit under a random order of
the equals. So a collapsed model, which gives every pair the same score, gets k/N and not 1, and no result depends on
the order in which the samples were read. Without ties this is the usual 0 or 1. Scores closer than ``TIE`` are equal:
BLAS computes one and the same dot product in several ways, and what is smaller than their differences is no ranking.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from capivara_cli.errors import CapivaraError

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]

KS = (1, 5, 10)
TIE = 2.0**-21
"""Cosines this close are equal: the rounding of a float32 dot product of unit vectors, about four units of 2**-23."""

_TILE = 1024  # rows and columns of one block of scores: 4 MiB; counts in it fit 16 bits


@dataclass(frozen=True)
class Retrieval:
    """Recall at each k as a fraction from 0 to 1, and what it was measured on."""

    text_to_image: dict[int, float]
    image_to_text: dict[int, float]
    n_images: int
    n_captions: int
    n_uncaptioned: int  # images without a caption: a miss each, image to text

    @property
    def mean_recall(self) -> float:
        """The mean of the two directions' means over k."""
        return (mean_over_k(self.text_to_image) + mean_over_k(self.image_to_text)) / 2


def mean_over_k(recalls: dict[int, float]) -> float:
    return sum(recalls.values()) / len(recalls)


def retrieval(images: Floats, texts: Floats, owners: Sequence[int] | Indices, ks: Sequence[int] = KS) -> Retrieval:
    """Recall at ``ks`` both ways of ``images`` [N, d] and ``texts`` [T, d], both L2-normalised.

    ``owners`` [T] holds the row of the image that each text describes. Raises ``CapivaraError`` when there is nothing
    to search, when the sizes of the embeddings differ, and when an embedding is not finite (a comparison with NaN is
    always false, so a broken model would rank first everywhere). Memory beyond the inputs: a copy of ``texts`` and
    one block of scores, whatever N and T are.
    """
    owners = np.asarray(owners, dtype=np.int64)
    _check(images, texts, owners)
    order = np.argsort(owners, kind="stable")  # the own pairs of a block are then one range
    images, texts, owners = images.astype(np.float32, copy=False), texts[order].astype(np.float32), owners[order]
    own = _own_scores(images, texts, owners)
    best = np.full(len(images), np.inf, dtype=np.float32)  # nothing is above an image without captions
    best[owners] = -np.inf
    np.maximum.at(best, owners, own)

    text_above, text_equal = np.zeros(len(texts), np.int64), np.zeros(len(texts), np.int64)
    image_above, image_equal = np.zeros(len(images), np.int64), np.zeros(len(images), np.int64)
    for rows, columns, scores in _tiles(images, texts):
        _set_own(scores, own[rows], owners[rows], columns)
        _count(scores, own[rows, None], 1, text_above[rows], text_equal[rows])
        _count(scores, best[None, columns], 0, image_above[columns], image_equal[columns])

    own_best = np.bincount(owners[own >= best[owners] - TIE], minlength=len(images))
    captioned = np.bincount(owners, minlength=len(images)) > 0
    by_text = {k: _expected_hits(k, text_above, text_equal, np.ones_like(text_above)) for k in ks}
    by_image = {k: _expected_hits(k, image_above, image_equal, own_best) for k in ks}
    return Retrieval(
        {k: float(hits.mean()) for k, hits in by_text.items()},
        {k: float(hits.mean()) for k, hits in by_image.items()},
        len(images),
        len(texts),
        int(len(images) - captioned.sum()),
    )


def _check(images: Floats, texts: Floats, owners: Indices) -> None:
    if not len(images) or not len(texts):
        raise CapivaraError(f"nothing to search: {len(images)} images and {len(texts)} captions")
    if images.shape[1] != texts.shape[1]:
        raise CapivaraError(
            f"image embeddings have {images.shape[1]} numbers and text embeddings {texts.shape[1]}: "
            "they are not of the same model"
        )
    if len(owners) != len(texts) or owners.min() < 0 or owners.max() >= len(images):
        raise ValueError(f"owners must give one of {len(images)} images for each of {len(texts)} texts")
    for what, rows in (("image", images), ("text", texts)):
        if not np.isfinite(rows).all():
            raise CapivaraError(
                f"the model gives {what} embeddings that are not finite numbers",
                "its training has probably diverged: take an earlier checkpoint, or train with a lower --lr",
            )


def _expected_hits(k: int, above: Indices, equal: Indices, own: Indices) -> npt.NDArray[np.float64]:
    """The probability that one of ``own`` targets is among the first k, when ``above`` candidates are better and
    ``equal`` (own included) tie in random order: 1 - C(equal - own, m) / C(equal, m) with m places left."""
    places = np.clip(k - above, 0, equal)
    miss = np.ones(len(above))
    for place in range(int(places.max(initial=0))):
        drawn = place < places
        left = np.maximum(equal - place, 1)
        miss = np.where(drawn, miss * np.maximum(equal - own - place, 0) / left, miss)
    return 1 - miss


def _own_scores(images: Floats, texts: Floats, owners: Indices) -> Floats:
    """The score of each text with its own image."""
    own = np.empty(len(texts), dtype=np.float32)
    for start in range(0, len(texts), _TILE):
        rows = slice(start, start + _TILE)
        own[rows] = np.einsum("td,td->t", texts[rows], images[owners[rows]])
    return own


def _set_own(scores: Floats, own: Floats, owners: Indices, columns: slice) -> None:
    """Write the own scores into a block, so that a text always ties with itself."""
    first, last = np.searchsorted(owners, [columns.start, columns.stop])
    scores[np.arange(first, last), owners[first:last] - columns.start] = own[first:last]


def _tiles(images: Floats, texts: Floats) -> Iterator[tuple[slice, slice, Floats]]:
    """All scores, in blocks: the rows (texts) and columns (images) of each, and the block."""
    for row in range(0, len(texts), _TILE):
        rows = slice(row, min(row + _TILE, len(texts)))
        for column in range(0, len(images), _TILE):
            columns = slice(column, min(column + _TILE, len(images)))
            yield rows, columns, texts[rows] @ images[columns].T


def _count(scores: Floats, own: Floats, axis: int, above: Indices, equal: Indices) -> None:
    """Add to ``above`` and ``equal`` how many scores of a block are above the own one, and how many equal it."""
    better = (scores > own + np.float32(TIE)).sum(axis=axis, dtype=np.uint16)
    above += better
    equal += (scores >= own - np.float32(TIE)).sum(axis=axis, dtype=np.uint16) - better
