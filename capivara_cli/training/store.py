"""The feature store: image embeddings and token ids of the shards, computed once and then memory-mapped.

It is a folder of flat arrays beside the runs. The image tower is frozen (LiT, arXiv 2111.07991), so an image has the
same embedding in every epoch: the one in ``clip.npy`` if this tower computed it, otherwise one computed here. Captions
of all languages are tokenised once and stored without padding. Runs, seeds and languages share a store, and only the
parts that a batch reads are in memory. It can be deleted at any time, because it can be computed again from the shards.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from capivara_cli import console
from capivara_cli.errors import BadSample, CapivaraError
from capivara_cli.models.clip import Clip
from capivara_cli.models.image_vectors import decoded, embed_to_store, pixels
from capivara_cli.pipeline.batches import map_batched, map_each
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.source import Source
from capivara_cli.shards.archive import Stream
from capivara_cli.shards.embedding import stored_embedding
from capivara_cli.shards.sample import Sample
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
from capivara_cli.storage.files import move_folder, partial_folder, sweep
from capivara_cli.storage.shared_folders import opened_or_made
from capivara_cli.training.translation_sources import sources
from capivara_cli.training.views import Views

if TYPE_CHECKING:
    from PIL.Image import Image

FORMAT = 3
FOLDER = ".features"
_DOCUMENT = "store.json"
_ARRAYS = {
    "images": "<f2", "present": "?", "first": "<i8", "tokens": "<i4", "bounds": "<i8", "lang": "<u2", "by": "<u2",
    "source": "<i8", "pixels": "u1", "pixel_sums": "<u4", "texts": "u1", "text_bounds": "<i8", "keys": "u1",
    "key_bounds": "<i8",
}  # fmt: skip
_IMAGE_BATCH = 64
_TOKENIZE_BATCH = 8192
UNLISTED = ""
"""The language of a source text that is no longer a caption of its image."""


class CheckedPixels:
    """The pixels of a store by the number of the image, each compared with its checksum when it is first read."""

    def __init__(self, folder: Path, rows: np.ndarray, sums: np.ndarray) -> None:
        self._folder, self._rows, self._sums = folder, rows, sums
        self._verified = np.zeros(len(sums), bool)

    @property
    def shape(self) -> tuple[int, ...]:
        """[n, 3, height, width]."""
        return self._rows.shape

    def __getitem__(self, image: int) -> np.ndarray:
        """The pixels of an image. Raises ``CapivaraError`` for damaged ones; the next run makes the store again."""
        row: np.ndarray = self._rows[image]
        if not self._verified[image]:
            if zlib.crc32(row.tobytes()) != self._sums[image]:
                with contextlib.suppress(OSError):
                    (self._folder / _DOCUMENT).unlink()
                raise CapivaraError(
                    f"{self._folder / 'pixels'}: damaged: image {image} is not that of its checksum",
                    "run the same command again: it makes the pixels again",
                )
            self._verified[image] = True
        return row


@dataclass(frozen=True)
class FeatureStore:
    """The arrays of a store.

    ``images``: float16 [n, views, dim]. Image ``i`` has the captions ``first[i] … first[i + 1] - 1``. Caption ``c`` has
    the token ids ``tokens[bounds[c]:bounds[c + 1]]``, the language ``languages[lang[c]]``, the author
    ``authors[by[c]]``, and is a translation of caption ``source[c]`` of the same image (-1 for none). ``present[i]``:
    whether sample i has an image; without one, its embedding is zero, but distillation uses its captions. ``pixels``:
    uint8 [n, 3, height, width], preprocessed, empty unless the image tower is trained too.

    Checksums are compared when the store is opened; those of the pixels, which may be hundreds of gigabytes, when an
    image is read for the first time.
    """

    folder: Path
    document: dict[str, Any]
    images: np.ndarray
    present: np.ndarray
    first: np.ndarray
    tokens: np.ndarray
    bounds: np.ndarray
    lang: np.ndarray
    by: np.ndarray
    source: np.ndarray
    pixels: CheckedPixels
    texts: np.ndarray
    text_bounds: np.ndarray
    keys: np.ndarray
    key_bounds: np.ndarray

    @property
    def languages(self) -> list[str]:
        """The language codes that ``lang`` indexes."""
        return self.document["languages"]

    @property
    def authors(self) -> list[str]:
        """The authors that ``by`` indexes."""
        return self.document["authors"]

    @property
    def fingerprint(self) -> str:
        """The sha256 of everything that training uses of the samples."""
        return self.document["fingerprint"]

    def __len__(self) -> int:
        """The number of images."""
        return len(self.first) - 1

    def rows(self, captions: np.ndarray) -> list[np.ndarray]:
        """The token ids of captions, unpadded."""
        return [
            self.tokens[start:end] for start, end in zip(self.bounds[captions], self.bounds[captions + 1], strict=True)
        ]

    def text(self, caption: int) -> str:
        """The text of a caption."""
        return string_at(self.texts, self.text_bounds, caption)

    def key(self, image: int) -> str:
        """The key of the sample of an image."""
        return string_at(self.keys, self.key_bounds, image)

    def owners(self, captions: np.ndarray) -> np.ndarray:
        """The image of each caption."""
        return np.searchsorted(self.first, captions, side="right") - 1


def features(
    source: Source, clip: Clip, parent: Path, env: Env, *, views: int = 0, pixels: bool = False
) -> FeatureStore:
    """The feature store of these shards and this model in the folder ``parent``; it is made if it does not exist.

    An existing store of local shards is found by their sizes and modification times, so nothing is read again. A stream
    is read completely before training starts. Samples without captions are dropped, and samples whose image cannot be
    decoded fail; both are counted in ``env``. ``views``: augmented views per image, 0 for the image itself.
    ``pixels``: store preprocessed images instead of embeddings.
    """
    sweep(parent)
    augmented = Views(views, env.seed) if views else None
    tower = [clip.identity.to_json(), clip.dim, clip.tokenizer_digest]
    kind = [tower, augmented.identity if augmented else None, pixels]
    marks = file_states(source.shards)
    made_from = [FORMAT, marks, kind] if marks is not None else []
    built = False

    def build(folder: Path) -> None:
        nonlocal built
        built = True
        with ArrayWriter(folder, _ARRAYS) as arrays:
            document = _StoreBuilder(arrays, clip, augmented, pixels, env).build(
                console.track(source, "read", source.total)
            )
        write_document(folder / _DOCUMENT, document | {"history": source.history, "made_from": made_from})

    if not made_from:
        return _of_stream(parent, kind, build)
    store = opened_or_made(parent / digest_of(made_from), open_store, build)
    if not built:
        _add_counts(store.document, source, env)
    return store


def _of_stream(parent: Path, kind: Any, build: Callable[[Path], None]) -> FeatureStore:
    """The store of samples that can be read only once. If there is one with the same content, that is used."""
    with partial_folder(parent / "stream") as partial:
        build(partial)
        final = parent / digest_of([FORMAT, read_document(partial / _DOCUMENT)["fingerprint"], kind])
        store = opened_or_made(final, open_store, lambda folder: move_folder(partial, folder))
        shutil.rmtree(partial, ignore_errors=True)
    return store


def open_store(folder: Path) -> FeatureStore:
    """A finished store, memory-mapped. Raises ``DamagedArrays`` if it is missing, incomplete or damaged."""
    document = read_document(folder / _DOCUMENT)
    arrays: dict[str, Any] = map_arrays(folder, _ARRAYS, document.get("files"), unverified=("pixels",))
    try:
        arrays["images"] = arrays["images"].reshape(-1, max(1, document["views"]), document["dim"])
        pixels, sums = arrays["pixels"], arrays.pop("pixel_sums")
        pixels = pixels.reshape(-1, *document["pixels"]) if document["pixels"] else pixels
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedArrays(_DOCUMENT) from error
    return FeatureStore(folder, document, **{**arrays, "pixels": CheckedPixels(folder, pixels, sums)})


def _add_counts(document: dict[str, Any], source: Source, env: Env) -> None:
    """Add the counts of samples that were read and dropped when the store was made to those of ``env``."""
    source.history = document["history"]
    env.tally.read += document["read"]
    env.tally.dropped += Counter(document["dropped"])
    env.tally.failed += document["failed"]
    env.tally.notes += Counter(document["notes"])


class FingerprintedSamples:
    """Yields samples unchanged and computes their ``fingerprint``, the sha256 of all that training uses of them."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._samples = samples
        self._digest = hashlib.sha256()

    def __iter__(self) -> Stream:
        for sample in self._samples:
            pixels = sample.members.get("clip.npy") or b"".join(
                data for suffix, data in sample.members.items() if suffix not in ("json", "txt")
            )
            for part in (sample.key.encode("utf-8", "surrogateescape"), sample.members.get("json", b""), pixels):
                self._digest.update(len(part).to_bytes(8, "little") + part)
            yield sample

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the samples so far."""
        return f"sha256:{self._digest.hexdigest()}"


class _StoreBuilder:
    """Writes the arrays of a store in one pass over the samples, with one batch of images and captions in memory."""

    def __init__(self, arrays: ArrayWriter, clip: Clip, views: Views | None, pixels: bool, env: Env) -> None:
        self._arrays, self._clip, self._views, self._env = arrays, clip, views, env
        self._keep_pixels = pixels
        self._shape: tuple[int, ...] = ()
        self._languages: dict[str, int] = {}
        self._authors: dict[str, int] = {}
        self._waiting: list[tuple[str, str]] = []
        self._captions = self._tokens = self._embedded = self._cut = 0

    def build(self, samples: Iterable[Sample]) -> dict[str, Any]:
        """Write all arrays; returns the document of the store."""
        fingerprinted = FingerprintedSamples(samples)
        for name in ("first", "bounds", "text_bounds", "key_bounds"):
            self._arrays.put(name, [0])
        for sample, vectors in map_batched(
            self._captioned(fingerprinted), self._prepare, self._embed, size=_IMAGE_BATCH, env=self._env
        ):
            self._add(sample, vectors)
        self._tokenize()
        tally = self._env.tally
        if self._embedded:
            self._env.note("images embedded here", self._embedded)
        if self._cut and self._clip.pad_id is not None:
            limit = self._clip.tokenizer.context_length
            self._env.note(f"captions that fill all {limit} tokens, longer ones cut", self._cut)
        return {
            "format": FORMAT,
            "dim": self._clip.dim,
            "views": self._views.count if self._views else 0,
            "pixels": self._shape,
            "languages": list(self._languages),
            "authors": list(self._authors),
            "fingerprint": fingerprinted.fingerprint,
            "embedded_here": self._embedded,
            "read": tally.read,
            "dropped": dict(tally.dropped),
            "failed": tally.failed,
            "notes": {what: count for what, count in tally.notes.items() if what != "images embedded here"},
            "files": self._arrays.files,
        }

    def _captioned(self, samples: Iterable[Sample]) -> Stream:
        for sample, captions in map_each(samples, lambda each: each.captions, self._env):
            if any(caption.text.strip() for caption in captions):
                yield sample
            else:
                self._env.drop(sample, "no captions")

    def _prepare(self, sample: Sample) -> Any:
        """The input of ``_embed`` for a sample; None without an image. Called in threads."""
        if self._views is None and not self._keep_pixels:
            vector = stored_embedding(sample, self._clip.identity, self._clip.dim)
            if vector is not None:
                return vector
        if not _has_image(sample):
            return None
        return (sample.key, decoded(self._clip, sample)) if self._views else pixels(self._clip, sample)

    def _embed(self, items: list[Any]) -> list[np.ndarray | None]:
        """For each image float16 [views, dim], or its pixels, uint8 [1, 3, height, width]; None without an image."""
        present = [item for item in items if item is not None]
        if self._keep_pixels:
            self._shape = tuple(present[0].shape) if present else self._shape
            rows = [item.numpy()[None] for item in present]
        elif self._views:
            self._embedded += len(present)
            rows = self._embed_views(self._views, present)
        else:
            self._embedded += sum(not isinstance(item, np.ndarray) for item in present)
            rows = [vector[None] for vector in embed_to_store(self._clip, present)]
        each = iter(rows)
        return [None if item is None else next(each) for item in items]

    def _embed_views(self, views: Views, images: list[tuple[str, Image]]) -> list[np.ndarray]:
        """float16 [views, dim] for each image, given with its key."""
        views_made = [view for key, image in images for view in views.of(key, image, self._clip.preprocess)]
        rows = embed_to_store(self._clip, views_made)
        return [np.stack(rows[start : start + views.count]) for start in range(0, len(rows), views.count)]

    def _add(self, sample: Sample, vectors: np.ndarray | None) -> None:
        self._arrays.put("present", [vectors is not None])
        if self._keep_pixels:
            if vectors is None:
                raise CapivaraError(
                    f"{sample.key}: no image", "--peft full trains the image tower, so all samples need one"
                )
            self._arrays.put("pixels", vectors)
            self._arrays.put("pixel_sums", [zlib.crc32(vectors.tobytes())])
        views = self._views.count if self._views else 1
        absent = vectors is None or self._keep_pixels
        self._arrays.put("images", np.zeros((views, self._clip.dim)) if absent else vectors)
        captions = [caption for caption in sample.captions if caption.text.strip()]
        origins = list(sources(captions))
        listed = {id(caption): self._captions + index for index, caption in enumerate(captions)}
        unlisted = list(dict.fromkeys(each for each in origins if isinstance(each, str)))
        texts = {text: self._captions + len(captions) + index for index, text in enumerate(unlisted)}
        ids = [texts[each] if isinstance(each, str) else -1 if each is None else listed[id(each)] for each in origins]
        self._arrays.put("source", [*ids, *[-1] * len(unlisted)])
        codes = [caption.lang for caption in captions] + [UNLISTED] * len(unlisted)
        self._arrays.put("lang", [_number(self._languages, code) for code in codes])
        writers = [caption.by for caption in captions] + [UNLISTED] * len(unlisted)
        self._arrays.put("by", [_number(self._authors, name) for name in writers])
        self._captions += len(codes)
        self._arrays.put("first", [self._captions])
        for text, code in zip([*(caption.text for caption in captions), *unlisted], codes, strict=True):
            self._arrays.put_string("texts", "text_bounds", text.encode("utf-8", "replace"))
            self._waiting.append((text, code))
        self._arrays.put_string("keys", "key_bounds", sample.key.encode("utf-8", "surrogateescape"))
        if len(self._waiting) >= _TOKENIZE_BATCH:
            self._tokenize()

    def _tokenize(self) -> None:
        rows = self._clip.tokenize([text for text, _ in self._waiting], [code for _, code in self._waiting])
        if rows:
            lengths = np.array([len(row) for row in rows])
            self._arrays.put("tokens", np.concatenate(rows))
            self._arrays.put("bounds", self._tokens + np.cumsum(lengths))
            self._tokens += int(lengths.sum())
            self._cut += int((lengths >= self._clip.tokenizer.context_length).sum())
        self._waiting = []


def _number(names: dict[str, int], name: str) -> int:
    return names.setdefault(name, len(names))


def _has_image(sample: Sample) -> bool:
    """Whether a sample has an image member, even a broken one, which fails when it is decoded."""
    try:
        return bool(sample.image) or True
    except BadSample:
        return False
