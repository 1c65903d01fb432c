"""Images that are also in an eval set or in other shards: a model must not be trained on its test images.

The other sets are examined once and held in memory. An image takes 8 bytes for each of its ids, 16 for its digest, 90
to 250 for its hash, and 2 dim for its embedding: 0.5 MB for COCO's 5,000 test images, 300 MB for a million images.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from capivara_cli import console
from capivara_cli.errors import CapivaraError
from capivara_cli.pipeline.env import Env
from capivara_cli.shards.sample import Sample
from capivara_cli.stages.deduplication.cosine import Known
from capivara_cli.stages.deduplication.hamming import Hashes
from capivara_cli.stages.deduplication.image_facts import ImageExaminer, ImageFacts
from capivara_cli.stages.deduplication.other_set_names import WAYS, Other, OtherSettings, reasons, sets_of


class Others:
    """The images of all sets of ``--against``, in memory. ``examiner`` finds the facts that the ways need."""

    def __init__(self, settings: OtherSettings, examiner: ImageExaminer, env: Env) -> None:
        self.reasons = reasons(settings.against)
        self._sets = [_Set(other, settings, examiner, env) for other in sets_of(settings.against)]

    def codes(self, images: Sequence[ImageFacts]) -> np.ndarray:
        """uint16 [n]: 0 for an image that is in none of the sets, otherwise the index of its reason in ``reasons``.

        The first set that has the image counts, and the first way that recognises it there.
        """
        found = np.zeros(len(images), np.uint16)
        for number, each in enumerate(self._sets):
            for place, near in each.ways(images):
                found[near & (found == 0)] = 1 + len(WAYS) * number + place
        return found


class _Set:
    """The facts by which the images of one set are recognised."""

    def __init__(self, other: Other, settings: OtherSettings, examiner: ImageExaminer, env: Env) -> None:
        private = Env(env.settings, env.step)  # own books: damaged images of another set are not failures of this step
        total, bad = 0, 0
        ids: list[int] = []
        digests, hashes, vectors = [], [], []
        for _, facts in examiner.examine(_samples(other, settings, private), private):
            total += 1
            if not isinstance(facts, ImageFacts):
                bad += 1
                continue
            ids += facts.ids
            digests.append(facts.digest or b"")
            if facts.hash is not None:
                hashes.append(facts.hash)
            if facts.vector is not None:
                vectors.append(facts.vector)
        self._ways = settings.ways
        self._ids = np.unique(np.array(ids, np.uint64))
        self._digests = np.unique(np.array(list(filter(None, digests)), "S16"))
        self._hashes = Hashes(np.array(hashes, np.uint64), settings.radius)
        self._known: Known | None = None
        if "embedding" in self._ways and vectors:
            self._known = Known(np.stack(vectors), settings.similarity, env.device)
        unread = f", {bad:,} more cannot be read" if bad else ""
        console.say(f"capivara dedupe: removing images that are also in {other.name} ({total - bad:,} images{unread})")
        if not total - bad:
            raise CapivaraError(f"--against {other.name}: none of its {total:,} images can be read")

    def ways(self, images: Sequence[ImageFacts]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield (index in ``WAYS``, bool [n]: which images are recognised in this way) for each way."""
        for way in self._ways:
            near = np.zeros(len(images), bool)
            if way == "id":
                near[:] = _any_among(self._ids, [facts.ids for facts in images])
            else:
                asked = [_fact(way, facts) for facts in images]
                places = [place for place, each in enumerate(asked) if each is not None]
                if places:
                    near[places] = self._beside(way, [asked[place] for place in places])
            yield list(WAYS).index(way), near

    def _beside(self, way: str, asked: list[Any]) -> np.ndarray:
        if way == "bytes":
            return _among(self._digests, np.array(asked, "S16"))
        if way == "phash":
            return self._hashes.beside(np.array(asked, np.uint64))
        return self._known.beside(np.stack(asked)) if self._known is not None else np.zeros(len(asked), bool)


def _fact(way: str, facts: ImageFacts) -> Any:
    return {"bytes": facts.digest, "phash": facts.hash, "embedding": facts.vector}[way]


def _among(ordered: np.ndarray, asked: np.ndarray) -> np.ndarray:
    if not len(ordered):
        return np.zeros(len(asked), bool)
    places = np.minimum(np.searchsorted(ordered, asked), len(ordered) - 1)
    return ordered[places] == asked


def _any_among(ordered: np.ndarray, asked: list[list[int]]) -> np.ndarray:
    owners = np.repeat(np.arange(len(asked)), [len(each) for each in asked])
    hits = _among(ordered, np.array([name for each in asked for name in each], np.uint64))
    return np.bincount(owners[hits], minlength=len(asked)) > 0


def _samples(other: Other, settings: OtherSettings, env: Env) -> Iterator[Sample]:
    from capivara_cli.evaluation import catalogue
    from capivara_cli.shards.archive import reading
    from capivara_cli.shards.inputs import find_shards

    if not other.is_shards:
        lang = catalogue.languages(other.name)[0]
        found = catalogue.load(other.name, lang=lang, data=settings.data, split=settings.split, env=env)
        yield from found.samples
        return
    for shard in find_shards([other.name]):
        with reading(shard) as reader:
            yield from reader
