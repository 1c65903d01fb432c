"""One pass over the samples of an eval set: image embeddings for every image tower, captions by language, labels.

Images are the costly part and know no language, and adapting a text tower leaves them as they are: each image is
embedded once per image tower, for all languages and all models that share the tower. An embedding that ``filter``
left in the shard is used when it is of the very same tower.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from capivara_cli import console, languages
from capivara_cli.clip import Clip
from capivara_cli.embedding import stored_embedding, unit
from capivara_cli.errors import CapivaraError
from capivara_cli.images import decode_image
from capivara_cli.sample import Caption, Sample
from capivara_cli.stage import Env, map_batched

Floats = npt.NDArray[np.float32]
Identity = tuple[tuple[str, str], ...]


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


@dataclass
class Gallery:
    """``features``: image tower -> [N, d] float32, L2-normalised; ``labels``: the class of each image, or None."""

    keys: list[str] = field(default_factory=list)
    features: dict[Identity, Floats] = field(default_factory=dict)
    captions: dict[str, Captions] = field(default_factory=dict)
    labels: list[int | None] = field(default_factory=list)

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
    label: int | None
    inputs: list[Any]


def identity_of(clip: Clip) -> Identity:
    return tuple(sorted(clip.identity.items()))


def collect(samples: Iterable[Sample], clips: Sequence[Clip], env: Env, batch_size: int) -> Gallery:
    """Read everything there is to know about ``samples`` for these models. Samples without a usable image fail.

    Raises ``CapivaraError`` when no image is left.
    """
    towers: dict[Identity, Clip] = {}
    for clip in clips:
        towers.setdefault(identity_of(clip), clip)
    embedded: list[list[Floats]] = []
    gallery = Gallery()
    found = map_batched(
        samples,
        functools.partial(_prepare, towers=list(towers.values())),
        functools.partial(_embed, towers=list(towers.values())),
        size=batch_size,
        env=env,
    )
    for sample, (seen, vectors) in console.track(found, "eval: images"):
        gallery.add(seen.captions, len(gallery.keys), env)
        gallery.keys.append(sample.key)
        gallery.labels.append(seen.label)
        embedded.append(vectors)
    if not embedded:
        reasons = ", ".join(f"{reason} ({count})" for reason, count in env.tally.dropped.most_common())
        raise CapivaraError(f"there is no image to evaluate on{': ' if reasons else ''}{reasons}")
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


def _prepare(sample: Sample, towers: list[Clip]) -> _Seen:
    stored = [stored_embedding(sample, clip.identity, clip.dim) for clip in towers]
    inputs: list[Any] = [None if vector is None else unit(vector) for vector in stored]
    if any(vector is None for vector in inputs):
        image = decode_image(sample)
        inputs = [
            clip.preprocess(image) if vector is None else vector for clip, vector in zip(towers, inputs, strict=True)
        ]
    return _Seen(sample.captions, label_of(sample), inputs)


def _embed(batch: list[_Seen], towers: list[Clip]) -> list[tuple[_Seen, list[Floats]]]:
    vectors: list[list[Floats]] = [[] for _ in batch]
    for index, clip in enumerate(towers):
        inputs = [seen.inputs[index] for seen in batch]
        fresh = iter(clip.embed_images([each for each in inputs if not isinstance(each, np.ndarray)]))
        for row, each in zip(vectors, inputs, strict=True):
            row.append(each if isinstance(each, np.ndarray) else next(fresh))
    return list(zip(batch, vectors, strict=True))


def label_of(sample: Sample) -> int | None:
    """The class of an image: an integer in a ``cls`` member, else in ``json["class"]``; None when there is none."""
    text = sample.members.get("cls", b"").strip()
    if text.isdigit():
        return int(text)
    value = sample.document.get("class")
    return value if isinstance(value, int) and not isinstance(value, bool) else None
