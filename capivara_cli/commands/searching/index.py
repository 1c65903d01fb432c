"""The search index: the image embeddings of some shards by one image tower, and where each image is stored.

It is a folder of flat arrays in the cache. Its name is a digest of what it is built from, so other shards and other
image towers have another index. It is written once, all or nothing, then memory-mapped. A damaged index is rebuilt.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from capivara_cli import console
from capivara_cli.commands.searching.exact import Floats
from capivara_cli.errors import CapivaraError
from capivara_cli.models.clip import Clip
from capivara_cli.models.image_vectors import embed_to_compare, stored_or_pixels
from capivara_cli.pipeline.batches import map_batched
from capivara_cli.pipeline.env import Env
from capivara_cli.shards.archive import Stream, open_shard, read_sample
from capivara_cli.shards.counts import total_of
from capivara_cli.shards.sample import Sample
from capivara_cli.shards.unpacked import packed_only
from capivara_cli.storage import cache
from capivara_cli.storage.arrays import (
    ArrayWriter,
    DamagedArrays,
    digest_of,
    file_states,
    map_arrays,
    read_document,
    string_at,
    write_document,
)
from capivara_cli.storage.files import sweep
from capivara_cli.storage.shared_folders import opened_or_made
from capivara_cli.urls import public_url

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1
FOLDER = "search"
DOCUMENT = "index.json"
_ARRAYS = {"features": "<f4", "shard": "<i4", "span": "<i8", "keys": "u1", "key_bounds": "<i8"}
_IMAGE_BATCH = 64
_STREAM = "-"


@dataclass(frozen=True)
class Index:
    """``features``: float32 [N, dim] of length 1. Image ``i`` is the bytes ``span[i]`` of ``shards[shard[i]]``.

    ``paths``: the file to read for each shard; for a stream, its copy. ``document``: counts of images and of samples
    read and dropped. ``reused``: the index existed before.
    """

    folder: Path
    document: dict[str, Any]
    shards: Sequence[str]
    paths: Sequence[str]
    reused: bool
    features: Floats
    shard: np.ndarray
    span: np.ndarray
    keys: np.ndarray
    key_bounds: np.ndarray

    def __len__(self) -> int:
        """The number of images."""
        return len(self.features)

    def key(self, row: int) -> str:
        return string_at(self.keys, self.key_bounds, row)

    def sample(self, row: int) -> Sample:
        """The sample of an image, read from its shard."""
        number = int(self.shard[row])
        start, end = self.span[row].tolist()
        return read_sample(self.paths[number], start, end, self.key(row))


@contextlib.contextmanager
def open_index(shards: Sequence[str], clip: Clip, env: Env) -> Iterator[Index]:
    """The index of these shards and this image tower: an existing one, or one that is built now.

    The index of streams and remote shards is deleted at the end, because nothing tells whether they are unchanged next
    time. Raises ``CapivaraError`` if there is no image in the shards.
    """
    if shards.count(_STREAM) > 1:
        raise CapivaraError("standard input can be read only once", "name - once")
    marks = file_states(shards)
    made_from = [FORMAT, marks, clip.identity.to_json(), clip.dim] if marks is not None else []
    parent = _cache_folder() if made_from else None
    with contextlib.ExitStack() as stack:
        cached = parent is not None
        if parent is None:
            parent = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="capivara-search-")))
        folder = parent / (digest_of(made_from) if cached else "index")
        paths = [str(parent / "stream.tar") if shard == _STREAM else shard for shard in shards]
        built = False

        def build(new: Path) -> None:
            nonlocal built
            built = True
            with ArrayWriter(new, _ARRAYS) as arrays:
                document = _Builder(arrays, clip, env).build(shards, paths)
            write_document(new / DOCUMENT, {**document, "made_from": made_from})

        yield opened_or_made(folder, lambda made: _opened(made, shards, paths, reused=not built), build)


def _cache_folder() -> Path | None:
    """The folder of all indexes; None, with a warning, if it cannot be written."""
    parent = cache.folder() / FOLDER
    try:
        parent.mkdir(parents=True, exist_ok=True)
        sweep(parent)
    except OSError as error:
        console.warn(f"{parent}: the index cannot be stored, so every search builds it again: {error.strerror}")
        return None
    return parent


def _opened(folder: Path, shards: Sequence[str], paths: Sequence[str], *, reused: bool) -> Index:
    """A finished index, memory-mapped. Raises ``DamagedArrays`` if it is damaged."""
    document = read_document(folder / DOCUMENT)
    arrays = map_arrays(folder, _ARRAYS, document.get("files"))
    try:
        arrays["features"] = arrays["features"].reshape(-1, document["dim"])
        arrays["span"] = arrays["span"].reshape(-1, 2)
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedArrays(DOCUMENT) from error
    return Index(folder, document, shards, paths, reused, **arrays)


class _Builder:
    """Fills the arrays of an index in one pass over the shards, with one batch of images in memory."""

    def __init__(self, arrays: ArrayWriter, clip: Clip, env: Env) -> None:
        self._arrays, self._clip, self._env = arrays, clip, env
        self._read: deque[tuple[Sample, int, int, int]] = deque()
        self._count = self._computed = 0

    def build(self, shards: Sequence[str], paths: Sequence[str]) -> dict[str, Any]:
        """Write all arrays; return the document of the index. Raises ``CapivaraError`` if there is no image."""
        self._arrays.put("key_bounds", [0])
        samples = console.track(self._samples(shards, paths), "search: reading", partial(total_of, shards))
        prepare = partial(stored_or_pixels, self._clip)
        for sample, vector in map_batched(samples, prepare, self._embed, size=_IMAGE_BATCH, env=self._env):
            self._add(sample, vector)
        tally = self._env.tally
        if not self._count:
            reasons = ", ".join(f"{reason}: {count:,}" for reason, count in tally.dropped.items())
            what = f"no image in {tally.read:,} samples ({reasons})" if tally.read else "no samples"
            names = ", ".join(map(public_url, shards[:3]))
            raise CapivaraError(f"{names}: {what}, so there is nothing to search", "name other shards")
        return {
            "format": FORMAT,
            "dim": self._clip.dim,
            "images": self._count,
            "computed": self._computed,
            "read": tally.read,
            "dropped": dict(tally.dropped),
            "files": self._arrays.files,
        }

    def _samples(self, shards: Sequence[str], paths: Sequence[str]) -> Stream:
        for number, (shard, path) in enumerate(zip(shards, paths, strict=True)):
            with contextlib.ExitStack() as stack:
                copy = stack.enter_context(open(path, "wb")) if shard == _STREAM else None
                reader = stack.enter_context(open_shard(shard, copy))
                for sample in packed_only(reader, reader.name):
                    self._env.tally.read += 1
                    self._read.append((sample, number, reader.start, reader.end))
                    yield sample
                if reader.duplicates:
                    self._env.tally.read += reader.duplicates
                    self._env.tally.dropped["duplicate key"] += reader.duplicates

    def _embed(self, items: list[np.ndarray | Tensor]) -> list[np.ndarray]:
        self._computed += sum(not isinstance(item, np.ndarray) for item in items)
        return embed_to_compare(self._clip, items)

    def _add(self, sample: Sample, vector: np.ndarray) -> None:
        read, shard, start, end = self._read.popleft()
        while read is not sample:  # the samples before it were dropped
            read, shard, start, end = self._read.popleft()
        if not np.isfinite(vector).all():
            raise CapivaraError(f"{sample.key}: the model gives an embedding that is not finite", "use another model")
        self._count += 1
        self._arrays.put("features", vector)
        self._arrays.put("shard", [shard])
        self._arrays.put("span", [start, end])
        self._arrays.put_string("keys", "key_bounds", sample.key.encode("utf-8", "surrogateescape"))
