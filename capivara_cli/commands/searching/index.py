"""The search index: the image embeddings of some shards by one image tower, and where each image lies.

A folder of flat arrays in the cache, named after what it is made of, so that shards that changed and other towers get
another one. It is made once, all or nothing, and memory-mapped from then on; what is damaged is made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import tempfile
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from capivara_cli import console
from capivara_cli.commands.searching.exact import Floats
from capivara_cli.errors import CapivaraError
from capivara_cli.models.clip import Clip
from capivara_cli.models.run_folder import replacing_folder
from capivara_cli.pipeline.batches import map_batched
from capivara_cli.pipeline.env import Env
from capivara_cli.shards.archive import Stream
from capivara_cli.shards.embedding import stored_embedding, unit
from capivara_cli.shards.images import decode_image
from capivara_cli.shards.places import Place, read_back, reading_places
from capivara_cli.shards.sample import Sample
from capivara_cli.storage import cache
from capivara_cli.storage.files import replace_text, sweep
from capivara_cli.urls import public_url

FORMAT = 1
FOLDER = "search"
DOCUMENT = "index.json"
_ARRAYS = {"features": "<f4", "shard": "<i4", "span": "<i8", "keys": "u1", "key_bounds": "<i8"}
_IMAGE_BATCH = 64
_CHUNK = 1 << 24
_STREAM = "-"


@dataclass(frozen=True)
class Index:
    """``features`` [N, dim] float32 of length 1; image ``i`` is the bytes ``span[i]`` of ``shards[shard[i]]``.

    ``paths``: what to read for each of the shards; for a stream, a copy. ``document``: the books of the reading.
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
        """Images."""
        return len(self.features)

    def key(self, row: int) -> str:
        word = self.keys[self.key_bounds[row] : self.key_bounds[row + 1]]
        return word.tobytes().decode("utf-8", "surrogateescape")

    def sample(self, row: int) -> Sample:
        """The sample of an image, read back from its shard."""
        number = int(self.shard[row])
        start, end = self.span[row].tolist()
        return read_back(self.paths[number], Place(number, start, end), self.key(row))


@contextlib.contextmanager
def open_index(shards: Sequence[str], clip: Clip, env: Env) -> Iterator[Index]:
    """The index of these shards and this image tower: the one that is kept, else made now.

    That of streams and of remote shards, which have no time to tell that they are the same, is gone when this ends.
    Raises ``CapivaraError`` when there is no image in the shards.
    """
    if shards.count(_STREAM) > 1:
        raise CapivaraError("standard input is there only once", "name - once")
    made_from = _made_from(shards, clip)
    parent = _kept_in() if made_from else None
    with contextlib.ExitStack() as stack:
        lasting = parent is not None
        if parent is None:
            parent = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="capivara-search-")))
        folder = parent / (_digest(made_from) if lasting else "index")
        paths = [str(parent / "stream.tar") if shard == _STREAM else shard for shard in shards]
        index = _opened(folder, shards, paths, reused=True) if folder.is_dir() else None
        if index is None:
            with replacing_folder(folder) as partial:
                document = _Builder(partial, clip, env).build(shards, paths)
                replace_text(partial / DOCUMENT, json.dumps({**document, "made_from": made_from}, indent=2) + "\n")
            index = _opened(folder, shards, paths, reused=False)
        if index is None:
            raise CapivaraError(f"{folder}: was damaged while it was written", "look at the disk, and try again")
        yield index


def checksum(path: Path) -> list[int]:
    """The size and the CRC-32 of a file: what tells a damaged one, at the speed of the disk."""
    size = value = 0
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            size += len(chunk)
            value = zlib.crc32(chunk, value)
    return [size, value]


def _kept_in() -> Path | None:
    """The folder of all indexes; None, which is said, when it cannot be written."""
    parent = cache.folder() / FOLDER
    try:
        parent.mkdir(parents=True, exist_ok=True)
        sweep(parent)
    except OSError as error:
        console.warn(f"{parent}: the index cannot be kept, it is made again each time: {error.strerror}")
        return None
    return parent


def _made_from(shards: Sequence[str], clip: Clip) -> list[Any]:
    """What decides the content of an index; [] where that is not known before reading."""
    marks = []
    for shard in shards:
        if shard == _STREAM or "://" in shard:
            return []
        info = Path(shard).stat()
        marks.append([str(Path(shard).resolve()), info.st_size, info.st_mtime_ns])
    return [FORMAT, marks, clip.identity, clip.dim]


def _digest(made_from: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:24]


def _opened(folder: Path, shards: Sequence[str], paths: Sequence[str], *, reused: bool) -> Index | None:
    """A finished index, memory-mapped; None, which is said, for a damaged one."""
    try:
        document = json.loads((folder / DOCUMENT).read_bytes())
        arrays = {}
        for name, kind in _ARRAYS.items():
            size, _ = expected = document["files"][name]
            if checksum(folder / name) != expected:
                raise ValueError(name)
            arrays[name] = np.asarray(np.memmap(folder / name, kind, "r")) if size else np.zeros(0, kind)
        arrays["features"] = arrays["features"].reshape(-1, document["dim"])
        arrays["span"] = arrays["span"].reshape(-1, 2)
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError) as error:
        what = error.filename if isinstance(error, OSError) else error
        console.warn(f"{folder}: damaged ({what}): the index is made again")
        return None
    return Index(folder, document, shards, paths, reused, **arrays)


class _Builder:
    """Writes the arrays of an index in one pass over the shards; holds a batch of images in memory."""

    def __init__(self, folder: Path, clip: Clip, env: Env) -> None:
        self._folder, self._clip, self._env = folder, clip, env
        self._read: deque[tuple[Sample, Place]] = deque()
        self._key_bytes = self._count = self._computed = 0

    def build(self, shards: Sequence[str], paths: Sequence[str]) -> dict[str, Any]:
        """The document of the index."""
        with contextlib.ExitStack() as stack:
            files: dict[str, BinaryIO] = {
                name: stack.enter_context(open(self._folder / name, "wb", buffering=1 << 20)) for name in _ARRAYS
            }
            self._put(files, "key_bounds", [0])
            samples = console.track(self._samples(shards, paths), "search: reading")
            for sample, vector in map_batched(samples, self._prepare, self._embed, size=_IMAGE_BATCH, env=self._env):
                self._add(files, sample, vector)
        tally = self._env.tally
        if not self._count:
            reasons = ", ".join(f"{reason}: {count:,}" for reason, count in tally.dropped.items())
            what = f"no image in {tally.read:,} samples ({reasons})" if tally.read else "no samples"
            names = ", ".join(map(public_url, shards[:3]))
            raise CapivaraError(f"{names}: {what}, so nothing can be found", "name other shards")
        return {
            "format": FORMAT,
            "dim": self._clip.dim,
            "images": self._count,
            "computed": self._computed,
            "read": tally.read,
            "dropped": dict(tally.dropped),
            "files": {name: checksum(self._folder / name) for name in _ARRAYS},
        }

    def _samples(self, shards: Sequence[str], paths: Sequence[str]) -> Stream:
        for number, (shard, path) in enumerate(zip(shards, paths, strict=True)):
            with contextlib.ExitStack() as stack:
                copy = stack.enter_context(open(path, "wb")) if shard == _STREAM else None
                reader = stack.enter_context(reading_places(shard, number, copy))
                for sample, place in reader:
                    self._env.tally.read += 1
                    self._read.append((sample, place))
                    yield sample
                if reader.duplicates:
                    self._env.tally.read += reader.duplicates
                    self._env.tally.dropped["duplicate key"] += reader.duplicates

    def _prepare(self, sample: Sample) -> Any:
        """The stored embedding if it is of this image tower, else pixels; runs in threads."""
        vector = stored_embedding(sample, self._clip.identity, self._clip.dim)
        if vector is not None:
            return unit(vector)
        return self._clip.preprocess(decode_image(sample, self._clip.preprocess.draft))

    def _embed(self, items: list[Any]) -> list[np.ndarray]:
        pixels = [item for item in items if not isinstance(item, np.ndarray)]
        self._computed += len(pixels)
        computed = iter(self._clip.embed_images(pixels) if pixels else [])
        return [item if isinstance(item, np.ndarray) else next(computed) for item in items]

    def _add(self, files: dict[str, BinaryIO], sample: Sample, vector: np.ndarray) -> None:
        read, place = self._read.popleft()
        while read is not sample:  # those before it could not be used
            read, place = self._read.popleft()
        if not np.isfinite(vector).all():
            raise CapivaraError(f"{sample.key}: the model gives an embedding that is not finite", "take another model")
        key = sample.key.encode("utf-8", "surrogateescape")
        self._key_bytes += len(key)
        self._count += 1
        self._put(files, "features", vector)
        self._put(files, "shard", [place.shard])
        self._put(files, "span", [place.start, place.end])
        files["keys"].write(key)
        self._put(files, "key_bounds", [self._key_bytes])

    def _put(self, files: dict[str, BinaryIO], name: str, values: Any) -> None:
        files[name].write(np.asarray(values, _ARRAYS[name]).tobytes())
