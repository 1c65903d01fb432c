"""Image embeddings stored in a sample: ``clip.npy``, and the image tower that computed it in ``json["clip"]``."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from capivara_cli.shards.sample import Sample

if TYPE_CHECKING:
    import numpy as np

MEMBER = "clip.npy"


@dataclass(frozen=True)
class TowerIdentity:
    """Everything that decides the embedding of an image. Embeddings are compared only if their identities are equal.

    ``model`` is the name of the model, ``weights`` the sha256 of the parameters of its image tower, ``preprocess`` how
    images are decoded, resized and normalised.
    """

    model: str
    weights: str
    preprocess: str

    def to_json(self) -> dict[str, str]:
        """The value of ``json["clip"]``."""
        return asdict(self)


def stored_embedding(sample: Sample, identity: TowerIdentity, dim: int) -> np.ndarray | None:
    """The stored embedding of a sample, float16 [dim]; None if it is missing, damaged or of another tower."""
    data = sample.members.get(MEMBER)
    if data is None or sample.document.get("clip") != identity.to_json():
        return None
    import numpy as np

    try:
        vector = np.load(io.BytesIO(data), allow_pickle=False)  # the file may come from anyone
    except (ValueError, OSError, EOFError):
        return None
    if not isinstance(vector, np.ndarray) or vector.shape != (dim,) or vector.dtype.kind != "f":
        return None
    return vector.astype(np.float16, copy=False) if np.isfinite(vector).all() and vector.any() else None


def with_embedding(sample: Sample, vector: np.ndarray, identity: TowerIdentity) -> Sample:
    """A sample with a float16 [dim] embedding; the same object if it already has this embedding."""
    import numpy as np

    buffer = io.BytesIO()
    np.save(buffer, vector)
    if sample.members.get(MEMBER) != buffer.getvalue():
        sample = sample.with_members(**{MEMBER: buffer.getvalue()})
    owner = identity.to_json()
    return sample if sample.document.get("clip") == owner else sample.with_document(clip=owner)


def unit(vector: np.ndarray) -> np.ndarray:
    """float16 [dim] -> float32 [dim] of length 1. Rounding to float16 changes the length by up to 0.1 %."""
    import numpy as np

    wide = vector.astype(np.float32)
    return wide / np.linalg.norm(wide)
