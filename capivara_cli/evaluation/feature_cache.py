"""Image embeddings of eval sets, cached on this machine, so that an image is embedded once per image tower.

The cache has one folder per set and image tower (weights and preprocessing). All models with that tower, all languages
and all seeds share it. An embedding is found by the digest of the image file, so a set that was changed or shuffled
never gets a wrong one. The name of a file is the sha256 of its content: a damaged file is recognised, and its
embeddings are computed again. New embeddings are written every half minute, so a kill loses at most those of half a
minute; a file is written completely or not at all.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from capivara_cli import console
from capivara_cli.shards.embedding import TowerIdentity
from capivara_cli.storage import cache
from capivara_cli.storage.files import replacing, sweep

Floats = npt.NDArray[np.float32]

FOLDER = "eval-images"
_SECONDS = 30.0


def content_digest(image: bytes) -> bytes:
    """The key of an image in the cache: BLAKE2 of its encoded bytes, 16 bytes."""
    return hashlib.blake2b(image, digest_size=16).digest()


class FeatureCache:
    """The cached embeddings of one set by one image tower; call ``flush`` at the end.

    Embeddings are float32 [dim], L2-normalised. If the folder cannot be written, it warns once and writes nothing.
    """

    def __init__(self, set_name: str, identity: TowerIdentity, dim: int) -> None:
        tower = hashlib.sha256(json.dumps([identity.to_json(), dim], sort_keys=True).encode()).hexdigest()
        name = hashlib.sha256(set_name.encode("utf-8", "surrogateescape")).hexdigest()
        self._folder = cache.folder() / FOLDER / tower[:24] / name[:24]
        self._row = np.dtype([("image", "V16"), ("embedding", "<f4", (dim,))])
        self._known: dict[bytes, Floats] = {}
        self._new: dict[bytes, Floats] = {}
        self._writes = True
        self._flushed = time.monotonic()
        if self._folder.is_dir():
            for path in sorted(self._folder.glob("*.npy")):
                self._read(path)

    def get(self, image: bytes) -> Floats | None:
        """The embedding of the image with this digest; None if it is not in the cache."""
        return self._known.get(image)

    def put(self, image: bytes, embedding: Floats) -> None:
        """Add the embedding of the image with this digest; ``flush`` writes it."""
        self._known[image] = self._new[image] = embedding
        if time.monotonic() - self._flushed > _SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write the new embeddings to a file."""
        self._flushed = time.monotonic()
        if not self._new or not self._writes:
            return
        rows = np.empty(len(self._new), self._row)
        rows["image"] = [np.void(image) for image in self._new]
        rows["embedding"] = list(self._new.values())
        out = io.BytesIO()
        np.save(out, rows)
        data = out.getvalue()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            sweep(self._folder)
            with replacing(self._folder / f"{_checksum(data)}.npy") as file:
                file.write(data)
        except OSError as error:
            self._writes = False
            console.warn(f"{self._folder}: cannot cache image embeddings, so each eval computes them again: {error}")
        self._new.clear()

    def _read(self, path: Path) -> None:
        data = path.read_bytes()
        if _checksum(data) != path.stem:
            console.warn(f"{path}: damaged, so its image embeddings are recomputed")
            path.unlink(missing_ok=True)
            return
        rows = np.load(io.BytesIO(data), allow_pickle=False)
        if rows.dtype == self._row:
            self._known.update(zip((image.tobytes() for image in rows["image"]), rows["embedding"], strict=True))


def _checksum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
