"""What training reads: one image embedding per sample, its captions as token rows, and batches drawn from them.

The image tower is frozen (LiT, arXiv 2111.07991), so an image is the same vector at every visit: the one in
``clip.npy`` if this very tower computed it, else computed here, once. Captions are tokenised once and stored unpadded.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from capivara_cli.clip import Clip
from capivara_cli.embedding import stored_embedding
from capivara_cli.errors import CapivaraError
from capivara_cli.images import decode_image
from capivara_cli.sample import Caption, Sample
from capivara_cli.shards import Stream
from capivara_cli.stage import Env, map_batched, map_each

if TYPE_CHECKING:
    from torch import Tensor

_REGION = re.compile("-[A-Z]{2}$")
_IMAGE_BATCH = 64
_TOKENIZE_BATCH = 8192


@dataclass
class TextBank:
    """Token rows of captions, grouped by the image they belong to (compressed rows: no padding, no Python objects).

    Caption ``c`` is ``tokens[bounds[c]:bounds[c + 1]]``; image ``i`` has the captions ``first[i] … first[i + 1] - 1``.
    """

    tokens: np.ndarray
    bounds: np.ndarray
    first: np.ndarray

    @property
    def images(self) -> np.ndarray:
        """The images that have a caption, in order."""
        return np.flatnonzero(np.diff(self.first))

    def pick(self, images: np.ndarray, generator: np.random.Generator) -> list[np.ndarray]:
        """One caption of each image, uniformly among its captions."""
        counts = self.first[images + 1] - self.first[images]
        chosen = self.first[images] + (generator.random(len(images)) * counts).astype(np.int64)
        return [self.tokens[start:end] for start, end in zip(self.bounds[chosen], self.bounds[chosen + 1], strict=True)]


@dataclass
class TrainingData:
    """``embeddings`` [n, dim] float16; ``target`` and ``kept``: the captions to learn and those to not forget."""

    embeddings: np.ndarray
    target: TextBank
    kept: TextBank
    captions: Counter[str]
    authors: Counter[tuple[str, str]]
    fingerprint: str
    embedded_here: int

    @property
    def samples(self) -> int:
        return len(self.embeddings)


@dataclass
class _Bank:
    """A ``TextBank`` being filled."""

    clip: Clip
    texts: list[str] = field(default_factory=list)
    rows: list[np.ndarray] = field(default_factory=list)
    first: list[int] = field(default_factory=lambda: [0])

    def add(self, texts: Sequence[str]) -> None:
        """The captions of the next image."""
        self.texts += texts
        self.first.append(self.first[-1] + len(texts))
        if len(self.texts) >= _TOKENIZE_BATCH:
            self._tokenize()

    def finish(self) -> TextBank:
        self._tokenize()
        bounds = np.cumsum([0, *(len(row) for row in self.rows)], dtype=np.int64)
        tokens = np.concatenate(self.rows) if self.rows else np.zeros(0, np.int32)
        return TextBank(tokens, bounds, np.asarray(self.first, np.int64))

    def _tokenize(self) -> None:
        self.rows += self.clip.tokenize(self.texts)
        self.texts = []


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


def read_data(
    samples: Iterable[Sample], clip: Clip, languages: Sequence[str], kept: Sequence[str], env: Env
) -> TrainingData:
    """Read a whole stream. Raises ``CapivaraError`` when no sample has a caption in one of ``languages``.

    A sample without a usable caption is dropped, an image that cannot be decoded fails; both are counted in ``env``.
    """
    reader = _Reader(clip, languages, kept, env)
    watched = Watched(samples)
    blocks: list[np.ndarray] = []
    for sample, vector in map_batched(
        reader.relevant(watched), reader.prepare, reader.embed, size=_IMAGE_BATCH, env=env
    ):
        reader.keep_captions(sample)
        blocks.append(vector)
    missing = [language for language in languages if not reader.used[language]]
    if missing:
        raise _no_captions(missing, reader.present)
    target_bank, kept_bank = reader.target_bank.finish(), reader.kept_bank.finish()
    limit = clip.tokenizer.context_length
    long = sum(int((np.diff(bank.bounds) >= limit).sum()) for bank in (target_bank, kept_bank))
    if long and clip.pad_id is not None:
        env.note(f"captions that fill all {limit} tokens, longer ones cut", long)
    return TrainingData(
        embeddings=np.stack(blocks),
        target=target_bank,
        kept=kept_bank,
        captions=reader.used,
        authors=reader.authors,
        fingerprint=watched.fingerprint,
        embedded_here=reader.embedded_here,
    )


class _Reader:
    def __init__(self, clip: Clip, languages: Sequence[str], kept: Sequence[str], env: Env) -> None:
        self.clip, self.languages, self.kept, self.env = clip, languages, kept, env
        self.target_bank, self.kept_bank = _Bank(clip), _Bank(clip)
        self.present: Counter[str] = Counter()
        self.used: Counter[str] = Counter()
        self.authors: Counter[tuple[str, str]] = Counter()
        self.embedded_here = 0

    def relevant(self, samples: Iterable[Sample]) -> Stream:
        """The samples with a caption in one of the wanted languages."""
        for sample, captions in map_each(samples, lambda each: each.captions, self.env):
            self.present.update(caption.lang for caption in captions if caption.text.strip())
            if any(self._wanted(caption, [*self.languages, *self.kept]) for caption in captions):
                yield sample
            else:
                self.env.drop(sample, f"no caption in {', '.join(dict.fromkeys([*self.languages, *self.kept]))}")

    def prepare(self, sample: Sample) -> np.ndarray | Tensor:
        """The stored embedding if it is of this image tower, else the pixels; runs in threads."""
        vector = stored_embedding(sample, self.clip.identity, self.clip.dim)
        if vector is not None:
            return vector
        return self.clip.preprocess(decode_image(sample))

    def embed(self, items: list[Any]) -> list[np.ndarray]:
        """Stored embeddings as they are, pixels embedded in one batch; float16 [dim] each."""
        pixels = [item for item in items if not isinstance(item, np.ndarray)]
        if pixels:
            self.embedded_here += len(pixels)
            self.env.note("images embedded here", len(pixels))
        computed: Iterator[np.ndarray] = iter(self.clip.embed_images(pixels).astype(np.float16))
        return [item if isinstance(item, np.ndarray) else next(computed) for item in items]

    def keep_captions(self, sample: Sample) -> None:
        captions = [caption for caption in sample.captions if caption.text.strip()]
        target = [caption for caption in captions if self._wanted(caption, self.languages)]
        kept = [caption for caption in captions if self._wanted(caption, self.kept)]
        for caption in [*target, *kept]:
            self.used[_asked(caption.lang, [*self.languages, *self.kept])] += 1
            self.authors[caption.lang, caption.by] += 1
        self.target_bank.add([caption.text for caption in target])
        self.kept_bank.add([caption.text for caption in kept])

    def _wanted(self, caption: Caption, languages: Sequence[str]) -> bool:
        return bool(caption.text.strip()) and bool(_asked(caption.lang, languages))


def _asked(language: str, languages: Sequence[str]) -> str:
    """The wanted language that a caption's language is, or is a region's variety of (pt-BR of pt); "" when none."""
    region = _REGION.sub("", language)
    return next((each for each in languages if each in (language, region)), "")


def _no_captions(missing: Sequence[str], present: Counter[str]) -> CapivaraError:
    language = missing[0]
    there = ", ".join(f"{each} ({count:,})" for each, count in present.most_common())
    if any(_asked(each, [language]) for each in present):
        return CapivaraError(f"none of the samples with a caption in {language} can be used", "see the reasons above")
    make = f"capivara translate shards/ --lang {language} | capivara train --lang {language}"
    if not present:
        make = f"capivara caption shards/ | {make.replace(' shards/', '')}"
    return CapivaraError(
        f"no caption in {', '.join(missing)}; the captions there are: {there or 'none in any language'}",
        f"train on a language that is there, or make them first: {make}",
    )


class Batches:
    """Batches drawn from the data, each a pure function of (seed, step): resuming needs no generator state.

    As in CAPIVARA, an image comes with one caption per visit, uniformly among its captions in the language, and images
    are visited in random order without repetition, epoch after epoch. ``share`` of each batch are images with a
    caption in the kept languages; no image is twice in a batch, since its captions would be each other's negatives.
    """

    def __init__(self, data: TrainingData, size: int, share: float, seed: int) -> None:
        self._data = data
        self._seed = seed
        self._target, self._kept = data.target.images, data.kept.images
        share = share if len(self._kept) else 0.0
        everyone = len(np.union1d(self._target, self._kept)) if share else len(self._target)
        size = min(size, everyone)
        self.target_size = min(len(self._target), size - round(size * share))
        wanted = round(self.target_size * share / (1 - share)) if share < 1 else size
        self.kept_size = min(len(self._kept), wanted, everyone - self.target_size)
        self._order: tuple[int, np.ndarray] = (-1, self._target)

    @property
    def size(self) -> int:
        """Pairs per batch."""
        return self.target_size + self.kept_size

    def draw(self, step: int) -> tuple[np.ndarray, list[np.ndarray]]:
        """Batch ``step`` (from 0): embeddings [size, dim] float32 and one row of token ids for each."""
        generator = np.random.default_rng((self._seed, 1, step))
        target = self._target_images(step)
        rows = self._data.target.pick(target, generator)
        if self.kept_size:
            kept = _others(self._kept, target, self.kept_size, generator)
            rows += self._data.kept.pick(kept, generator)
            target = np.concatenate([target, kept])
        return self._data.embeddings[target].astype(np.float32), rows

    def _target_images(self, step: int) -> np.ndarray:
        if not self.target_size:
            return self._target[:0]
        epoch, place = divmod(step, len(self._target) // self.target_size)
        if self._order[0] != epoch:
            self._order = (epoch, np.random.default_rng((self._seed, 2, epoch)).permutation(self._target))
        return self._order[1][place * self.target_size : (place + 1) * self.target_size]


def _others(pool: np.ndarray, taken: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
    """Up to ``count`` distinct members of ``pool`` that are not in ``taken``, at random."""
    if len(pool) > 8 * (count + len(taken)):  # a few draws are enough, and cheaper than shuffling a large pool
        drawn = generator.choice(pool, 4 * count + 16)
    else:
        drawn = generator.permutation(pool)
    _, first = np.unique(drawn, return_index=True)
    distinct = drawn[np.sort(first)]
    return distinct[~np.isin(distinct, taken)][:count]
