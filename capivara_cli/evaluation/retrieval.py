"""Image-text retrieval: recall at k in both directions, exact, in blocks of constant memory.

The definitions are those of CLIP_benchmark and big_vision. Text to image: the share of captions whose image is among
the k best images. Image to text: the share of images with at least one of their captions among the k best captions; an
image without captions counts as a miss. Mean recall is the mean over the k's, then over both directions.

Tied items are in random order: a query whose positive is tied scores the probability of a hit, which is the usual 0 or
1 without ties. So a collapsed model, which gives every pair the same score, gets k/N and not 1, and no result depends
on the order of the samples. Scores closer than ``TIE`` are tied, because BLAS computes the same dot product in several
ways, and smaller differences are rounding.
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
"""Cosines this close are tied: the rounding of a float32 dot product of unit vectors, about four units of 2**-23."""

_TILE = 1024  # rows and columns of one block of scores: 4 MiB; counts in it fit 16 bits


@dataclass(frozen=True, eq=False)
class Positives:
    """The pairs that match: text ``texts[m]`` and image ``images[m]``, each pair once, in any order."""

    texts: Indices
    images: Indices


@dataclass(frozen=True, eq=False)
class Retrieval:
    """Recall at each k as a fraction from 0 to 1, and the numbers behind it.

    ``text_ranks`` [T] and ``image_ranks`` [N], in the order of the inputs, are the ranks of each query's best positive,
    from 1; tied items get their average rank. The rank of an image without captions is T + 1, that of a text without
    an image N + 1. ``contributions`` is what each image adds to ``mean_recall``, in two parts: the share of its
    captions that find it, and whether it finds one of them.
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
        """The mean of the two directions' means over k."""
        return (mean_over_k(self.text_to_image) + mean_over_k(self.image_to_text)) / 2

    @property
    def median_rank_text(self) -> float:
        """Text to image: the median over texts."""
        return float(np.median(self.text_ranks))

    @property
    def median_rank_image(self) -> float:
        """Image to text: the median over images, those without captions included."""
        return float(np.median(self.image_ranks))


def mean_over_k(recalls: dict[int, float]) -> float:
    return sum(recalls.values()) / len(recalls)


def equal_captions(texts: Sequence[str], owners: Sequence[int] | Indices) -> Positives | None:
    """The positives if equal texts match each other's images too; ``texts`` and ``owners`` are [T].

    None if no two images share a text: the positives are the usual ones then.
    """
    described: dict[str, set[int]] = {}
    for text, owner in zip(texts, owners, strict=True):
        described.setdefault(text, set()).add(int(owner))
    if all(len(images) == 1 for images in described.values()):
        return None
    of_text = [sorted(described[text]) for text in texts]
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
    """Recall at ``ks`` in both directions of ``images`` [N, d] and ``texts`` [T, d], both L2-normalised.

    ``owners`` [T] holds the row of the image that each text describes. If texts describe several images, ``positives``
    says which pairs match; ``owners`` then only says which texts are resampled with which image. Raises
    ``CapivaraError`` for no images or texts, for embeddings of different sizes, and for an embedding that is not
    finite: comparisons with NaN are false, so a broken model would rank first everywhere. Memory beyond the inputs:
    one block of scores, and a few numbers per pair, text and image.
    """
    owners = np.asarray(owners, dtype=np.int64)
    _check(images, texts, owners)
    images, texts = images.astype(np.float32, copy=False), texts.astype(np.float32, copy=False)
    pairs = positives or Positives(np.arange(len(texts)), owners)
    scores = _pair_scores(images, texts, pairs)
    by_text, by_image = _Side.of(pairs.texts, scores, len(texts)), _Side.of(pairs.images, scores, len(images))
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
            "they are not of the same model"
        )
    if len(owners) != len(texts) or owners.min() < 0 or owners.max() >= len(images):
        raise ValueError(f"owners must give one of {len(images)} images for each of {len(texts)} texts")
    for what, rows in (("image", images), ("text", texts)):
        if not all(np.isfinite(rows[start : start + _TILE]).all() for start in range(0, len(rows), _TILE)):
            raise CapivaraError(
                f"the model gives {what} embeddings that are not finite numbers",
                "its training has probably diverged: take an earlier checkpoint, or train with a lower --lr",
            )


@dataclass(frozen=True, eq=False)
class _Side:
    """One direction. For each of Q queries: how many candidates score ``above`` its best positive, and how many are
    ``equal`` to it, of which ``own`` are positives; scores from ``low`` to ``high`` are equal."""

    low: Floats
    high: Floats
    own: Indices
    above: Indices
    equal: Indices

    @classmethod
    def of(cls, queries: Indices, scores: Floats, count: int) -> _Side:
        """Before any candidate is counted; the positive pairs have ``queries`` [M] and ``scores`` [M]."""
        best = np.full(count, np.inf, dtype=np.float32)  # nothing is above a query without positives
        best[queries] = -np.inf
        np.maximum.at(best, queries, scores)
        low, high = best - np.float32(TIE), best + np.float32(TIE)
        own = np.bincount(queries[scores >= low[queries]], minlength=count)
        return cls(low, high, own, np.zeros(count, np.int64), np.zeros(count, np.int64))

    def count(self, scores: Floats, queries: slice, axis: int) -> None:
        """Count the candidates in a block of scores, which lie along ``axis``."""
        low, high = (np.expand_dims(bound[queries], axis) for bound in (self.low, self.high))
        better = (scores > high).sum(axis=axis, dtype=np.uint16)
        self.above[queries] += better
        self.equal[queries] += (scores >= low).sum(axis=axis, dtype=np.uint16) - better

    def expected_hits(self, k: int) -> Doubles:
        """The probability [Q] that a positive is among the first k, with tied candidates in random order.

        With m places left for the tied candidates it is 1 - C(equal - own, m) / C(equal, m).
        """
        places = np.clip(k - self.above, 0, self.equal)
        miss = np.ones(len(places))
        for place in range(int(places.max(initial=0))):
            drawn = place < places
            left = np.maximum(self.equal - place, 1)
            miss = np.where(drawn, miss * np.maximum(self.equal - self.own - place, 0) / left, miss)
        return 1 - miss

    def expected_ranks(self, n_candidates: int) -> Doubles:
        """The mean rank [Q] of the first positive, with tied candidates in random order.

        ``own`` positives divide the tied candidates into own + 1 parts of the same mean length. A query without
        positives ranks behind all candidates.
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

    The scores of positive pairs are taken from ``pair_scores``, so that a pair always ties with itself.
    """
    across = -(-len(images) // _TILE)
    home = pairs.texts // _TILE * across + pairs.images // _TILE
    order = np.argsort(home, kind="stable")  # the pairs of a block are then one range
    home = home[order]
    memory = np.empty(_TILE * _TILE, dtype=np.float32)  # new memory for each block costs a fifth of the time
    for number in range(-(-len(texts) // _TILE) * across):
        row, column = (place * _TILE for place in divmod(number, across))
        rows, columns = slice(row, min(row + _TILE, len(texts))), slice(column, min(column + _TILE, len(images)))
        shape = rows.stop - row, columns.stop - column
        block = np.matmul(texts[rows], images[columns].T, out=memory[: shape[0] * shape[1]].reshape(shape))
        inside = order[slice(*np.searchsorted(home, [number, number + 1]))]
        block[pairs.texts[inside] - row, pairs.images[inside] - column] = pair_scores[inside]
        yield rows, columns, block
