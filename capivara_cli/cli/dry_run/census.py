"""Counts the input of a command: by manifests, or from the first samples of a few shards and the sizes of all."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from capivara_cli.errors import BadSample, CapivaraError
from capivara_cli.languages import code_of
from capivara_cli.pipeline.stage import Step
from capivara_cli.shards.archive import open_shard
from capivara_cli.shards.counts import counts_of
from capivara_cli.shards.sample import Caption, Sample
from capivara_cli.shards.tar import BLOCK
from capivara_cli.urls import is_url

_SHARDS_READ = 8
_SAMPLES_READ = 1024
_AT_LEAST = 32
"""Samples that are read from each chosen shard, at least."""


class CaptionKind(NamedTuple):
    """Language and author of captions. ``author``: "" (a person), "captioner", "translation" or "rewrite"."""

    lang: str
    author: str

    @classmethod
    def of(cls, caption: Caption) -> CaptionKind:
        if caption.of is None:
            return cls(code_of(caption.lang), "" if caption.prefix is None else "captioner")
        return cls(code_of(caption.lang), "rewrite" if caption.by.startswith("rewrite:") else "translation")


class EvalSetSource(NamedTuple):
    """An eval set: the arguments of ``evaluation.catalogue.load``."""

    spec: str
    lang: str
    data: str
    split: str


@dataclass(frozen=True)
class Origin:
    """The source of the samples of a trial: shards, sources of ``pack`` or an eval set, and ``steps`` after it."""

    sources: tuple[str, ...]
    steps: tuple[Step, ...] = ()
    evalset: EvalSetSource | None = None


@dataclass(frozen=True)
class Census:
    """The number of samples in each shard, the mean bytes of a sample in a tar, and captions per sample by kind.

    ``how``: the way of counting: manifest, counted (all were read), sampled (from the first samples of some shards and
    the sizes of all), planned (an earlier command would write them), or unknown (that command could not be tried).
    """

    shards: tuple[float, ...]
    sample_bytes: float
    captions: Mapping[CaptionKind, float]
    how: str
    origin: Origin
    seen: int = 0
    embedded: Mapping[str, float] = field(default_factory=dict)
    """The share of samples with an embedding, by the model that made it."""

    @classmethod
    def unknown(cls, origin: Origin) -> Census:
        """The census for the result of a command that could not be tried."""
        return cls((), 0.0, {}, "unknown", origin)

    @property
    def known(self) -> bool:
        return self.how != "unknown"

    @property
    def samples(self) -> float:
        return sum(self.shards)

    @property
    def size(self) -> float:
        """Bytes of all samples."""
        return self.samples * self.sample_bytes

    def captions_in(self, lang: str) -> float:
        """Captions per sample in a language."""
        return sum(count for kind, count in self.captions.items() if kind.lang == lang)

    @property
    def described(self) -> str:
        """How the samples were counted, as text."""
        return {
            "manifest": "by the manifest",
            "counted": "all read",
            "sampled": f"estimated from the sizes of the shards and {self.seen:,} samples",
            "planned": "estimated from the commands before",
            "unknown": "not known: a command that makes it could not be tried",
        }[self.how]


def tar_bytes(sample: Sample) -> int:
    """The bytes of a sample in a shard: each member has a header and is padded to whole blocks."""
    return sum(BLOCK + -(-len(data) // BLOCK) * BLOCK for data in sample.members.values())


class SampleSums:
    """Sums over samples: their bytes, captions and embeddings."""

    def __init__(self) -> None:
        self.samples = self.bytes = 0
        self.captions: Counter[CaptionKind] = Counter()
        self.embedded: Counter[str] = Counter()

    def add(self, sample: Sample) -> None:
        self.samples += 1
        self.bytes += tar_bytes(sample)
        try:
            captions, document = sample.captions, sample.document
        except BadSample:
            return
        self.captions.update(map(CaptionKind.of, captions))
        made_by = document.get("clip")
        if "clip.npy" in sample.members and isinstance(made_by, dict):
            self.embedded[str(made_by.get("model"))] += 1

    def add_all(self, samples: Iterable[Sample]) -> None:
        for sample in samples:
            self.add(sample)

    def census(self, shards: Sequence[float], how: str, origin: Origin) -> Census:
        count = max(1, self.samples)
        return Census(
            tuple(shards),
            self.bytes / count,
            {kind: number / count for kind, number in self.captions.items()},
            how,
            origin,
            self.samples,
            {name: number / count for name, number in self.embedded.items()},
        )


def census_of(shards: Sequence[str]) -> Census:
    """Count the samples of shards, local or remote; read at most 1,024 samples from eight of them.

    Raises ``CapivaraError`` for standard input.
    """
    if "-" in shards:
        raise CapivaraError(
            "--dry-run: a stream cannot be counted without being read",
            "name the shards; of a pipe, give the whole plan: capivara run 'caption | translate --lang pt' shards/",
        )
    sums, whole = SampleSums(), dict[str, int]()
    chosen = _evenly(shards, _SHARDS_READ)
    limit = max(_AT_LEAST, _SAMPLES_READ // len(chosen)) if not any(map(is_url, chosen)) else _AT_LEAST
    for shard in chosen:
        before = sums.samples
        with open_shard(shard) as reader:
            samples = iter(reader)
            sums.add_all(itertools.islice(samples, limit))
            if next(samples, None) is None:
                whole[shard] = sums.samples - before
    listed = counts_of(shards)
    sizes = [0 if shard in whole or shard in listed else _size(shard) for shard in shards]
    mean = sums.bytes / max(1, sums.samples)
    counts = [
        float(listed.get(shard, whole.get(shard, round(size / mean) if mean else 0)))
        for shard, size in zip(shards, sizes, strict=True)
    ]
    how = "counted" if len(whole) == len(shards) else "manifest" if len(listed) == len(shards) else "sampled"
    return sums.census(counts, how, Origin(tuple(shards)))


def _evenly(shards: Sequence[str], count: int) -> list[str]:
    return [shards[place * len(shards) // count] for place in range(count)] if len(shards) > count else list(shards)


def _size(shard: str) -> int:
    if not is_url(shard):
        return Path(shard).stat().st_size
    from capivara_cli.storage.remote.read import version_of  # imports network libraries

    return version_of(shard).size or 0
