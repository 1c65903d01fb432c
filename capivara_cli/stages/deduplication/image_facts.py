"""What ``dedupe`` compares of an image: its ids, digest, perceptual hash, embedding, and the rank of a copy."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Union

from capivara_cli.errors import BadSample
from capivara_cli.models.image_vectors import embed_to_store, stored_or_pixels
from capivara_cli.pipeline.batches import map_batched
from capivara_cli.pipeline.env import Env
from capivara_cli.shards.images import decode_image, image_size
from capivara_cli.shards.sample import Sample, captions_in
from capivara_cli.stages.deduplication.drawn_looks import look
from capivara_cli.stages.deduplication.image_hash import digest, perceptual_hash
from capivara_cli.stages.deduplication.image_ids import identities

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from capivara_cli.models.clip import Clip


Mark = Union[bytes, int, "np.ndarray", None]
"""The digest, the perceptual hash or the embedding of an image; None if it has none."""


@dataclass
class ImageFacts:
    """The facts of an image; facts that are not needed stay empty.

    ``digest`` is None without an image, ``hash`` also for a flat image. ``look``: see ``drawn_looks.look``. ``score``
    (of its best caption) and ``pixels`` (width times height) rank copies. ``vector``: the embedding, float16 [dim].
    ``prepared``: the stored embedding or the pixels, until the batch is embedded.
    """

    ids: list[int]
    digest: bytes | None = None
    hash: int | None = None
    look: bytes | None = None
    vector: np.ndarray | None = None
    score: float = float("-inf")
    pixels: int = 0
    prepared: np.ndarray | Tensor | None = None

    def mark(self, match: str) -> Mark:
        """What images are compared by in a match by "bytes", "phash" or "embedding"."""
        return {"bytes": self.digest, "phash": self.hash, "embedding": self.vector}[match]


class ImageExaminer:
    """Finds the facts of images, ``batch_size`` at a time.

    ``facts``: some of "id", "bytes", "phash" and "embedding"; the last needs ``clip``. ``rank``: also find ``score``
    and ``pixels``.
    """

    def __init__(self, facts: frozenset[str], clip: Clip | None, batch_size: int, *, rank: bool = False) -> None:
        self.clip = clip
        self.batch_size = batch_size
        self._wanted = facts
        self._rank = rank

    def examine(self, samples: Iterable[Sample], env: Env) -> Iterator[tuple[Sample, ImageFacts | BadSample]]:
        """Yield every sample with its facts, or with the error that makes it unusable. Counts nothing in ``env``."""
        return map_batched(samples, self._prepare, self._embed, size=self.batch_size, env=env)

    def _prepare(self, sample: Sample) -> ImageFacts | BadSample:
        try:
            return self._facts(sample)
        except BadSample as error:
            return error

    def _facts(self, sample: Sample) -> ImageFacts:
        document = sample.document
        captions = captions_in(document)
        facts = ImageFacts(identities(sample, document) if "id" in self._wanted else [])
        if "bytes" in self._wanted:
            facts.digest = _digest(sample)
        whole = decode_image(sample) if "phash" in self._wanted else None
        if whole is not None:
            grey = whole.convert("L")
            facts.hash = perceptual_hash(grey)
            facts.look = look(grey) if facts.hash is not None else None
        if self.clip is not None:
            facts.prepared = stored_or_pixels(self.clip, sample, whole)
        if self._rank:
            facts.score = max((each.score for each in captions if each.score is not None), default=float("-inf"))
            facts.pixels = _pixels(sample)
        return facts

    def _embed(self, batch: list[ImageFacts | BadSample]) -> list[ImageFacts | BadSample]:
        if self.clip is not None:
            usable = [each for each in batch if isinstance(each, ImageFacts)]
            vectors = embed_to_store(self.clip, [each.prepared for each in usable if each.prepared is not None])
            for facts, vector in zip(usable, vectors, strict=True):
                facts.vector, facts.prepared = vector, None
        return batch


def _digest(sample: Sample) -> bytes | None:
    try:
        return digest(sample.image)
    except BadSample:
        return None


def _pixels(sample: Sample) -> int:
    try:
        width, height = image_size(sample)
    except BadSample:
        return 0
    return width * height


def why_unusable(sample: Sample) -> str:
    """The reason why a sample could not be examined, by decoding it again."""
    try:
        captions_in(sample.document)
        decode_image(sample)
    except BadSample as error:
        return error.reason
    return "image cannot be used"
