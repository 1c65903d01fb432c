"""Image-text retrieval: exact recall at k in both directions, in blocks of constant memory.

The definitions are those of CLIP_benchmark and big_vision. Text to image: the share of captions whose image is among
the k best images. Image to text: the share of images with at least one of their captions among the k best captions; an
image without captions counts as a miss. Mean recall is the mean over the k's, then over both directions.

Ties are scored by expectation: a query counts the probability of a hit if tied items are in random order, which is the
usual 0 or 1 without ties. So a collapsed model, which gives every pair the same score, gets k/N and not 1, and no
result depends on the order of the samples. Scores closer than ``TIE`` are tied: BLAS computes the same dot product in
several ways, and smaller differences are rounding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from capivara_cli.errors import CapivaraError
from capivara_cli.evaluation.significance import Contributions

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

KS = (1, 5, 10)
TIE = 2.0**-21
"""Cosines this close are tied: the rounding error of a float32 dot product of unit vectors, about 4 times 2**-23."""

_TILE = 1024  # rows and columns of a block of scores, which takes 4 MiB; counts in a block fit 16 bits


@dataclass(frozen=True, eq=False)
class Positives:
    """The matching pairs: text ``texts[m]`` and image ``images[m]``, each pair once, in any order."""

    texts: Indices
    images: Indices


@dataclass(frozen=True, eq=False)
class Retrieval:
    """Recall at each k as a fraction from 0 to 1, with ranks and contributions.

    ``text_ranks`` [T] and ``image_ranks`` [N], in the order of the inputs: the rank of each query's best positive, from
    1; tied items get their average rank. An image without captions has rank T + 1, a text without an image N + 1.
    ``contributions``: what each image contributes to ``mean_recall``, in two parts: its captions that find it, and
    whether it finds one of them.
    """

    text_to_image: dict[int, float]
    image_to_text: dict[int, float]
    n_images: int
    n_captions: int
    n_uncaptioned: int  # images without a caption, which are misses in image to text
    text_ranks: Doubles
    image_ranks: Doubles
    contributions: Contributions

    @property
    def mean_recall(self) -> float:
        """The mean over k, then over both directions."""
        return (mean_over_k(self.text_to_image) + mean_over_k(self.image_to_text)) / 2

    @property
    def median_rank_text(self) -> float:
        """The median rank over texts, for text to image."""
        return float(np.median(self.text_ranks))

    @property
    def median_rank_image(self) -> float:
        """The median rank over images, including those without captions, for image to text."""
        return float(np.median(self.image_ranks))


def mean_over_k(recalls: dict[int, float]) -> float:
    """The mean of the recalls at each k."""
    return sum(recalls.values()) / len(recalls)


def equal_captions(texts: Sequence[str], owners: Sequence[int] | Indices) -> Positives | None:
    """The positives if each text matches the images of all equal texts; ``texts`` and ``owners`` are [T].

    None if no two images share a text: then these are the usual positives.
    """
    images_of: dict[str, set[int]] = {}
    for text, owner in zip(texts, owners, strict=True):
        images_of.setdefault(text, set()).add(int(owner))
    if all(len(images) == 1 for images in images_of.values()):
        return None
    of_text = [sorted(images_of[text]) for text in texts]
    return Positives(
        np.repeat(np.arange(len(texts)), [len(images) for images in of_text]),
        np.concatenate([np.array(images, np.int64) for images in of_text]),
    )


def retrieval(
    images: Floats,
    texts: Floats,
    owners: Sequence[int] | Indices,
    ks: Sequence[int] = KS,
    positives: Positives | None = None,
) -> Retrieval:
    """Compute recall at ``ks`` in both directions for ``images`` [N, d] and ``texts`` [T, d], both L2-normalised.

    ``owners`` [T]: the row of the image that each text describes. If texts describe several images, ``positives`` has
    the matching pairs, and ``owners`` only determines which texts are resampled with which image.

    Raises ``CapivaraError`` for no images or texts, for embeddings of different sizes, and for an embedding that is not
    finite: comparisons with NaN are false, so a broken model would rank first everywhere. Memory beyond the inputs: one
    block of scores, and a few numbers per pair, text and image.
    """
    owners = np.asarray(owners, dtype=np.int64)
    _check(images, texts, owners)
    images, texts = images.astype(np.float32, copy=False), texts.astype(np.float32, copy=False)
    pairs = positives or Positives(np.arange(len(texts)), owners)
    scores = _pair_scores(images, texts, pairs)
    by_text = _DirectionCounts.of(pairs.texts, scores, len(texts))
    by_image = _DirectionCounts.of(pairs.images, scores, len(images))
    for rows, columns, block in _blocks(images, texts, pairs, scores):
        by_text.count(block, rows, 1)
        by_image.count(block, columns, 0)

    text_hits, image_hits = ({k: side.expected_hits(k) for k in ks} for side in (by_text, by_image))
    captions = np.bincount(owners, minlength=len(images))
    found = np.bincount(owners, weights=sum(text_hits.values()) / len(ks), minlength=len(images))
    return Retrieval(
        {k: float(hits.mean()) for k, hits in text_hits.items()},
        {k: float(hits.mean()) for k, hits in image_hits.items()},
        len(images),
        len(texts),
        int((captions == 0).sum()),
        by_text.expected_ranks(len(images)),
        by_image.expected_ranks(len(texts)),
        Contributions(
            np.stack([found, sum(image_hits.values()) / len(ks)]),
            np.stack([captions.astype(np.float64), np.ones(len(images))]),
        ),
    )


def _check(images: Floats, texts: Floats, owners: Indices) -> None:
    if not len(images) or not len(texts):
        raise CapivaraError(f"nothing to search: {len(images)} images and {len(texts)} captions")
    if images.shape[1] != texts.shape[1]:
        raise CapivaraError(
            f"image embeddings have {images.shape[1]} numbers and text embeddings {texts.shape[1]}: "
            "they come from different models"
        )
    if len(owners) != len(texts) or owners.min() < 0 or owners.max() >= len(images):
        raise ValueError(f"owners must give one of {len(images)} images for each of {len(texts)} texts")
    for what, rows in (("image", images), ("text", texts)):
        if not all(np.isfinite(rows[start : start + _TILE]).all() for start in range(0, len(rows), _TILE)):
            raise CapivaraError(
                f"the model gives {what} embeddings that are not finite numbers",
                "its training has probably diverged: use an earlier checkpoint, or train with a lower --lr",
            )


@dataclass(frozen=True, eq=False)
class _DirectionCounts:
    """One direction, with counts for each of Q queries.

    ``above``: the candidates that score above its best positive. ``equal``: those that tie with it, of which ``own``
    are positives. Scores from ``low`` to ``high`` tie.
    """

    low: Floats
    high: Floats
    own: Indices
    above: Indices
    equal: Indices

    @classmethod
    def of(cls, queries: Indices, scores: Floats, count: int) -> _DirectionCounts:
        """The counts before any candidate; the M positive pairs have ``queries`` [M] and ``scores`` [M]."""
        best = np.full(count, np.inf, dtype=np.float32)  # nothing is above a query without positives
        best[queries] = -np.inf
        np.maximum.at(best, queries, scores)
        low, high = best - np.float32(TIE), best + np.float32(TIE)
        own = np.bincount(queries[scores >= low[queries]], minlength=count)
        return cls(low, high, own, np.zeros(count, np.int64), np.zeros(count, np.int64))

    def count(self, scores: Floats, queries: slice, axis: int) -> None:
        """Add the candidates in a block of scores, which are along ``axis``."""
        low, high = (np.expand_dims(bound[queries], axis) for bound in (self.low, self.high))
        better = (scores > high).sum(axis=axis, dtype=np.uint16)
        self.above[queries] += better
        self.equal[queries] += (scores >= low).sum(axis=axis, dtype=np.uint16) - better

    def expected_hits(self, k: int) -> Doubles:
        """The probability [Q] that a positive is among the first k if tied candidates are in random order.

        It is 1 - C(equal - own, m) / C(equal, m), where m of the first k places go to tied candidates.
        """
        places = np.clip(k - self.above, 0, self.equal)
        miss = np.ones(len(places))
        for place in range(int(places.max(initial=0))):
            drawn = place < places
            left = np.maximum(self.equal - place, 1)
            miss = np.where(drawn, miss * np.maximum(self.equal - self.own - place, 0) / left, miss)
        return 1 - miss

    def expected_ranks(self, n_candidates: int) -> Doubles:
        """The expected rank [Q] of the first positive if tied candidates are in random order.

        The positives divide the other tied candidates into own + 1 parts of equal expected length. A query without
        positives has a rank after all candidates.
        """
        return np.where(self.own > 0, self.above + (self.equal + 1) / (self.own + 1), n_candidates + 1)


def _pair_scores(images: Floats, texts: Floats, pairs: Positives) -> Floats:
    """The score of each pair."""
    scores = np.empty(len(pairs.texts), dtype=np.float32)
    for start in range(0, len(scores), _TILE):
        some = slice(start, start + _TILE)
        scores[some] = np.einsum("md,md->m", texts[pairs.texts[some]], images[pairs.images[some]])
    return scores


def _blocks(
    images: Floats, texts: Floats, pairs: Positives, pair_scores: Floats
) -> Iterator[tuple[slice, slice, Floats]]:
    """All scores in blocks: the rows (texts), the columns (images), and the block, which the next one overwrites.

    The scores of positive pairs are those of ``pair_scores``, so that a pair always ties with itself.
    """
    across = -(-len(images) // _TILE)
    block_of = pairs.texts // _TILE * across + pairs.images // _TILE
    order = np.argsort(block_of, kind="stable")  # now the pairs of each block are contiguous
    block_of = block_of[order]
    memory = np.empty(_TILE * _TILE, dtype=np.float32)  # reused: new memory for each block takes a fifth of the time
    for number in range(-(-len(texts) // _TILE) * across):
        row, column = (index * _TILE for index in divmod(number, across))
        rows, columns = slice(row, min(row + _TILE, len(texts))), slice(column, min(column + _TILE, len(images)))
        shape = rows.stop - row, columns.stop - column
        block = np.matmul(texts[rows], images[columns].T, out=memory[: shape[0] * shape[1]].reshape(shape))
        inside = order[slice(*np.searchsorted(block_of, [number, number + 1]))]
        block[pairs.texts[inside] - row, pairs.images[inside] - column] = pair_scores[inside]
        yield rows, columns, block
