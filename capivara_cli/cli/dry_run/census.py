"""How much there is to work on: by manifests, else from the heads of a few shards and the sizes of all."""

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
from capivara_cli.shards.manifest import Manifest
from capivara_cli.shards.sample import Caption, Sample, encode_json
from capivara_cli.shards.tar import BLOCK
from capivara_cli.urls import is_url

_SHARDS_READ = 8
_SAMPLES_READ = 1024
_AT_LEAST = 32
"""Samples that are read of each chosen shard."""
CAPTION_BYTES = 160.0
"""Of a caption in ``json``, keys included, where no sample has one."""


class Kind(NamedTuple):
    """Captions of one language and author. ``made``: "", "captioner", "translation" or "rewrite"."""

    lang: str
    made: str

    @classmethod
    def of(cls, caption: Caption) -> Kind:
        if caption.of is None:
            return cls(code_of(caption.lang), "" if caption.prefix is None else "captioner")
        return cls(code_of(caption.lang), "rewrite" if caption.by.startswith("rewrite:") else "translation")


class EvalSetSource(NamedTuple):
    """An eval set, as ``evaluation.catalogue.load`` takes it."""

    spec: str
    lang: str
    data: str
    split: str


@dataclass(frozen=True)
class Origin:
    """Where the samples of a trial come from: shards, what ``pack`` reads, or an eval set; then ``steps``."""

    sources: tuple[str, ...]
    steps: tuple[Step, ...] = ()
    evalset: EvalSetSource | None = None


@dataclass(frozen=True)
class Census:
    """Samples by shard; the mean bytes of a sample in a tar; captions of a sample by kind.

    ``how``: manifest, counted (all were read), sampled (sizes, and the heads of some), planned (what an earlier command
    would have made), or unknown (an earlier command could not be tried).
    """

    shards: tuple[float, ...]
    sample_bytes: float
    captions: Mapping[Kind, float]
    how: str
    origin: Origin
    caption_bytes: float = CAPTION_BYTES
    seen: int = 0
    embedded: Mapping[str, float] = field(default_factory=dict)
    """Share of the samples that have an embedding, by the model that made it."""

    @classmethod
    def unknown(cls, origin: Origin) -> Census:
        """What a command makes that could not be tried."""
        return cls((), 0.0, {}, "unknown", origin)

    @property
    def known(self) -> bool:
        return self.how != "unknown"

    @property
    def samples(self) -> float:
        return sum(self.shards)

    @property
    def size(self) -> float:
        """Bytes."""
        return self.samples * self.sample_bytes

    def captions_in(self, lang: str) -> float:
        """Per sample."""
        return sum(count for kind, count in self.captions.items() if kind.lang == lang)

    @property
    def described(self) -> str:
        """How the samples were counted, for people."""
        return {
            "manifest": "by the manifest",
            "counted": "all read",
            "sampled": f"estimated from the sizes of the shards and {self.seen:,} samples",
            "planned": "as the earlier commands would leave them",
            "unknown": "not known: a command that makes it could not be tried",
        }[self.how]


def tar_bytes(sample: Sample) -> int:
    """The bytes of a sample in a shard: each member has a header and is padded to whole blocks."""
    return sum(BLOCK + -(-len(data) // BLOCK) * BLOCK for data in sample.members.values())


class Tallied:
    """Sums over the samples that were read."""

    def __init__(self) -> None:
        self.samples = self.bytes = self.json_bytes = 0
        self.captions: Counter[Kind] = Counter()
        self.embedded: Counter[str] = Counter()

    def add(self, sample: Sample) -> None:
        self.samples += 1
        self.bytes += tar_bytes(sample)
        try:
            captions, document = sample.captions, sample.document
        except BadSample:
            return
        self.captions.update(map(Kind.of, captions))
        self.json_bytes += sum(len(encode_json(each.to_json())) + 2 for each in captions)
        made_by = document.get("clip")
        if "clip.npy" in sample.members and isinstance(made_by, dict):
            self.embedded[str(made_by.get("model"))] += 1

    def add_all(self, samples: Iterable[Sample]) -> None:
        for sample in samples:
            self.add(sample)

    def census(self, shards: Sequence[float], how: str, origin: Origin) -> Census:
        count, captions = max(1, self.samples), self.captions.total()
        return Census(
            tuple(shards),
            self.bytes / count,
            {kind: number / count for kind, number in self.captions.items()},
            how,
            origin,
            self.json_bytes / captions if captions else CAPTION_BYTES,
            self.samples,
            {name: number / count for name, number in self.embedded.items()},
        )


def census_of(shards: Sequence[str]) -> Census:
    """Count what is in shards, local or remote, reading at most the heads of eight of them."""
    if "-" in shards:
        raise CapivaraError(
            "--dry-run: a stream cannot be counted without being read",
            "name the shards; of a pipe, give the whole plan: capivara run 'caption | translate --lang pt' shards/",
        )
    tallied, whole = Tallied(), dict[str, int]()
    chosen = _evenly(shards, _SHARDS_READ)
    limit = max(_AT_LEAST, _SAMPLES_READ // len(chosen)) if not any(map(is_url, chosen)) else _AT_LEAST
    for shard in chosen:
        before = tallied.samples
        with open_shard(shard) as reader:
            samples = iter(reader)
            tallied.add_all(itertools.islice(samples, limit))
            if next(samples, None) is None:
                whole[shard] = tallied.samples - before
    listed = _listed(shards)
    sizes = [0 if shard in whole or shard in listed else _size(shard) for shard in shards]
    mean = tallied.bytes / max(1, tallied.samples)
    counts = [
        float(listed.get(shard, whole.get(shard, round(size / mean) if mean else 0)))
        for shard, size in zip(shards, sizes, strict=True)
    ]
    how = "counted" if len(whole) == len(shards) else "manifest" if len(listed) == len(shards) else "sampled"
    return tallied.census(counts, how, Origin(tuple(shards)))


def _evenly(shards: Sequence[str], count: int) -> list[str]:
    return [shards[place * len(shards) // count] for place in range(count)] if len(shards) > count else list(shards)


def _size(shard: str) -> int:
    if not is_url(shard):
        return Path(shard).stat().st_size
    from capivara_cli.storage.remote.read import version_of  # the network's libraries, for those who need them

    return version_of(shard).size or 0


def _listed(shards: Sequence[str]) -> dict[str, int]:
    """Samples of each shard that is in the manifest of its folder and is as long as that says."""
    found = {}
    for folder in dict.fromkeys(shard.rpartition("/")[0] for shard in shards):
        manifest = _manifest(folder)
        for shard in (each for each in shards if each.rpartition("/")[0] == folder) if manifest else ():
            entry = manifest.done.get(shard.partition("?")[0].rpartition("/")[2]) if manifest else None
            if entry is None or entry.written is None:
                continue
            if is_url(shard) or entry.size == Path(shard).stat().st_size:
                found[shard] = entry.written
    return found


def _manifest(folder: str) -> Manifest | None:
    if not is_url(folder):
        return Manifest.load(Path(folder))
    from capivara_cli.shards.remote_inputs import load_manifest

    try:
        return load_manifest(folder)
    except (CapivaraError, OSError):
        return None  # a folder that others made has none
