"""The feature store: what training needs of the shards, computed once and memory-mapped from then on.

A folder of flat arrays beside the runs. The image tower is frozen (LiT, arXiv 2111.07991), so an image is the same
vector at every visit: the one in ``clip.npy`` if this very tower computed it, else computed here, once. Captions of
every language are tokenised once and stored unpadded. Runs, seeds and languages share it; the memory it takes is what
a batch touches. It can be deleted at any time: it is made again from the shards.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from capivara_cli import console
from capivara_cli.errors import BadSample, CapivaraError
from capivara_cli.models.clip import Clip
from capivara_cli.pipeline.batches import map_batched, map_each
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.source import Source
from capivara_cli.shards.archive import Stream
from capivara_cli.shards.embedding import stored_embedding
from capivara_cli.shards.images import decode_image
from capivara_cli.shards.sample import Sample
from capivara_cli.storage.files import partial_of, replace_text, sweep
from capivara_cli.training.translation_sources import sources
from capivara_cli.training.views import Views

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1
FOLDER = ".features"
_DOCUMENT = "store.json"
_ARRAYS = {
    "images": "<f2", "present": "?", "first": "<i8", "tokens": "<i4", "bounds": "<i8", "lang": "<u2", "by": "<u2",
    "source": "<i8", "pixels": "u1", "texts": "u1", "text_bounds": "<i8", "keys": "u1", "key_bounds": "<i8",
}  # fmt: skip
_IMAGE_BATCH = 64
_TOKENIZE_BATCH = 8192
UNLISTED = ""
"""The language of a text that something was translated from and that is no caption of its image any more."""


@dataclass(frozen=True)
class Store:
    """``images`` [n, views, dim] float16; image ``i`` has the captions ``first[i] … first[i + 1] - 1``.

    Caption ``c`` has the token ids ``tokens[bounds[c]:bounds[c + 1]]``, the language ``languages[lang[c]]``, the
    author ``authors[by[c]]``, and comes, by translation, from caption ``source[c]`` of the same image (-1: from none).
    ``present[i]`` is False where an image was not there: its captions can teach, its vector is zero. ``pixels`` [n, 3,
    height, width] uint8, as the model's preprocessing leaves them, are kept only where the image tower is trained too.
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
    pixels: np.ndarray
    texts: np.ndarray
    text_bounds: np.ndarray
    keys: np.ndarray
    key_bounds: np.ndarray

    @property
    def languages(self) -> list[str]:
        return self.document["languages"]

    @property
    def authors(self) -> list[str]:
        return self.document["authors"]

    @property
    def fingerprint(self) -> str:
        """sha256 of all that training uses of the samples."""
        return self.document["fingerprint"]

    def __len__(self) -> int:
        """Images."""
        return len(self.first) - 1

    def rows(self, captions: np.ndarray) -> list[np.ndarray]:
        """The token ids of captions, unpadded."""
        return [
            self.tokens[start:end] for start, end in zip(self.bounds[captions], self.bounds[captions + 1], strict=True)
        ]

    def text(self, caption: int) -> str:
        return _word(self.texts, self.text_bounds, caption)

    def key(self, image: int) -> str:
        return _word(self.keys, self.key_bounds, image)

    def owners(self, captions: np.ndarray) -> np.ndarray:
        """The image of each caption."""
        return np.searchsorted(self.first, captions, side="right") - 1


def features(source: Source, clip: Clip, parent: Path, env: Env, *, views: int = 0, pixels: bool = False) -> Store:
    """The store of these shards and this model in ``parent``: the one that is there, else made now from the shards.

    Nothing is read when it is there: the sizes and times of local shards tell that they are the same. A stream is read
    once, whole, before anything is trained. A sample without captions is dropped; an image that cannot be decoded
    fails; both are counted in ``env``. ``views``: augmented views of every image, 0 for the image as it is; ``pixels``:
    keep these instead, no image is embedded.
    """
    sweep(parent)
    augmented = Views(views, env.seed) if views else None
    kind = [_of_model(clip), augmented.described if augmented else None, pixels]
    made_from = _made_from(source, kind)
    known = parent / _name(made_from) if made_from else None
    if known is not None and (store := open_store(known)) is not None:
        _recall(store.document, source, env)
        return store
    parent.mkdir(parents=True, exist_ok=True)
    partial = partial_of(known or parent / "stream")
    partial.mkdir()
    try:
        with contextlib.ExitStack() as files:
            writer = _Writer(partial, clip, augmented, pixels, env, files)
            document = writer.write(console.track(source, "read"))
        document |= {"history": source.history, "made_from": made_from}
        final = known or parent / _name([document["fingerprint"], kind])
        replace_text(partial / _DOCUMENT, json.dumps(document, ensure_ascii=False, indent=2) + "\n")
        if final.is_dir():
            shutil.rmtree(final)
        partial.replace(final)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    store = open_store(final)
    if store is None:
        raise CapivaraError(f"{final}: vanished while it was opened", "run the same command again")
    return store


def open_store(folder: Path) -> Store | None:
    """A finished store, memory-mapped; None when there is none, or one of another version or that was cut."""
    try:
        document = json.loads((folder / _DOCUMENT).read_bytes())
        if document["format"] != FORMAT:
            return None
        arrays = {name: _mapped(folder / name, kind, document["sizes"][name]) for name, kind in _ARRAYS.items()}
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return None
    arrays["images"] = arrays["images"].reshape(-1, max(1, document["views"]), document["dim"])
    if document["pixels"]:
        arrays["pixels"] = arrays["pixels"].reshape(-1, *document["pixels"])
    return Store(folder, document, **arrays)


def _mapped(path: Path, kind: str, size: int) -> np.ndarray:
    if path.stat().st_size != size:
        raise ValueError(f"{path}: {path.stat().st_size} bytes, not {size}")
    return np.asarray(np.memmap(path, kind, "r")) if size else np.zeros(0, kind)


def _made_from(source: Source, kind: list[Any]) -> list[Any]:
    """What decides a store's content, as far as it is known before reading; [] for streams and remote shards."""
    marks = []
    for shard in source.shards:
        if shard == "-" or "://" in shard:
            return []
        info = Path(shard).stat()
        marks.append([str(Path(shard).resolve()), info.st_size, info.st_mtime_ns])
    return [FORMAT, marks, kind]


def _of_model(clip: Clip) -> list[Any]:
    return [clip.identity, clip.dim, clip.tokenizer_digest]


def _name(made_from: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(made_from, sort_keys=True).encode()).hexdigest()[:24]


def _recall(document: dict[str, Any], source: Source, env: Env) -> None:
    """The books of the reading that made the store."""
    source.history = document["history"]
    env.tally.read += document["read"]
    env.tally.dropped += Counter(document["dropped"])
    env.tally.failed += document["failed"]
    env.tally.notes += Counter(document["notes"])


def _word(data: np.ndarray, bounds: np.ndarray, place: int) -> str:
    return data[bounds[place] : bounds[place + 1]].tobytes().decode("utf-8", "surrogateescape")


class Watched:
    """Samples passing through, with the sha256 of all that training uses of them: is this the same data as before?"""

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
        return f"sha256:{self._digest.hexdigest()}"


class _Writer:
    """Writes a store in one pass over the samples; holds one batch of images and one of captions in memory."""

    def __init__(
        self, folder: Path, clip: Clip, views: Views | None, pixels: bool, env: Env, files: contextlib.ExitStack
    ) -> None:
        self._clip, self._views, self._env = clip, views, env
        self._keep_pixels = pixels
        self._shape: tuple[int, ...] = ()
        self._files: dict[str, BinaryIO] = {}
        for name in _ARRAYS:
            self._files[name] = files.enter_context((folder / name).open("wb", buffering=1 << 20))
        self._languages: dict[str, int] = {}
        self._authors: dict[str, int] = {}
        self._waiting: list[tuple[str, str]] = []
        self._captions = self._tokens = self._text_bytes = self._key_bytes = 0
        self._embedded = self._cut = 0

    def write(self, samples: Iterable[Sample]) -> dict[str, Any]:
        watched = Watched(samples)
        for name in ("first", "bounds", "text_bounds", "key_bounds"):
            self._put(name, [0])
        for sample, vectors in map_batched(
            self._relevant(watched), self._prepare, self._embed, size=_IMAGE_BATCH, env=self._env
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
            "fingerprint": watched.fingerprint,
            "embedded_here": self._embedded,
            "read": tally.read,
            "dropped": dict(tally.dropped),
            "failed": tally.failed,
            "notes": {what: count for what, count in tally.notes.items() if what != "images embedded here"},
            "sizes": {name: file.tell() for name, file in self._files.items()},
        }

    def _relevant(self, samples: Iterable[Sample]) -> Stream:
        for sample, captions in map_each(samples, lambda each: each.captions, self._env):
            if any(caption.text.strip() for caption in captions):
                yield sample
            else:
                self._env.drop(sample, "no captions")

    def _prepare(self, sample: Sample) -> Any:
        """The stored embedding if it is of this image tower, else pixels, None without an image; runs in threads."""
        if self._views is None and not self._keep_pixels:
            vector = stored_embedding(sample, self._clip.identity, self._clip.dim)
            if vector is not None:
                return vector
        if not _has_image(sample):
            return None
        image = decode_image(sample, 0 if self._views or self._keep_pixels else self._clip.preprocess.draft)
        return (sample.key, image) if self._views else self._clip.preprocess(image)

    def _embed(self, items: list[Any]) -> list[np.ndarray | None]:
        """[views, dim] float16 of each; what is stored as it is, pixels embedded in one batch."""
        pixels: list[Tensor] = []
        for item in items:
            if isinstance(item, tuple) and self._views:
                key, image = item
                pixels += self._views.of(key, image, self._clip.preprocess)
            elif item is not None and not isinstance(item, np.ndarray):
                pixels.append(item)
        each = self._views.count if self._views else 1
        if self._keep_pixels:
            return [None if item is None else self._as_bytes(item) for item in items]
        self._embedded += len(pixels) // each
        blocks = [
            self._clip.embed_images(pixels[start : start + _IMAGE_BATCH]).astype(np.float16)
            for start in range(0, len(pixels), _IMAGE_BATCH)
        ]
        computed = iter(np.concatenate(blocks).reshape(-1, each, self._clip.dim) if blocks else [])
        return [
            None if item is None else item[None] if isinstance(item, np.ndarray) else next(computed) for item in items
        ]

    def _as_bytes(self, image: Tensor) -> np.ndarray:
        """[1, 3, height, width] uint8, as the image tower is shown it."""
        self._shape = tuple(image.shape)
        return image.numpy()[None]

    def _add(self, sample: Sample, vectors: np.ndarray | None) -> None:
        self._put("present", [vectors is not None])
        if self._keep_pixels:
            if vectors is None:
                raise CapivaraError(f"{sample.key}: no image", "--peft full trains the image tower: all need an image")
            self._put("pixels", vectors)
        views = self._views.count if self._views else 1
        absent = vectors is None or self._keep_pixels
        self._put("images", np.zeros((views, self._clip.dim)) if absent else vectors)
        captions = [caption for caption in sample.captions if caption.text.strip()]
        origins = list(sources(captions))
        listed = {id(caption): self._captions + place for place, caption in enumerate(captions)}
        unlisted = list(dict.fromkeys(each for each in origins if isinstance(each, str)))
        texts = {text: self._captions + len(captions) + place for place, text in enumerate(unlisted)}
        ids = [texts[each] if isinstance(each, str) else -1 if each is None else listed[id(each)] for each in origins]
        self._put("source", [*ids, *[-1] * len(unlisted)])
        codes = [caption.lang for caption in captions] + [UNLISTED] * len(unlisted)
        self._put("lang", [_number(self._languages, code) for code in codes])
        writers = [caption.by for caption in captions] + [UNLISTED] * len(unlisted)
        self._put("by", [_number(self._authors, name) for name in writers])
        self._captions += len(codes)
        self._put("first", [self._captions])
        for text, code in zip([*(caption.text for caption in captions), *unlisted], codes, strict=True):
            self._text_bytes = self._word("texts", "text_bounds", text, self._text_bytes)
            self._waiting.append((text, code))
        self._key_bytes = self._word("keys", "key_bounds", sample.key, self._key_bytes)
        if len(self._waiting) >= _TOKENIZE_BATCH:
            self._tokenize()

    def _tokenize(self) -> None:
        rows = self._clip.tokenize([text for text, _ in self._waiting], [code for _, code in self._waiting])
        if rows:
            lengths = np.array([len(row) for row in rows])
            self._put("tokens", np.concatenate(rows))
            self._put("bounds", self._tokens + np.cumsum(lengths))
            self._tokens += int(lengths.sum())
            self._cut += int((lengths >= self._clip.tokenizer.context_length).sum())
        self._waiting = []

    def _word(self, name: str, bounds: str, text: str, written: int) -> int:
        data = text.encode("utf-8", "surrogateescape" if name == "keys" else "replace")
        self._files[name].write(data)
        self._put(bounds, [written + len(data)])
        return written + len(data)

    def _put(self, name: str, values: Any) -> None:
        self._files[name].write(np.asarray(values, _ARRAYS[name]).tobytes())


def _number(names: dict[str, int], name: str) -> int:
    return names.setdefault(name, len(names))


def _has_image(sample: Sample) -> bool:
    """Whether there is an image member at all; a broken one counts, and fails when it is decoded."""
    try:
        return bool(sample.image) or True
    except BadSample:
        return False
