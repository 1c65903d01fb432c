"""Read the samples of an eval set once: image embeddings by each image tower, captions by language, and labels.

Embedding images takes most of the time, and an adapted text tower does not change image embeddings. So each image is
embedded once per image tower, for all languages and all models that share the tower, and cached (``feature_cache``).
An embedding that ``filter`` stored in the shard is used if the same tower computed it.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeGuard

import numpy as np
import numpy.typing as npt

from capivara_cli import console
from capivara_cli.errors import BadSample, CapivaraError
from capivara_cli.evaluation.feature_cache import FeatureCache, content_digest
from capivara_cli.languages import code_of
from capivara_cli.models.clip import Clip
from capivara_cli.models.image_vectors import embed_to_compare, pixels
from capivara_cli.pipeline.batches import map_batched
from capivara_cli.pipeline.env import Env
from capivara_cli.shards.embedding import TowerIdentity, stored_embedding, unit
from capivara_cli.shards.sample import Caption, Sample

if TYPE_CHECKING:
    from torch import Tensor

Floats = npt.NDArray[np.float32]
Labels = tuple[int, ...] | None


@dataclass
class Captions:
    """The captions of one language.

    ``owners``: the row of the image of each caption. ``by``: the number of captions by author. ``n_translated``: the
    number of translations among them. ``n_synthetic``: the number of captions that a captioner wrote, and of their
    translations. ``human``: whether a person wrote each caption in this language.
    """

    texts: list[str] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)
    by: Counter[str] = field(default_factory=Counter)
    n_translated: int = 0
    n_synthetic: int = 0
    human: list[bool] = field(default_factory=list)

    def add(self, caption: Caption, owner: int, *, synthetic: bool = False) -> None:
        """Append a caption of the image in row ``owner``."""
        self.texts.append(caption.text)
        self.owners.append(owner)
        self.by[caption.by] += 1
        self.n_translated += caption.of is not None
        self.n_synthetic += synthetic
        self.human.append(caption.of is None and not synthetic)

    def without(self, images: Collection[int]) -> Captions:
        """The captions of all other images, whose rows are renumbered in order."""
        left = (owner for owner in range(max(self.owners, default=-1) + 1) if owner not in images)
        row = {owner: number for number, owner in enumerate(left)}
        kept = [(text, row[owner]) for text, owner in zip(self.texts, self.owners, strict=True) if owner in row]
        return Captions([text for text, _ in kept], [owner for _, owner in kept])


@dataclass
class Gallery:
    """The images of an eval set, with their captions and classes.

    ``features``: image tower -> float32 [N, dim], L2-normalised. ``captions``: by language. ``labels``: the classes of
    each image; () for an image of none of the set's classes, None for an image without a label.
    """

    keys: list[str] = field(default_factory=list)
    features: dict[TowerIdentity, Floats] = field(default_factory=dict)
    captions: dict[str, Captions] = field(default_factory=dict)
    labels: list[Labels] = field(default_factory=list)

    def images_for(self, clip: Clip) -> Floats:
        """float32 [N, dim]: the embeddings of the images by the image tower of ``clip``."""
        return self.features[clip.identity]

    def read_captions(self, samples: Iterable[Sample], env: Env) -> None:
        """Add captions in another language for images that are already in the gallery, by key."""
        rows = {key: row for row, key in enumerate(self.keys)}
        for sample in samples:
            if (row := rows.get(sample.key)) is not None:
                self.add(sample.captions, row, env)

    def add(self, captions: Iterable[Caption], row: int, env: Env) -> None:
        """Add captions of the image in ``row``; empty ones are counted and skipped."""
        texts = {caption.text: caption for caption in captions}
        for caption in captions:
            if caption.text.strip():
                own = self.captions.setdefault(code_of(caption.lang), Captions())
                own.add(caption, row, synthetic=_is_synthetic(caption, texts))
            else:
                env.note("empty caption")


@dataclass(frozen=True)
class _Prepared:
    """A sample ready to be embedded.

    ``digest``: that of its image. ``inputs``: for each tower, the known embedding, float32 [dim], or the pixels.
    """

    captions: list[Caption]
    labels: Labels
    digest: bytes
    inputs: list[Floats | Tensor]


@dataclass(frozen=True)
class _Tower:
    """An image tower: a model with this tower, and its cached embeddings."""

    clip: Clip
    cache: FeatureCache


def collect(name: str, samples: Iterable[Sample], clips: Sequence[Clip], env: Env, batch_size: int) -> Gallery:
    """Embed the images of the set ``name`` by the image towers of ``clips``, and collect captions and labels.

    Samples without a usable image are counted as failed. Raises ``CapivaraError`` if no image is left.
    """
    towers: dict[TowerIdentity, _Tower] = {}
    for clip in clips:
        if clip.identity not in towers:
            towers[clip.identity] = _Tower(clip, FeatureCache(name, clip.identity, clip.dim))
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
        for sample, (prepared, vectors) in console.track(found, "eval: images", getattr(samples, "total", None)):
            gallery.add(prepared.captions, len(gallery.keys), env)
            gallery.keys.append(sample.key)
            gallery.labels.append(prepared.labels)
            embedded.append(vectors)
    finally:
        for tower in towers.values():
            tower.cache.flush()
    if not embedded:
        reasons = ", ".join(f"{reason} ({count})" for reason, count in env.tally.dropped.most_common())
        raise CapivaraError(f"{name}: no images to evaluate on{': ' if reasons else ''}{reasons}")
    for index, identity in enumerate(towers):
        gallery.features[identity] = np.stack([vectors[index] for vectors in embedded])
    return gallery


def _prepare(sample: Sample, towers: list[_Tower]) -> _Prepared:
    """Look up the embeddings of an image, or decode it. Called in threads."""
    digest = b""
    inputs: list[Floats | Tensor] = []
    for tower in towers:
        vector = stored_embedding(sample, tower.clip.identity, tower.clip.dim)
        if vector is not None:
            inputs.append(unit(vector))
            continue
        digest = digest or content_digest(sample.image)
        known = tower.cache.get(digest)
        inputs.append(pixels(tower.clip, sample) if known is None else known)
    return _Prepared(sample.captions, labels_of(sample), digest, inputs)


def _embed(batch: list[_Prepared], towers: list[_Tower]) -> list[tuple[_Prepared, list[Floats]]]:
    """Each sample with its embeddings, one per tower. New embeddings are cached."""
    columns: list[list[Floats]] = []
    for index, tower in enumerate(towers):
        inputs = [prepared.inputs[index] for prepared in batch]
        columns.append(embed_to_compare(tower.clip, inputs))
        for prepared, item, vector in zip(batch, inputs, columns[-1], strict=True):
            if not isinstance(item, np.ndarray):
                tower.cache.put(prepared.digest, vector)
    return [(prepared, list(row)) for prepared, row in zip(batch, zip(*columns, strict=True), strict=True)]


def _is_synthetic(caption: Caption, texts: Mapping[str, Caption]) -> bool:
    """Whether a captioner wrote a caption, or the text of the image that it was translated from.

    ``texts``: the captions of the image by text.
    """
    for _ in texts:
        source = texts.get(caption.of) if caption.of is not None else None
        if source is None or source is caption:
            break
        caption = source
    return caption.prefix is not None


def labels_of(sample: Sample) -> Labels:
    """The classes of an image; None if it has no label.

    A class is a number in the member ``cls`` or in ``json["class"]``; several are a list in ``json["classes"]``. Raises
    ``BadSample`` for a list of anything else.
    """
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


def _is_class(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
