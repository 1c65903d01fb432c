"""Choose captions from the feature store, and draw batches from them."""

from __future__ import annotations

import fnmatch
import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from capivara_cli.errors import CapivaraError
from capivara_cli.languages import code_of
from capivara_cli.training.options import CaptionChoice, Loss
from capivara_cli.training.store import UNLISTED, FeatureStore


@dataclass(frozen=True)
class CaptionPool:
    """Captions to draw from, by image: image ``i`` has the captions ``ids[first[i]:first[i + 1]]``.

    ``weights``: the probability of a caption relative to the other captions of its image; None for equal ones.
    """

    ids: np.ndarray
    first: np.ndarray
    weights: np.ndarray | None = None

    @classmethod
    def of(cls, store: FeatureStore, chosen: np.ndarray, weights: np.ndarray | None = None) -> CaptionPool:
        """The captions for which ``chosen``, bool [captions of the store], is true and the weight is above 0."""
        if weights is not None:
            chosen = chosen & (weights > 0)
        ids = np.flatnonzero(chosen)
        return cls(ids, np.searchsorted(ids, store.first), None if weights is None else weights[ids])

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def counts(self) -> np.ndarray:
        """The number of captions of each image."""
        return np.diff(self.first)

    @property
    def images(self) -> np.ndarray:
        """The images with a caption, in order."""
        return np.flatnonzero(self.counts)

    def among(self, images: np.ndarray) -> CaptionPool:
        """The captions of the images for which ``images``, bool [n], is true."""
        keep = np.repeat(images, self.counts)
        first = np.concatenate([[0], np.cumsum(self.counts * images)])
        return CaptionPool(self.ids[keep], first, None if self.weights is None else self.weights[keep])

    def pick(self, images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """One random caption of each image; every image must have one."""
        draws = generator.random(len(images))
        start, end = self.first[images], self.first[images + 1]
        if self.weights is None:
            return self.ids[start + (draws * (end - start)).astype(np.int64)]
        sums = self._weight_sums
        indexes = np.searchsorted(sums, sums[start] + draws * (sums[end] - sums[start]), side="right") - 1
        return self.ids[np.clip(indexes, start, end - 1)]

    @functools.cached_property
    def _weight_sums(self) -> np.ndarray:
        """[captions + 1]: the cumulative sum of the weights, from 0."""
        return np.concatenate([[0.0], np.cumsum(self.weights if self.weights is not None else np.ones(len(self.ids)))])

    def versions(self, images: np.ndarray) -> np.ndarray:
        """[versions, n]: all captions of each image; images with fewer than the maximum repeat theirs in turn."""
        counts = self.counts[images]
        rounds = np.arange(counts.max(initial=0))[:, None] % counts
        return self.ids[self.first[images] + rounds]


@dataclass(frozen=True)
class Anchors:
    """The texts with which captions are aligned.

    The anchor of a caption is its source text (``sources`` [captions], -1 for none), or else a random caption of its
    image in ``pool``.
    """

    pool: CaptionPool
    sources: np.ndarray | None = None

    def of(self, captions: np.ndarray, images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """[n]: the anchor of each caption, -1 for none. ``images`` [n]: the images of the captions."""
        found = np.full(len(captions), -1) if self.sources is None else self.sources[captions].copy()
        missing = np.flatnonzero((found < 0) & (self.pool.counts[images] > 0))
        found[missing] = self.pool.pick(images[missing], generator)
        return found


@dataclass(frozen=True)
class TrainingData:
    """The captions of a run.

    ``target``: captions to learn. ``kept``: captions in languages not to forget. ``captions``: counts by language.
    ``authors``: counts by (language, author). ``anchors``: for alignment. ``heldout``: language -> captions of the
    validation images, which are in no other pool. ``n_unused``: the number of images without a usable caption.
    """

    store: FeatureStore
    target: CaptionPool
    kept: CaptionPool
    captions: Counter[str]
    authors: Counter[tuple[str, str]]
    anchors: Anchors | None = None
    heldout: dict[str, CaptionPool] = field(default_factory=dict)
    n_unused: int = 0

    @property
    def samples(self) -> int:
        """The number of images with a caption to learn or to keep."""
        return int(np.count_nonzero(self.target.counts + self.kept.counts))

    def longest(self, count: int) -> np.ndarray:
        """The ids of the ``count`` captions with the most tokens."""
        ids = np.concatenate([self.target.ids, self.kept.ids])
        return ids[np.argsort(self.store.bounds[ids] - self.store.bounds[ids + 1], kind="stable")[:count]]


def select(
    store: FeatureStore,
    languages: Sequence[str],
    kept: Sequence[str] = (),
    choice: CaptionChoice = CaptionChoice(),  # noqa: B008  (frozen)
    loss: Loss = Loss(),  # noqa: B008
    heldout: float = 0.0,
) -> TrainingData:
    """Select the captions to train on: those in ``languages``, and those in ``kept`` against forgetting.

    ``choice``: weights by author, shots, and the seed of the split. ``loss.align``: the alignment routine (arXiv
    2305.03510), which determines the texts and their anchors. Routine 1, native, aligns a caption with its source or a
    caption in another language. Routine 2, mt-source, aligns a caption written in the language with one translated into
    it. Routine 3, mt-pivot, aligns a caption translated from the language with one written in the pivot language.
    ``heldout``: the share or number of images for validation.

    Raises ``CapivaraError`` if a language has no captions, a routine lacks its texts, or there are too few images.
    """
    codes = [code_of(lang) for lang in store.languages]
    usable = np.repeat(store.present, np.diff(store.first)) if loss.uses_images else np.ones(len(store.lang), bool)
    target = usable & _in(store, codes, languages)
    missing = [each for each in languages if not (target & _in(store, codes, [each])).any()]
    if missing:
        raise _no_captions(missing, store, codes)
    to_keep = CaptionPool.of(store, usable & _in(store, codes, kept))
    weights = _weights(store, choice.weights)
    pool, anchors = _routine(store, loss.align, languages, target, usable, weights)
    train, held = _split(pool, store, choice, heldout)
    with_captions = int(np.count_nonzero(pool.counts + to_keep.counts))
    taken = pool.among(train)
    to_keep = to_keep.among(~held & train if choice.shots else ~held)
    captions, authors = _counted(store, codes, np.concatenate([taken.ids, to_keep.ids]))
    validated = {}
    if held.any():
        validated = {each: CaptionPool.of(store, usable & _in(store, codes, [each])).among(held) for each in languages}
    return TrainingData(store, taken, to_keep, captions, authors, anchors, validated, len(store) - with_captions)


def _counted(
    store: FeatureStore, codes: Sequence[str], used: np.ndarray
) -> tuple[Counter[str], Counter[tuple[str, str]]]:
    """The number of captions ``used`` [n] by language, and by language and author.

    ``codes``: the code of each language of the store, whose captions may be marked ``pt`` and ``pt-BR``.
    """
    pairs = Counter(zip(store.lang[used].tolist(), store.by[used].tolist(), strict=True))
    captions: Counter[str] = Counter()
    authors: Counter[tuple[str, str]] = Counter()
    for (lang, by), count in pairs.items():
        captions[codes[lang]] += count
        authors[codes[lang], store.authors[by]] += count
    return captions, authors


def _in(store: FeatureStore, codes: Sequence[str], languages: Sequence[str]) -> np.ndarray:
    """bool [captions]: whether the caption is in one of the languages; ``codes`` as for ``_counted``."""
    return np.array([bool(each) and each in languages for each in codes], bool)[store.lang]


def _weights(store: FeatureStore, by_author: Mapping[str, float]) -> np.ndarray | None:
    """float64 [captions]: the weight of each caption by its author; None if no weights are given."""
    if not by_author:
        return None
    unused = set(by_author)
    values = np.ones(len(store.authors))
    for number, author in enumerate(store.authors):
        for pattern, weight in by_author.items():
            if fnmatch.fnmatchcase(author, pattern) or author.startswith(f"{pattern}:"):
                values[number] = weight
                unused.discard(pattern)
                break
    if unused:
        known = ", ".join(author for author in store.authors if author != UNLISTED)
        raise CapivaraError(f"--text-weights: no captions by {sorted(unused)[0]!r}", f"there are captions by {known}")
    return values[store.by]


def _routine(
    store: FeatureStore,
    align: str,
    languages: Sequence[str],
    target: np.ndarray,
    usable: np.ndarray,
    weights: np.ndarray | None,
) -> tuple[CaptionPool, Anchors | None]:  # fmt: skip
    """The captions to pair with images, and the anchors to align them with."""
    if align == "none":
        return CaptionPool.of(store, target, weights), None
    translated = store.source >= 0
    listed = np.array([code != UNLISTED for code in store.languages], bool)[store.lang]
    name, codes = f"--align {align}", ", ".join(languages)
    if align == "native":
        others = CaptionPool.of(store, listed & ~target & ~translated)
        anchors = Anchors(others, store.source)
        has_one = (store.source >= 0) | (others.counts > 0)[store.owners(np.arange(len(store.lang)))]
        if not (target & has_one).any():
            raise CapivaraError(
                f"{name}: no image with a caption in {codes} has one in another language",
                "keep the source captions together with the translations, as capivara translate does",
            )
        return CaptionPool.of(store, target, weights), anchors
    if align == "mt-source":
        task, partners = (
            CaptionPool.of(store, target & ~translated, weights),
            CaptionPool.of(store, target & translated),
        )
        what = f"captions written in {codes}, and others translated into it, of the same images"
    else:
        from_target = translated & target[np.where(translated, store.source, 0)]
        task = CaptionPool.of(store, usable & ~target & from_target, weights)
        partners = CaptionPool.of(store, listed & ~target & ~translated)
        what = f"captions translated from {codes}, and others written in that language, of the same images"
    if not (task.counts * partners.counts).any():
        hint = "capivara translate --from … --lang … makes the translations"
        raise CapivaraError(f"{name} needs {what}: there are none", hint)
    return task, Anchors(partners)


def _split(
    pool: CaptionPool, store: FeatureStore, choice: CaptionChoice, share: float
) -> tuple[np.ndarray, np.ndarray]:
    """bool [images] twice: which are trained on, and which are held out. Both are the same for every ``--seed``."""
    train, heldout = np.ones(len(store), bool), np.zeros(len(store), bool)
    images = pool.images
    if not choice.shots and not share:
        return train, heldout
    order = np.random.default_rng((choice.split_seed, 6)).permutation(images)
    count = round(share if share >= 1 else share * len(images))
    if share and not 2 <= count <= len(images) - 2:
        raise CapivaraError(
            f"--val {share:g}: {count} of {len(images)} images", "at least two must be held out, and two must remain"
        )
    shots = min(choice.shots or len(images), len(images) - count)
    if choice.shots > shots:
        raise CapivaraError(
            f"--shots {choice.shots}: only {shots:,} images to train on", "lower --shots, or give more shards"
        )
    heldout[order[shots : shots + count]] = True  # after the shots, as in arXiv 2305.03510
    train[:] = False
    train[order[:shots] if choice.shots else np.setdiff1d(images, np.flatnonzero(heldout))] = True
    return train, heldout


def _no_captions(missing: Sequence[str], store: FeatureStore, codes: Sequence[str]) -> CapivaraError:
    language = missing[0]
    present = Counter(codes[lang] for lang in store.lang.tolist() if store.languages[lang] != UNLISTED)
    found = ", ".join(f"{each} ({count:,})" for each, count in present.most_common())
    if language in codes:
        return CapivaraError(f"none of the samples with a caption in {language} can be used", "they have no image")
    make = f"capivara translate shards/ --lang {language} | capivara train --lang {language}"
    if not present:
        make = f"capivara caption shards/ | {make.replace(' shards/', '')}"
    return CapivaraError(
        f"no captions in {', '.join(missing)}; there are {found or 'none in any language'}",
        f"train on one of these languages, or make the captions first: {make}",
    )


@dataclass(frozen=True)
class Batch:
    """One batch of n images.

    ``images`` [n]: rows of the store. ``captions`` [versions, n]: ids of captions; column i belongs to image i.
    ``anchors`` [versions, n]: ids, -1 for none. ``views`` [n]: the view of each image. The last ``kept`` images have
    captions in the languages not to forget.
    """

    images: np.ndarray
    captions: np.ndarray
    anchors: np.ndarray
    views: np.ndarray
    kept: int


class Batches:
    """Batches drawn from the data. Each is a pure function of (seed, step), so resuming needs no generator state.

    As in CAPIVARA, each epoch visits every image once, in random order, with one random caption in the language. With
    ``every_version``, an image comes with all its captions (LaCLIP-MT, arXiv 2305.20088). A ``share`` of each batch is
    images with a caption in the kept languages. No image occurs twice in a batch, because its captions would be
    negatives of each other.
    """

    def __init__(self, data: TrainingData, size: int, share: float, seed: int, *, every_version: bool = False) -> None:
        self.data = data
        self._seed, self._every_version = seed, every_version
        self._target, self._kept = data.target.images, data.kept.images
        share = share if len(self._kept) else 0.0
        everyone = len(np.union1d(self._target, self._kept)) if share else len(self._target)
        size = min(size, everyone)
        self.target_size = min(len(self._target), size - round(size * share))
        wanted = round(self.target_size * share / (1 - share)) if share < 1 else size
        self.kept_size = min(len(self._kept), wanted, everyone - self.target_size)
        self._order: tuple[int, np.ndarray] = (-1, self._target)

    @property
    def size(self) -> int:
        """The number of pairs per batch."""
        return self.target_size + self.kept_size

    def draw(self, step: int) -> Batch:
        """Batch ``step``, from 0."""
        generator = np.random.default_rng((self._seed, 1, step))
        images = self._target_images(step)
        target = self.data.target
        captions = target.versions(images) if self._every_version else target.pick(images, generator)[None]
        anchors = np.full_like(captions, -1)
        if self.kept_size:
            others = _others(self._kept, images, self.kept_size, generator)
            kept = self.data.kept.pick(others, generator)
            captions = np.concatenate([captions, np.broadcast_to(kept, (len(captions), len(kept)))], axis=1)
            anchors = np.pad(anchors, ((0, 0), (0, len(kept))), constant_values=-1)
        else:
            others = images[:0]
        if self.data.anchors is not None:
            for version in range(len(captions)):
                found = self.data.anchors.of(captions[version, : len(images)], images, generator)
                anchors[version, : len(images)] = found
        everyone = np.concatenate([images, others])
        views = self.data.store.images.shape[1]
        return Batch(everyone, captions, anchors, generator.integers(0, views, len(everyone)), len(others))

    def _target_images(self, step: int) -> np.ndarray:
        if not self.target_size:
            return self._target[:0]
        epoch, position = divmod(step, len(self._target) // self.target_size)
        if self._order[0] != epoch:
            self._order = (epoch, np.random.default_rng((self._seed, 2, epoch)).permutation(self._target))
        return self._order[1][position * self.target_size : (position + 1) * self.target_size]


def _others(pool: np.ndarray, taken: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """Up to ``count`` random distinct members of ``pool`` that are not in ``taken``."""
    if len(pool) > 8 * (count + len(taken)):  # a few draws are enough, and faster than shuffling a large pool
        drawn = generator.choice(pool, 4 * count + 16)
    else:
        drawn = generator.permutation(pool)
    _, first = np.unique(drawn, return_index=True)
    distinct = drawn[np.sort(first)]
    return distinct[~np.isin(distinct, taken)][:count]
