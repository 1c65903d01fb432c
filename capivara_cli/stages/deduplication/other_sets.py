"""Find images that are also in an eval set or in other shards: a model must not be trained on its test images.

The other sets are examined once and held in memory. An image takes 8 bytes for each of its ids, 16 for its digest, 90
to 250 for its hash, and 2 dim for its embedding: 0.5 MB for COCO's 5,000 test images, 300 MB for a million images.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from capivara_cli import console
from capivara_cli.errors import CapivaraError
from capivara_cli.pipeline.env import Env
from capivara_cli.shards.sample import Sample
from capivara_cli.stages.deduplication.cosine import EmbeddingIndex
from capivara_cli.stages.deduplication.hamming import HashIndex
from capivara_cli.stages.deduplication.image_facts import ImageExaminer, ImageFacts
from capivara_cli.stages.deduplication.other_set_names import MATCHES, MatchSettings, OtherSet, expand_sets, reasons


class OtherSets:
    """The images of all sets of ``--against``, in memory. ``examiner`` must find the facts that the matches need."""

    def __init__(self, settings: MatchSettings, examiner: ImageExaminer, env: Env) -> None:
        self.reasons = reasons(settings.against)
        private = Env(env.settings, env.step)  # counts apart: bad images of another set are not failures of this step
        opened = [(other, _samples(other, settings, private)) for other in expand_sets(settings.against)]
        self._sets = [_SetIndex(other, samples, settings, examiner, private) for other, samples in opened]

    def codes(self, images: Sequence[ImageFacts]) -> np.ndarray:
        """uint16 [n]: 0 for an image that is in none of the sets, otherwise the index of its reason in ``reasons``.

        The first set that has the image counts, and the first kind of match with it.
        """
        found = np.zeros(len(images), np.uint16)
        for set_number, each in enumerate(self._sets):
            for match_number, near in each.matches(images):
                found[near & (found == 0)] = 1 + len(MATCHES) * set_number + match_number
        return found


class _SetIndex:
    """The ids, digests, hashes and embeddings of the images of one set."""

    def __init__(
        self, other: OtherSet, samples: Iterable[Sample], settings: MatchSettings, examiner: ImageExaminer, env: Env
    ) -> None:
        total, bad = 0, 0
        ids: list[int] = []
        digests, hashes, looks, vectors = [], [], [], []
        for _, facts in examiner.examine(iter(samples), env):
            total += 1
            if not isinstance(facts, ImageFacts):
                bad += 1
                continue
            ids += facts.ids
            digests.append(facts.digest or b"")
            if facts.hash is not None:
                hashes.append(facts.hash)
                looks.append(facts.look)
            if facts.vector is not None:
                vectors.append(facts.vector)
        self._matches = settings.matches
        self._ids = np.unique(np.array(ids, np.uint64))
        self._digests = np.unique(np.array(list(filter(None, digests)), "S16"))
        self._hashes = HashIndex(np.array(hashes, np.uint64), settings.radius, looks)
        self._embeddings: EmbeddingIndex | None = None
        if "embedding" in self._matches and vectors:
            self._embeddings = EmbeddingIndex(np.stack(vectors), settings.similarity, env.device)
        unread = f", {bad:,} more cannot be read" if bad else ""
        console.say(f"capivara dedupe: removing images that are also in {other.name} ({total - bad:,} images{unread})")
        if not total - bad:
            raise CapivaraError(f"--against {other.name}: none of its {total:,} images can be read")

    def matches(self, images: Sequence[ImageFacts]) -> Iterator[tuple[int, np.ndarray]]:
        """Yield, for each kind of match, its index in ``MATCHES`` and bool [n]: which images match in this way."""
        for match in self._matches:
            near = np.zeros(len(images), bool)
            if match == "id":
                near[:] = _any_among(self._ids, [facts.ids for facts in images])
            else:
                present = [index for index, facts in enumerate(images) if facts.mark(match) is not None]
                if present:
                    near[present] = self._near_any(match, [images[index] for index in present])
            yield list(MATCHES).index(match), near

    def _near_any(self, match: str, images: Sequence[ImageFacts]) -> np.ndarray:
        queries = [facts.mark(match) for facts in images]
        if match == "bytes":
            return _among(self._digests, np.array(queries, "S16"))
        if match == "phash":
            return self._hashes.near_any(np.array(queries, np.uint64), [facts.look for facts in images])
        if self._embeddings is None:
            return np.zeros(len(queries), bool)
        return self._embeddings.near_any(np.array(queries, np.float16))


def _among(ordered: np.ndarray, queries: np.ndarray) -> np.ndarray:
    """bool [n]: whether each query is in the sorted array."""
    if not len(ordered):
        return np.zeros(len(queries), bool)
    positions = np.minimum(np.searchsorted(ordered, queries), len(ordered) - 1)
    return ordered[positions] == queries


def _any_among(ordered: np.ndarray, queries: list[list[int]]) -> np.ndarray:
    """bool [n]: whether any item of each query is in the sorted array."""
    owners = np.repeat(np.arange(len(queries)), [len(each) for each in queries])
    hits = _among(ordered, np.array([name for each in queries for name in each], np.uint64))
    return np.bincount(owners[hits], minlength=len(queries)) > 0


def _samples(other: OtherSet, settings: MatchSettings, env: Env) -> Iterable[Sample]:
    """The samples of a set. Raises ``CapivaraError`` for missing data at once, before another set is examined."""
    from capivara_cli.evaluation import catalogue
    from capivara_cli.shards.inputs import find_shards

    if not other.is_shards:
        lang = catalogue.languages(other.name)[0]
        return catalogue.load(other.name, lang=lang, data=settings.data, split=settings.split, env=env).samples
    return _samples_in(find_shards([other.name]))


def _samples_in(shards: Sequence[str]) -> Iterator[Sample]:
    from capivara_cli.shards.archive import open_shard

    for shard in shards:
        with open_shard(shard) as reader:
            yield from reader
