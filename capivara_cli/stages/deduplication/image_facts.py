"""What is found out about an image, once: names, digest, perceptual hash, embedding, and how good a copy it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from capivara_cli.errors import BadSample
from capivara_cli.pipeline.batches import map_batched
from capivara_cli.pipeline.env import Env
from capivara_cli.shards.embedding import stored_embedding
from capivara_cli.shards.images import decode_image, image_size
from capivara_cli.shards.sample import Sample, captions_in
from capivara_cli.stages.deduplication.image_hash import digest, perceptual_hash
from capivara_cli.stages.deduplication.image_ids import identities
from capivara_cli.stages.deduplication.options import Options

if TYPE_CHECKING:
    import numpy as np

    from capivara_cli.models.clip import Clip


@dataclass
class Look:
    """``digest`` and ``hash`` are None where there is no image, or a flat one; ``score`` and ``pixels`` rank copies.

    ``vector``: the image as the model wants it (a tensor), then its embedding, float16 [d].
    """

    ids: list[int]
    digest: bytes | None = None
    hash: int | None = None
    vector: Any = None
    score: float = float("-inf")
    pixels: int = 0


class Looker:
    """Looks at samples, as many at a time as the options say; ``rank``: also what makes one copy better."""

    def __init__(self, options: Options, env: Env, rank: bool = False) -> None:
        self._options = options
        self._rank = rank
        self._wanted = options.looks
        self.clip: Clip | None = _clip(options, env) if options.embeds else None

    def over(self, samples: Iterable[Sample], env: Env) -> Iterator[tuple[Sample, Look | BadSample]]:
        """Every sample with what was found, or why it cannot be used. Counts nothing."""
        return map_batched(samples, self._looked, self._embedded, size=self._options.batch_size, env=env)

    def _looked(self, sample: Sample) -> Look | BadSample:
        try:
            return self._look(sample)
        except BadSample as error:
            return error

    def _look(self, sample: Sample) -> Look:
        document = sample.document
        captions = captions_in(document)
        look = Look(identities(sample, document) if "id" in self._wanted else [])
        if "bytes" in self._wanted:
            look.digest = _digest(sample)
        vector = stored_embedding(sample, self.clip.identity, self.clip.dim) if self.clip else None
        if "phash" in self._wanted or (self.clip and vector is None):
            image = decode_image(sample)
            look.hash = perceptual_hash(image) if "phash" in self._wanted else None
            look.vector = self.clip.preprocess(image) if self.clip and vector is None else vector
        else:
            look.vector = vector
        if self._rank:
            look.score = max((each.score for each in captions if each.score is not None), default=float("-inf"))
            look.pixels = _pixels(sample)
        return look

    def _embedded(self, batch: list[Look | BadSample]) -> list[Look | BadSample]:
        import numpy as np

        if self.clip is not None:
            new = [each for each in batch if isinstance(each, Look) and not isinstance(each.vector, np.ndarray)]
            vectors: np.ndarray = self.clip.embed_images([each.vector for each in new]).astype(np.float16)
            for each, vector in zip(new, vectors, strict=True):
                each.vector = vector
        return batch


def _clip(options: Options, env: Env) -> Clip:
    from capivara_cli.models.clip import load_clip

    key = ("clip", options.model, options.pretrained, env.device)
    return env.once(key, lambda: load_clip(options.model, options.pretrained, env.device))


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


def why_not(sample: Sample) -> str:
    """Why a sample that was looked at in vain cannot be used: the reason of the first time, found again."""
    try:
        captions_in(sample.document)
        decode_image(sample)
    except BadSample as error:
        return error.reason
    return "image cannot be used"
