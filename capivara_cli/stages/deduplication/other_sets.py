"""Images that are also in an eval set or in other shards: a model must not be trained on what it is tested with.

The other side is looked at once and held in memory, per image: 8 bytes for each of its names, 16 for its bytes, 90 to
250 for its hash, 2 d for its embedding. COCO's 5,000 test images are half a megabyte, a million images 300.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from capivara_cli import console
from capivara_cli.errors import CapivaraError, unknown
from capivara_cli.pipeline.env import Env
from capivara_cli.shards.sample import Sample
from capivara_cli.stages.deduplication.cosine import Known
from capivara_cli.stages.deduplication.hamming import Hashes
from capivara_cli.stages.deduplication.image_facts import Look, Looker
from capivara_cli.stages.deduplication.options import WAYS, Options

_SAID = {"id": "same id", "bytes": "same bytes", "phash": "near perceptual hash", "embedding": "near embedding"}
_LIMIT = 1000
"""Sets at most: what is found of a sample has to go into 16 bits."""


@dataclass(frozen=True)
class Other:
    """One set to keep out: an eval set by the spec of ``catalogue``, or shards."""

    name: str
    is_shards: bool


def sets_of(against: str) -> list[Other]:
    """``xtd,elevater,heldout/`` -> the sets, groups as their members.

    An eval set comes before a folder of the same name ("./xtd" is the folder). ``CapivaraError`` for what is neither.
    """
    from capivara_cli.evaluation import catalogue

    known = {*catalogue.names(), *catalogue.groups()}
    found: list[Other] = []
    for part in filter(None, (each.strip() for each in against.split(","))):
        if "://" not in part and part.partition(":")[0].replace("_", "-") in known:
            found += [Other(spec, False) for spec in catalogue.expand(part)]
        elif "://" in part or Path(part).exists() or any(mark in part for mark in "*?[{"):
            found.append(Other(part, True))
        else:
            raise unknown("eval set", part, known, "or shards: a folder, a .tar file or a pattern that is there")
    if not found or len(found) > _LIMIT:
        raise CapivaraError(f"--against {against!r}: {len(found)} sets", f"name 1 to {_LIMIT:,}")
    return found


def reasons(options: Options) -> list[str]:
    """What a code of ``Others.codes`` says, code 0 being "": one reason for each set and way."""
    if not options.against:
        return [""]
    return ["", *(f"in {other.name}: {_SAID[way]}" for other in sets_of(options.against) for way in WAYS)]


class Others:
    """All sets of ``--against``, ready to be asked."""

    def __init__(self, options: Options, env: Env) -> None:
        looker = Looker(options, env)
        self._sets = [_Set(other, options, looker, env) for other in sets_of(options.against)]

    def codes(self, looks: Sequence[Look]) -> np.ndarray:
        """uint16 [n]: 0 for an image that is in none of the sets, else the place of its reason in ``reasons``.

        The first set counts, and in it the first of the ways.
        """
        found = np.zeros(len(looks), np.uint16)
        for number, each in enumerate(self._sets):
            for place, near in each.ways(looks):
                found[near & (found == 0)] = 1 + len(WAYS) * number + place
        return found


def others(options: Options, env: Env) -> Others:
    """The sets, looked at once per process."""
    key = ("against", options.against, options.against_by, options.radius, options.similarity, options.data)
    return env.once((*key, options.split, options.model, options.pretrained), lambda: Others(options, env))


class _Set:
    """What one set is known by."""

    def __init__(self, other: Other, options: Options, looker: Looker, env: Env) -> None:
        private = Env(env.settings, env.step)  # its own books: what is wrong with the others' images is their matter
        seen, bad = 0, 0
        ids: list[int] = []
        digests, hashes, vectors = [], [], []
        for _, look in looker.over(_samples(other, options, private), private):
            seen += 1
            if not isinstance(look, Look):
                bad += 1
                continue
            ids += look.ids
            digests.append(look.digest or b"")
            if look.hash is not None:
                hashes.append(look.hash)
            if look.vector is not None:
                vectors.append(look.vector)
        self._ways = options.ways
        self._ids = np.unique(np.array(ids, np.uint64))
        self._digests = np.unique(np.array(list(filter(None, digests)), "S16"))
        self._hashes = Hashes(np.array(hashes, np.uint64), options.radius)
        self._known: Known | None = None
        if "embedding" in self._ways and vectors:
            self._known = Known(np.stack(vectors), options.similarity, env.device)
        unread = f", {bad:,} more cannot be read" if bad else ""
        console.say(f"capivara dedupe: keeping out {seen - bad:,} images of {other.name}{unread}")
        if not seen - bad:
            raise CapivaraError(f"--against {other.name}: none of its {seen:,} images can be read")

    def ways(self, looks: Sequence[Look]) -> Iterator[tuple[int, np.ndarray]]:
        """(place in ``WAYS``, bool [n]: which are known by it), for each way that was asked for."""
        for way in self._ways:
            near = np.zeros(len(looks), bool)
            if way == "id":
                near[:] = _any_among(self._ids, [look.ids for look in looks])
            else:
                asked = [_of(way, look) for look in looks]
                places = [place for place, each in enumerate(asked) if each is not None]
                if places:
                    near[places] = self._beside(way, [asked[place] for place in places])
            yield WAYS.index(way), near

    def _beside(self, way: str, asked: list[Any]) -> np.ndarray:
        if way == "bytes":
            return _among(self._digests, np.array(asked, "S16"))
        if way == "phash":
            return self._hashes.beside(np.array(asked, np.uint64))
        return self._known.beside(np.stack(asked)) if self._known is not None else np.zeros(len(asked), bool)


def _of(way: str, look: Look) -> Any:
    return {"bytes": look.digest, "phash": look.hash, "embedding": look.vector}[way]


def _among(ordered: np.ndarray, asked: np.ndarray) -> np.ndarray:
    if not len(ordered):
        return np.zeros(len(asked), bool)
    places = np.minimum(np.searchsorted(ordered, asked), len(ordered) - 1)
    return ordered[places] == asked


def _any_among(ordered: np.ndarray, asked: list[list[int]]) -> np.ndarray:
    owners = np.repeat(np.arange(len(asked)), [len(each) for each in asked])
    hits = _among(ordered, np.array([name for each in asked for name in each], np.uint64))
    return np.bincount(owners[hits], minlength=len(asked)) > 0


def _samples(other: Other, options: Options, env: Env) -> Iterator[Sample]:
    from capivara_cli.evaluation import catalogue
    from capivara_cli.shards.archive import reading
    from capivara_cli.shards.inputs import find_shards

    if not other.is_shards:
        lang = catalogue.languages(other.name)[0]
        found = catalogue.load(other.name, lang=lang, data=options.data, split=options.split, env=env)
        yield from found.samples
        return
    for shard in find_shards([other.name]):
        with reading(shard) as reader:
            yield from reader
