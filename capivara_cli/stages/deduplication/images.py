"""Deduplicate images over a whole corpus: survey each shard, decide once for all shards, apply that to each shard.

A survey takes, per image, 16 bytes (``exact``), 16 (``phash``, and 1 to 10 kB for a drawing) or 2 dim (``embedding``,
1 kB for 512 numbers), 4 of bookkeeping, and 12 more with ``--keep best``. The decision holds the digests or hashes of
all images in memory, and about 100 more bytes each while it sorts them. Embeddings and the looks of drawings would not
fit: they go to a temporary file (in TMPDIR).
"""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import IO, Literal

import numpy as np

from capivara_cli import console
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.stage import Arrays
from capivara_cli.shards.archive import Stream
from capivara_cli.shards.embedding import TowerIdentity, with_embedding
from capivara_cli.stages.deduplication import clusters
from capivara_cli.stages.deduplication.cosine import CosineSpace, Vectors
from capivara_cli.stages.deduplication.drawn_looks import LookFile, Looks
from capivara_cli.stages.deduplication.first_of_near import first_of_near
from capivara_cli.stages.deduplication.hamming import HashSpace, distinct
from capivara_cli.stages.deduplication.image_facts import ImageExaminer, ImageFacts, Mark, why_unusable
from capivara_cli.stages.deduplication.other_sets import OtherSets

Load = Callable[[], Arrays]


REASON = {
    "exact": "same image as another",
    "phash": "near-duplicate image (phash)",
    "embedding": "near-duplicate image (embedding)",
}


@dataclass(frozen=True)
class ImageSettings:
    """How images are deduplicated.

    ``by``: what is compared. ``keep_best``: keep the best copy, not the first. ``radius``: the number of bits in which
    near hashes may differ. ``similarity``: the cosine above which embeddings are near. ``clusters``: their number, see
    ``clusters.py``; 0 compares all pairs up to ``clusters.LARGE`` images.
    """

    by: Literal["keep", "exact", "phash", "embedding"]
    keep_best: bool = False
    radius: int = 4
    similarity: float = 0.96
    clusters: int = 0


def survey(
    samples: Stream, settings: ImageSettings, examiner: ImageExaminer, others: OtherSets | None, env: Env
) -> Arrays:
    """The facts of the n images of one shard as arrays.

    ``mark``: the digests S16 [n], the perceptual hashes uint64 [n] or the embeddings float16 [n, dim]. ``usable`` bool
    [n]. ``compared`` bool [n]: whether the image has a mark and is in no other set. ``found`` uint16 [n]: the code of
    its other set, an index of ``other_set_names.reasons``. By phash also the looks of all images, one after the other:
    ``looks`` uint8 [.] and ``look_ends`` int64 [n]. With ``keep_best`` also ``score`` float32 [n] and ``pixels``
    int64 [n].
    """
    examined = [facts for _, facts in examiner.examine(samples, env)]
    usable = np.array([isinstance(facts, ImageFacts) for facts in examined], bool)
    found = np.zeros(len(examined), np.uint16)
    if others is not None:
        found[usable] = others.codes([facts for facts in examined if isinstance(facts, ImageFacts)])
    all_facts = [facts if isinstance(facts, ImageFacts) else ImageFacts([]) for facts in examined]
    marks = [facts.mark("bytes" if settings.by == "exact" else settings.by) for facts in all_facts]
    has_mark = np.array([mark is not None for mark in marks], bool)
    clip = examiner.clip
    arrays: Arrays = {
        "usable": usable,
        "compared": has_mark & (found == 0),
        "found": found,
        "mark": _marks(marks, settings, clip.dim if clip else 0),
        "identity": np.array(json.dumps(clip.identity.to_json() if clip else {})),
    }
    if settings.by == "phash":
        looks = [facts.look or b"" for facts in all_facts]
        arrays["looks"] = np.frombuffer(b"".join(looks), np.uint8)
        arrays["look_ends"] = np.cumsum([len(each) for each in looks], dtype=np.int64)
    if settings.keep_best:
        arrays["score"] = np.array([facts.score for facts in all_facts], np.float32)
        arrays["pixels"] = np.array([facts.pixels for facts in all_facts], np.int64)
    return arrays


def _marks(marks: list[Mark], settings: ImageSettings, dim: int) -> np.ndarray:
    if settings.by == "exact":
        return np.array([mark or b"" for mark in marks], "S16")
    if settings.by == "phash":
        return np.array([mark or 0 for mark in marks], np.uint64)
    rows = np.zeros((len(marks), dim), np.float16)
    for index, mark in enumerate(marks):
        if mark is not None:
            rows[index] = mark
    return rows


def decide(surveys: Sequence[Load], settings: ImageSettings, device: str) -> Iterator[Arrays]:
    """Yield ``goes`` bool [n] per shard: the images to remove, because each is near a preferred image that stays.

    Two images are near if they have the same bytes, hashes within ``radius`` bits (drawings: and looks that agree), or
    a cosine above ``similarity``.
    The earlier image is preferred, or with ``keep_best`` the one with the better score, then with more pixels.
    """
    counts, compared, order = _order(surveys, settings)
    stays = np.ones(len(compared), bool)
    if len(order):
        stays[order] = _stays(surveys, compared, order, settings, device)
    for start, count in zip(np.cumsum([0, *counts]), counts, strict=False):
        yield {"goes": ~stays[start : start + count]}


def _order(surveys: Sequence[Load], settings: ImageSettings) -> tuple[list[int], np.ndarray, np.ndarray]:
    """Images per shard; bool [N]: which are compared; int64: the indexes of those, in order of preference."""
    compared, scores, pixels = [np.empty(0, bool)], [np.empty(0, np.float32)], [np.empty(0, np.int64)]
    for load in surveys:
        arrays = load()
        compared.append(arrays["compared"])
        if settings.keep_best:
            scores.append(arrays["score"])
            pixels.append(arrays["pixels"])
    counts = [len(each) for each in compared[1:]]
    all_compared = np.concatenate(compared)
    places = np.flatnonzero(all_compared)
    if settings.keep_best:
        places = places[np.lexsort((places, -np.concatenate(pixels)[places], -np.concatenate(scores)[places]))]
    return counts, all_compared, places


def _stays(
    surveys: Sequence[Load], compared: np.ndarray, order: np.ndarray, settings: ImageSettings, device: str
) -> np.ndarray:
    """bool [len(order)]: which of the compared images stay, in their order of preference."""
    if settings.by == "embedding":
        return _stays_by_embedding(surveys, compared, order, settings, device)
    compared_index = (np.cumsum(compared) - 1)[order]
    stays = np.zeros(len(order), bool)
    if settings.by == "phash":
        stays[_stays_by_hash(surveys, compared_index, settings.radius)] = True
        return stays
    marks = np.concatenate([arrays["mark"][arrays["compared"]] for arrays in (load() for load in surveys)])
    stays[np.unique(marks[compared_index], return_index=True)[1]] = True
    return stays


def _stays_by_hash(surveys: Sequence[Load], order: np.ndarray, radius: int) -> np.ndarray:
    """int64: the images that stay, as indexes of ``order``: the compared images, in their order of preference."""
    with tempfile.TemporaryFile(prefix="capivara-dedupe-") as file:
        looks, marks = LookFile(file), []
        for load in surveys:
            arrays = load()
            marks.append(arrays["mark"][arrays["compared"]])
            parts = np.split(arrays["looks"], arrays["look_ends"][:-1]) if len(arrays["look_ends"]) else []
            looks.add(part.tobytes() for part in itertools.compress(parts, arrays["compared"].tolist()))
        hashes = np.concatenate(marks)[order]
        firsts = distinct(hashes, np.array(looks.keys, np.uint64)[order])
        images = order[firsts].tolist()
        seen = Looks([looks.heads[image] for image in images], lambda item: looks.read(images[item]))
        return firsts[first_of_near(HashSpace(hashes[firsts], radius, seen))]


def _stays_by_embedding(
    surveys: Sequence[Load], compared: np.ndarray, order: np.ndarray, settings: ImageSettings, device: str
) -> np.ndarray:
    def shards() -> Iterator[np.ndarray]:
        for load in surveys:
            arrays = load()
            yield arrays["mark"][arrays["compared"]]

    compared_index = np.cumsum(compared) - 1
    preference = np.empty(len(order), np.int64)  # of each compared image, in the order of the corpus
    preference[compared_index[order]] = np.arange(len(order))
    number = settings.clusters or (clusters.count_for(len(order)) if len(order) > clusters.LARGE else 0)
    with tempfile.TemporaryFile(prefix="capivara-dedupe-") as file:
        if not number:
            vectors = Vectors(_stored(file, shards(), preference), settings.similarity, device)
            return first_of_near(CosineSpace(vectors))
        number = min(number, len(order))
        console.say(
            f"capivara dedupe: {len(order):,} embeddings in {number:,} clusters; each is compared within its nearest "
            f"{min(number, clusters.NEAREST)} only, and pairs across others are missed"
        )
        centres = clusters.centres(clusters.sample_of(shards, len(order), number), number, device)
        near = np.concatenate([clusters.nearest(rows, centres, device) for rows in shards()])
        at = np.empty(len(order), np.int64)
        at[np.lexsort((preference, near[:, 0]))] = np.arange(len(order))
        vectors = Vectors(_stored(file, shards(), at), settings.similarity, device)
        by_preference = np.argsort(preference)
        return first_of_near(clusters.ClusterSpace(vectors, near[by_preference], at[by_preference]))


def _stored(file: IO[bytes], shards: Iterator[np.ndarray], rows_of: np.ndarray) -> np.ndarray:
    """All embeddings in a memory-mapped file; ``rows_of`` has the row of each."""
    stored, start = np.empty((0, 0), np.float16), 0
    for rows in shards:
        if not len(rows):
            continue
        if start == 0:
            stored = np.memmap(file, np.float16, "w+", shape=(len(rows_of), rows.shape[1]))
        stored[rows_of[start : start + len(rows)]] = rows
        start += len(rows)
    return stored


def apply(
    samples: Stream, survey: Arrays, decision: Arrays, settings: ImageSettings, reasons: Sequence[str], env: Env
) -> Stream:
    """Yield the samples whose images stay; drop the others, each with its reason.

    ``reasons``: those of ``other_set_names.reasons``.
    """
    identity = json.loads(str(survey["identity"]))
    columns = (survey["usable"].tolist(), survey["found"].tolist(), decision["goes"].tolist())
    for index, (sample, usable, found, removed) in enumerate(zip(samples, *columns, strict=True)):
        if not usable:
            env.fail(sample, why_unusable(sample))
        elif found or removed:
            env.drop(sample, reasons[found] if found else REASON[settings.by])
        else:
            if settings.by == "phash" and not survey["compared"][index]:
                env.note("images too flat for a perceptual hash")
            if settings.by == "embedding":
                sample = with_embedding(sample, survey["mark"][index], TowerIdentity(**identity))
            yield sample


def without_known(samples: Stream, examiner: ImageExaminer, others: OtherSets, env: Env) -> Stream:
    """Yield the samples whose images are in none of the other sets; drop the others."""
    examined = examiner.examine(samples, env)
    while batch := list(islice(examined, examiner.batch_size)):
        codes = iter(others.codes([facts for _, facts in batch if isinstance(facts, ImageFacts)]).tolist())
        for sample, facts in batch:
            if not isinstance(facts, ImageFacts):
                env.fail(sample, facts.reason)
            elif code := next(codes):
                env.drop(sample, others.reasons[code])
            else:
                yield sample
