"""One pass over the samples of an eval set: image embeddings for every image tower, captions by language, labels.

Images are the costly part and know no language, and adapting a text tower leaves them as they are: each image is
embedded once per image tower, for all languages and all models that share the tower, and kept (``feature_cache``).
An embedding that ``filter`` left in the shard is used when it is of the very same tower.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt

from capivara_cli import console, languages
from capivara_cli.errors import BadSample, CapivaraError
from capivara_cli.evaluation.feature_cache import FeatureCache, content_digest
from capivara_cli.models.clip import Clip
from capivara_cli.pipeline.batches import map_batched
from capivara_cli.pipeline.env import Env
from capivara_cli.shards.embedding import stored_embedding, unit
from capivara_cli.shards.images import decode_image
from capivara_cli.shards.sample import Caption, Sample

Floats = npt.NDArray[np.float32]
Identity = tuple[tuple[str, str], ...]
Labels = tuple[int, ...] | None


@dataclass
class Captions:
    """The captions of one language: ``owners`` holds the image (its row) of each; ``by`` counts who wrote them."""

    texts: list[str] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)
    by: Counter[str] = field(default_factory=Counter)
    n_translated: int = 0

    def add(self, caption: Caption, owner: int) -> None:
        self.texts.append(caption.text)
        self.owners.append(owner)
        self.by[caption.by] += 1
        self.n_translated += caption.of is not None

    def without(self, images: Collection[int]) -> Captions:
        """These captions but for those of some images; the images that stay are numbered anew, in their order."""
        left = (owner for owner in range(max(self.owners, default=-1) + 1) if owner not in images)
        place = {owner: number for number, owner in enumerate(left)}
        kept = [(text, place[owner]) for text, owner in zip(self.texts, self.owners, strict=True) if owner in place]
        return Captions([text for text, _ in kept], [owner for _, owner in kept])


@dataclass
class Gallery:
    """``features``: image tower -> [N, d] float32, L2-normalised; ``labels``: the classes of each image.

    An image has one class, several, none of those there are (()), or is not labelled at all (None).
    """

    keys: list[str] = field(default_factory=list)
    features: dict[Identity, Floats] = field(default_factory=dict)
    captions: dict[str, Captions] = field(default_factory=dict)
    labels: list[Labels] = field(default_factory=list)

    def images_for(self, clip: Clip) -> Floats:
        return self.features[identity_of(clip)]

    def read_captions(self, samples: Iterable[Sample], env: Env) -> None:
        """Add the captions of samples whose images are here already (another language of the same set)."""
        rows = {key: row for row, key in enumerate(self.keys)}
        for sample in samples:
            if (row := rows.get(sample.key)) is not None:
                self.add(sample.captions, row, env)

    def add(self, captions: Iterable[Caption], row: int, env: Env) -> None:
        """Add the captions of the image ``row``; those that say nothing are counted and left out."""
        for caption in captions:
            if caption.text.strip():
                self.captions.setdefault(code_of(caption.lang), Captions()).add(caption, row)
            else:
                env.note("empty caption")


@dataclass(frozen=True)
class _Seen:
    """A sample ready to be embedded: for each tower its stored embedding, or the tensor to embed."""

    captions: list[Caption]
    labels: Labels
    image: bytes
    inputs: list[Any]


@dataclass(frozen=True)
class _Tower:
    """An image tower: a model that has it, and the embeddings that are known of it."""

    clip: Clip
    cache: FeatureCache


def identity_of(clip: Clip) -> Identity:
    return tuple(sorted(clip.identity.items()))


def collect(name: str, samples: Iterable[Sample], clips: Sequence[Clip], env: Env, batch_size: int) -> Gallery:
    """Read everything there is to know about the ``samples`` of the set ``name`` for these models.

    Samples without a usable image fail. Raises ``CapivaraError`` when no image is left.
    """
    towers: dict[Identity, _Tower] = {}
    for clip in clips:
        if identity_of(clip) not in towers:
            towers[identity_of(clip)] = _Tower(clip, FeatureCache(name, clip.identity, clip.dim))
    embedded: list[list[Floats]] = []
    gallery = Gallery()
    found = map_batched(
        samples,
        functools.partial(_prepare, towers=list(towers.values())),
        functools.partial(_embed, towers=list(towers.values())),
        size=batch_size,
        env=env,
    )
    try:
        for sample, (seen, vectors) in console.track(found, "eval: images"):
            gallery.add(seen.captions, len(gallery.keys), env)
            gallery.keys.append(sample.key)
            gallery.labels.append(seen.labels)
            embedded.append(vectors)
    finally:
        for tower in towers.values():
            tower.cache.flush()
    if not embedded:
        reasons = ", ".join(f"{reason} ({count})" for reason, count in env.tally.dropped.most_common())
        raise CapivaraError(f"{name}: there is no image to evaluate on{': ' if reasons else ''}{reasons}")
    for index, identity in enumerate(towers):
        gallery.features[identity] = np.stack([vectors[index] for vectors in embedded])
    return gallery


@functools.lru_cache
def code_of(lang: str) -> str:
    """The BCP-47 code of a language however it is written; an unknown one stays as it is."""
    try:
        return languages.get(lang).code
    except CapivaraError:
        return lang


def _prepare(sample: Sample, towers: list[_Tower]) -> _Seen:
    stored = [stored_embedding(sample, tower.clip.identity, tower.clip.dim) for tower in towers]
    inputs: list[Any] = [None if vector is None else unit(vector) for vector in stored]
    image = b""
    if any(vector is None for vector in inputs):
        image = content_digest(sample.image)
        inputs = [
            tower.cache.recall(image) if vector is None else vector
            for tower, vector in zip(towers, inputs, strict=True)
        ]
    if any(vector is None for vector in inputs):
        pixels = decode_image(sample)
        inputs = [
            tower.clip.preprocess(pixels) if vector is None else vector
            for tower, vector in zip(towers, inputs, strict=True)
        ]
    return _Seen(sample.captions, labels_of(sample), image, inputs)


def _embed(batch: list[_Seen], towers: list[_Tower]) -> list[tuple[_Seen, list[Floats]]]:
    vectors: list[list[Floats]] = [[] for _ in batch]
    for index, tower in enumerate(towers):
        inputs = [seen.inputs[index] for seen in batch]
        fresh = iter(tower.clip.embed_images([each for each in inputs if not isinstance(each, np.ndarray)]))
        for seen, row, each in zip(batch, vectors, inputs, strict=True):
            if isinstance(each, np.ndarray):
                row.append(each)
            else:
                row.append(next(fresh))
                tower.cache.keep(seen.image, row[-1])
    return list(zip(batch, vectors, strict=True))


def labels_of(sample: Sample) -> Labels:
    """The classes of an image: an integer in a ``cls`` member or in ``json["class"]``, or several in
    ``json["classes"]``; None when there are none. ``BadSample`` for a label that is no class."""
    text = sample.members.get("cls", b"").strip()
    if text.isdigit():
        return (int(text),)
    several = sample.document.get("classes")
    if several is not None:
        if not isinstance(several, list) or not all(_is_class(each) for each in several):
            raise BadSample('json "classes" is not a list of class numbers')
        return tuple(several)
    value = sample.document.get("class")
    return (value,) if _is_class(value) else None


def _is_class(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
