"""Image embeddings kept in a sample: ``clip.npy`` and, in ``json["clip"]``, whose they are."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from capivara_cli.shards.sample import Sample

if TYPE_CHECKING:
    import numpy as np

MEMBER = "clip.npy"


def stored_embedding(sample: Sample, identity: dict[str, str], dim: int) -> np.ndarray | None:
    """The embedding of the image tower ``identity``, float16 [dim]; None when none, or no sound one, is stored.

    What is stored came from a stranger: no pickle is loaded, and a vector of another tower is never taken.
    """
    data = sample.members.get(MEMBER)
    if data is None or sample.document.get("clip") != identity:
        return None
    import numpy as np

    try:
        vector = np.load(io.BytesIO(data), allow_pickle=False)
    except (ValueError, OSError, EOFError):
        return None
    if not isinstance(vector, np.ndarray) or vector.shape != (dim,) or vector.dtype.kind != "f":
        return None
    return vector.astype(np.float16, copy=False) if np.isfinite(vector).all() and vector.any() else None


def with_embedding(sample: Sample, vector: np.ndarray, identity: dict[str, str]) -> Sample:
    """The sample with a float16 [dim] embedding and its owner; the very same bytes when they are there already."""
    import numpy as np

    buffer = io.BytesIO()
    np.save(buffer, vector)
    if sample.members.get(MEMBER) != buffer.getvalue():
        sample = sample.with_members(**{MEMBER: buffer.getvalue()})
    return sample if sample.document.get("clip") == identity else sample.with_document(clip=identity)


def unit(vector: np.ndarray) -> np.ndarray:
    """float16 [dim] -> float32 [dim] of length 1: storage has cost it a thousandth."""
    import numpy as np

    wide = vector.astype(np.float32)
    return wide / np.linalg.norm(wide)
