"""Image embeddings, computed in one way for every stage and command.

A sample's stored embedding is used if this image tower computed it. Otherwise the image is decoded and preprocessed
(in threads) and embedded, in batches of a fixed size (``fixed_batches``). New embeddings are compared with stored
ones, so all images are decoded in the same way: a large JPEG at a reduced size. ``Clip.identity`` records that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from capivara_cli.errors import BadSample
from capivara_cli.models.clip_files import DEFAULT_MODEL
from capivara_cli.shards.embedding import stored_embedding, unit
from capivara_cli.shards.images import decode_image, is_drafted
from capivara_cli.shards.sample import Sample
from capivara_cli.toy import outsiders

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from capivara_cli.models.clip import Clip

_INSTEAD_OF_TOY = f"use a real model: --model {DEFAULT_MODEL} (the default), or another one of capivara list models"


def decoded(clip: Clip, source: Sample | bytes, whole: Image | None = None) -> Image:
    """The image of a sample, or of encoded bytes, decoded for the image tower of ``clip``.

    ``whole``: the image at its full size, if the caller has decoded it; it is used if a draft has the same pixels.
    Raises ``BadSample`` if the image cannot be decoded.
    """
    if clip.identity.model == "toy":
        image, document = (source.image, _document(source)) if isinstance(source, Sample) else (source, {})
        outsiders.warn_of_image(image, document, "the CLIP model toy", _INSTEAD_OF_TOY)
    draft = clip.preprocess.draft
    return decode_image(source, draft) if whole is None or is_drafted(source, draft) else whole


def _document(sample: Sample) -> Mapping[str, object]:
    """The JSON of a sample; {} if it is damaged, which does not matter to who needs the image only."""
    try:
        return sample.document
    except BadSample:
        return {}


def pixels(clip: Clip, source: Sample | bytes, whole: Image | None = None) -> Tensor:
    """The input of the image tower for an image, uint8 [3, height, width]. Arguments and errors as for ``decoded``."""
    return clip.preprocess(decoded(clip, source, whole))


def stored_or_pixels(clip: Clip, sample: Sample, whole: Image | None = None) -> np.ndarray | Tensor:
    """The stored embedding of a sample, float16 [dim], if ``clip`` computed it; otherwise its ``pixels``."""
    vector = stored_embedding(sample, clip.identity, clip.dim)
    return pixels(clip, sample, whole) if vector is None else vector


def embed_to_store(clip: Clip, items: Sequence[np.ndarray | Tensor]) -> list[np.ndarray]:
    """Embeddings to store, float16 [dim] each, from stored embeddings and pixels, which are embedded here."""
    return [vector.astype(np.float16, copy=False) for vector in _embedded(clip, items)]


def embed_to_compare(clip: Clip, items: Sequence[np.ndarray | Tensor]) -> list[np.ndarray]:
    """Unit embeddings to compare, float32 [dim] each, from stored embeddings and pixels, which are embedded here.

    A computed embedding is rounded as a stored one is, so that a set has one score before and after ``filter``.
    """
    return [unit(vector) for vector in embed_to_store(clip, items)]


def _embedded(clip: Clip, items: Sequence[np.ndarray | Tensor]) -> list[np.ndarray]:
    computed = iter(clip.embed_images([each for each in items if not isinstance(each, np.ndarray)]))
    return [each if isinstance(each, np.ndarray) else next(computed) for each in items]
