"""Image embeddings of eval sets, kept on this machine: an image is computed once per image tower, ever.

One folder per set and image tower (weights and preprocessing) in the cache, shared by all models that have the tower,
all languages and all seeds. An embedding is found by the content of its image, so a set that changed, or was
shuffled, gets no wrong one. A file is named after the sha256 of what it holds: one that was damaged is not used but
computed again. Files are written all or nothing every half minute, so that a kill costs no more.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from capivara_cli import console
from capivara_cli.storage import cache
from capivara_cli.storage.files import replacing, sweep

Floats = npt.NDArray[np.float32]

FOLDER = "eval-images"
_SECONDS = 30.0


def content_digest(image: bytes) -> bytes:
    """What an image is found by: 16 bytes of BLAKE2 over its encoded bytes."""
    return hashlib.blake2b(image, digest_size=16).digest()


class FeatureCache:
    """``recall`` the embedding of an image, ``keep`` one that was computed, ``flush`` at the end.

    ``identity`` names the image tower as in ``Clip.identity``; embeddings are float32 [dim], L2-normalised. A cache
    that cannot be written is said once and done without.
    """

    def __init__(self, set_name: str, identity: Mapping[str, str], dim: int) -> None:
        tower = hashlib.sha256(json.dumps([dict(identity), dim], sort_keys=True).encode()).hexdigest()
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

    def recall(self, image: bytes) -> Floats | None:
        """The embedding of the image with this digest, None when it was never computed."""
        return self._known.get(image)

    def keep(self, image: bytes, embedding: Floats) -> None:
        self._known[image] = self._new[image] = embedding
        if time.monotonic() - self._flushed > _SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what is new."""
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
            console.warn(f"{self._folder}: image embeddings cannot be kept, they are computed again: {error}")
        self._new.clear()

    def _read(self, path: Path) -> None:
        data = path.read_bytes()
        if _checksum(data) != path.stem:
            console.warn(f"{path}: damaged: its image embeddings are computed again")
            path.unlink(missing_ok=True)
            return
        rows = np.load(io.BytesIO(data), allow_pickle=False)
        if rows.dtype == self._row:
            self._known.update(zip((image.tobytes() for image in rows["image"]), rows["embedding"], strict=True))


def _checksum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
