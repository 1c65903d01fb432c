"""Choose captions from the feature store, and draw batches from them."""

from __future__ import annotations

import fnmatch
import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from capivara_cli.errors import CapivaraError
from capivara_cli.training.options import CaptionChoice, Loss
from capivara_cli.training.store import UNLISTED, Store
from capivara_cli.training.translation_sources import base_language


@dataclass(frozen=True)
class Pool:
    """Captions to draw from, by image: image ``i`` has ``ids[first[i]:first[i + 1]]``.

    ``weights``: a caption's chance of being drawn, relative to the other captions of its image; None: all equal.
    """

    ids: np.ndarray
    first: np.ndarray
    weights: np.ndarray | None = None

    @classmethod
    def of(cls, store: Store, chosen: np.ndarray, weights: np.ndarray | None = None) -> Pool:
        """The captions where ``chosen`` [captions of the store] is True (and their weight is above 0)."""
        if weights is not None:
            chosen = chosen & (weights > 0)
        ids = np.flatnonzero(chosen)
        return cls(ids, np.searchsorted(ids, store.first), None if weights is None else weights[ids])

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def counts(self) -> np.ndarray:
        """Captions of each image."""
        return np.diff(self.first)

    @property
    def images(self) -> np.ndarray:
        """The images that have a caption, in order."""
        return np.flatnonzero(self.counts)

    def among(self, images: np.ndarray) -> Pool:
        """The captions of the images where ``images`` [n] is True."""
        keep = np.repeat(images, self.counts)
        first = np.concatenate([[0], np.cumsum(self.counts * images)])
        return Pool(self.ids[keep], first, None if self.weights is None else self.weights[keep])

    def pick(self, images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """One caption of each image, at random among its captions; every image must have one."""
        draws = generator.random(len(images))
        start, end = self.first[images], self.first[images + 1]
        if self.weights is None:
            return self.ids[start + (draws * (end - start)).astype(np.int64)]
        below = self._below
        places = np.searchsorted(below, below[start] + draws * (below[end] - below[start]), side="right") - 1
        return self.ids[np.clip(places, start, end - 1)]

    @functools.cached_property
    def _below(self) -> np.ndarray:
        """[captions + 1] cumulative sum of the weights, 0 first."""
        return np.concatenate([[0.0], np.cumsum(self.weights if self.weights is not None else np.ones(len(self.ids)))])

    def versions(self, images: np.ndarray) -> np.ndarray:
        """[versions, n]: all captions of each image; images with fewer than the most repeat theirs from the first."""
        counts = self.counts[images]
        rounds = np.arange(counts.max(initial=0))[:, None] % counts
        return self.ids[self.first[images] + rounds]


@dataclass(frozen=True)
class Anchors:
    """The text that a caption is aligned with: the one it was translated from (``sources`` [captions], -1 for none),
    else a random caption of its image in ``pool``."""

    pool: Pool
    sources: np.ndarray | None = None

    def of(self, captions: np.ndarray, images: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """[n] the anchor of each caption, -1 where there is none. ``images`` [n]: their images."""
        found = np.full(len(captions), -1) if self.sources is None else self.sources[captions].copy()
        open_places = np.flatnonzero((found < 0) & (self.pool.counts[images] > 0))
        found[open_places] = self.pool.pick(images[open_places], generator)
        return found


@dataclass(frozen=True)
class TrainingData:
    """``target``: captions to learn. ``kept``: captions in languages not to forget. ``anchors``: for alignment.

    ``captions``: counts by language. ``authors``: counts by language and author. ``heldout``: by language, captions of
    the validation images, which are in no other pool. ``left_out``: number of images without a caption to use.
    """

    store: Store
    target: Pool
    kept: Pool
    captions: Counter[str]
    authors: Counter[tuple[str, str]]
    anchors: Anchors | None = None
    heldout: dict[str, Pool] = field(default_factory=dict)
    left_out: int = 0

    @property
    def samples(self) -> int:
        """Number of images with a caption to learn or to keep."""
        return int(np.count_nonzero(self.target.counts + self.kept.counts))

    def longest(self, count: int) -> np.ndarray:
        """The ids of up to ``count`` captions, those with the most tokens."""
        ids = np.concatenate([self.target.ids, self.kept.ids])
        return ids[np.argsort(self.store.bounds[ids] - self.store.bounds[ids + 1], kind="stable")[:count]]


def select(
    store: Store,
    languages: Sequence[str],
    kept: Sequence[str] = (),
    choice: CaptionChoice = CaptionChoice(),  # noqa: B008  (frozen)
    loss: Loss = Loss(),  # noqa: B008
    heldout: float = 0.0,
) -> TrainingData:
    """The captions to train on: those in ``languages``, and those in ``kept`` against forgetting.

    ``choice``: weights by author, shots, and the seed of the split. ``loss.align``: the alignment routine (arXiv
    2305.03510), which decides the texts and their anchors: native (1) aligns a caption with its source or a caption in
    another language; mt-source (2) a caption written in the language with one translated into it; mt-pivot (3) a
    caption translated out of the language with one written in the pivot. ``heldout``: share or number of the images
    left for validation.

    Raises ``CapivaraError`` when a language has no captions, a routine lacks its texts, or the images are too few.
    """
    asked = [_asked(code, [*languages, *kept]) for code in store.languages]
    usable = np.repeat(store.present, np.diff(store.first)) if loss.uses_images else np.ones(len(store.lang), bool)
    target = usable & _in(store, asked, languages)
    missing = [each for each in languages if not (target & _in(store, asked, [each])).any()]
    if missing:
        raise _no_captions(missing, store, asked)
    to_keep = Pool.of(store, usable & _in(store, asked, kept))
    weights = _weights(store, choice.weights)
    pool, anchors = _routine(store, loss.align, languages, target, usable, weights)
    train, held = _split(pool, store, choice, heldout)
    with_captions = int(np.count_nonzero(pool.counts + to_keep.counts))
    taken = pool.among(train)
    to_keep = to_keep.among(~held & train if choice.shots else ~held)
    captions, authors = _counted(store, asked, np.concatenate([taken.ids, to_keep.ids]))
    validated = {}
    if held.any():
        validated = {each: Pool.of(store, usable & _in(store, asked, [each])).among(held) for each in languages}
    return TrainingData(store, taken, to_keep, captions, authors, anchors, validated, len(store) - with_captions)


def _counted(store: Store, asked: Sequence[str], used: np.ndarray) -> tuple[Counter[str], Counter[tuple[str, str]]]:
    """Numbers of the captions ``used`` [n] by language, and by language and author."""
    languages, authors = store.languages, store.authors
    pairs = Counter(zip(store.lang[used].tolist(), store.by[used].tolist(), strict=True))
    captions: Counter[str] = Counter()
    for (lang, _), count in pairs.items():
        captions[asked[lang] or languages[lang]] += count
    return captions, Counter({(languages[lang], authors[by]): count for (lang, by), count in pairs.items()})


def _in(store: Store, asked: Sequence[str], languages: Sequence[str]) -> np.ndarray:
    """[captions] True where the caption is in one of the languages."""
    return np.array([bool(each) and each in languages for each in asked], bool)[store.lang]


def _asked(language: str, languages: Sequence[str]) -> str:
    """The wanted language: the caption's own, or the one of which it is a variety (pt for pt-BR); "" for neither."""
    return next((each for each in languages if each in (language, base_language(language))), "")


def _weights(store: Store, asked: Mapping[str, float]) -> np.ndarray | None:
    """[captions] the weight of each by its author."""
    if not asked:
        return None
    unused = set(asked)
    values = np.ones(len(store.authors))
    for place, author in enumerate(store.authors):
        for pattern, weight in asked.items():
            if fnmatch.fnmatchcase(author, pattern) or author.startswith(f"{pattern}:"):
                values[place] = weight
                unused.discard(pattern)
                break
    if unused:
        there = ", ".join(author for author in store.authors if author != UNLISTED)
        raise CapivaraError(f"--text-weights: nobody wrote captions as {sorted(unused)[0]!r}", f"there are: {there}")
    return values[store.by]


def _routine(
    store: Store,
    align: str,
    languages: Sequence[str],
    target: np.ndarray,
    usable: np.ndarray,
    weights: np.ndarray | None,
) -> tuple[Pool, Anchors | None]:  # fmt: skip
    """The captions to pair with images, and those to align them with."""
    if align == "none":
        return Pool.of(store, target, weights), None
    translated = store.source >= 0
    listed = np.array([code != UNLISTED for code in store.languages], bool)[store.lang]
    name, codes = f"--align {align}", ", ".join(languages)
    if align == "native":
        others = Pool.of(store, listed & ~target & ~translated)
        anchors = Anchors(others, store.source)
        has_one = (store.source >= 0) | (others.counts > 0)[store.owners(np.arange(len(store.lang)))]
        if not (target & has_one).any():
            raise CapivaraError(
                f"{name}: no caption in {codes} has one in another language beside it",
                "keep the source captions beside the translations, as capivara translate does",
            )
        return Pool.of(store, target, weights), anchors
    if align == "mt-source":
        task, partners = Pool.of(store, target & ~translated, weights), Pool.of(store, target & translated)
        what = f"captions written in {codes}, and others translated into it, of the same images"
    else:
        from_target = translated & target[np.where(translated, store.source, 0)]
        task = Pool.of(store, usable & ~target & from_target, weights)
        partners = Pool.of(store, listed & ~target & ~translated)
        what = f"captions translated out of {codes}, and others written in that language, of the same images"
    if not (task.counts * partners.counts).any():
        hint = "capivara translate --from … --lang … makes the translations"
        raise CapivaraError(f"{name} needs {what}: there are none", hint)
    return task, Anchors(partners)


def _split(pool: Pool, store: Store, choice: CaptionChoice, share: float) -> tuple[np.ndarray, np.ndarray]:
    """[images] True where an image is trained on, and where it is held out: the same for every ``--seed``."""
    train, heldout = np.ones(len(store), bool), np.zeros(len(store), bool)
    images = pool.images
    if not choice.shots and not share:
        return train, heldout
    order = np.random.default_rng((choice.split_seed, 6)).permutation(images)
    count = round(share if share >= 1 else share * len(images))
    if share and not 2 <= count <= len(images) - 2:
        raise CapivaraError(
            f"--val {share:g}: {count} of {len(images)} images", "at least two must be held out, and two left"
        )
    shots = min(choice.shots or len(images), len(images) - count)
    if choice.shots > shots:
        raise CapivaraError(
            f"--shots {choice.shots}: only {shots:,} images can be trained on", "lower --shots, or give more shards"
        )
    heldout[order[shots : shots + count]] = True  # as in arXiv 2305.03510: first the shots, then the validation images
    train[:] = False
    train[order[:shots] if choice.shots else np.setdiff1d(images, np.flatnonzero(heldout))] = True
    return train, heldout


def _no_captions(missing: Sequence[str], store: Store, asked: Sequence[str]) -> CapivaraError:
    language = missing[0]
    present = Counter({store.languages[lang]: count for lang, count in Counter(store.lang.tolist()).items()})
    present.pop(UNLISTED, None)
    there = ", ".join(f"{each} ({count:,})" for each, count in present.most_common())
    if language in asked:
        return CapivaraError(f"none of the samples with a caption in {language} can be used", "they have no image")
    make = f"capivara translate shards/ --lang {language} | capivara train --lang {language}"
    if not present:
        make = f"capivara caption shards/ | {make.replace(' shards/', '')}"
    return CapivaraError(
        f"no caption in {', '.join(missing)}; the captions there are: {there or 'none in any language'}",
        f"train on a language that is there, or make them first: {make}",
    )


@dataclass(frozen=True)
class Batch:
    """``images`` [n]: rows of the store. ``captions`` [versions, n]: ids, column i those of image i. ``anchors``
    [versions, n]: ids, -1 for none. ``views`` [n]: view of each image. The last ``kept`` images have captions in the
    languages not to forget."""

    images: np.ndarray
    captions: np.ndarray
    anchors: np.ndarray
    views: np.ndarray
    kept: int


class Batches:
    """Batches drawn from the data, each a pure function of (seed, step): resuming needs no generator state.

    As in CAPIVARA, each epoch visits every image once, in random order, with one random caption in the language. With
    ``every_version`` an image comes with all its captions (LaCLIP-MT, arXiv 2305.20088). ``share`` of each batch are
    images with a caption in the kept languages. No image is twice in a batch: its captions would be negatives of each
    other.
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
        """Pairs per batch."""
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
        epoch, place = divmod(step, len(self._target) // self.target_size)
        if self._order[0] != epoch:
            self._order = (epoch, np.random.default_rng((self._seed, 2, epoch)).permutation(self._target))
        return self._order[1][place * self.target_size : (place + 1) * self.target_size]


def _others(pool: np.ndarray, taken: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """Up to ``count`` random distinct members of ``pool`` that are not in ``taken``."""
    if len(pool) > 8 * (count + len(taken)):  # a few draws are enough, and cheaper than shuffling a large pool
        drawn = generator.choice(pool, 4 * count + 16)
    else:
        drawn = generator.permutation(pool)
    _, first = np.unique(drawn, return_index=True)
    distinct = drawn[np.sort(first)]
    return distinct[~np.isin(distinct, taken)][:count]
