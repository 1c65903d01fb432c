"""Near-duplicate images over a whole corpus: what is known of each, one decision for all, and what it does to a shard.

What is kept beside each shard, per image: 16 bytes (``exact``), 8 (``phash``) or 2 d (``embedding``, 1 kB at 512
numbers), 4 of bookkeeping, and 12 more with ``--keep best``. The decision holds the marks of all images in memory, with
some 100 bytes beside while it sorts them; embeddings, which would not fit, go to a temporary file (in TMPDIR).
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from capivara_cli import console
from capivara_cli.errors import BadSample
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.stage import Arrays
from capivara_cli.shards.archive import Stream
from capivara_cli.shards.embedding import with_embedding
from capivara_cli.shards.sample import Sample
from capivara_cli.stages.deduplication import clusters, other_sets
from capivara_cli.stages.deduplication.captions import with_captions_thinned
from capivara_cli.stages.deduplication.cosine import CosineSpace, Vectors
from capivara_cli.stages.deduplication.first_of_near import first_of_near
from capivara_cli.stages.deduplication.hamming import HashSpace
from capivara_cli.stages.deduplication.image_facts import Look, Looker, why_not
from capivara_cli.stages.deduplication.options import Options

Load = Callable[[], Arrays]

REASON = {
    "exact": "same image as another",
    "phash": "near-duplicate image (phash)",
    "embedding": "near-duplicate image (embedding)",
}


def survey(samples: Stream, options: Options, env: Env) -> Arrays:
    """Of one shard: ``mark`` S16 [n] (exact), uint64 [n] (phash) or float16 [n, d] (embedding) of each image.

    ``usable`` bool [n]; ``compared`` bool [n]: whether it has a mark and is in no other set; ``found`` uint16 [n]: a
    code of ``against``; with ``--keep best`` ``score`` float32 [n] and ``pixels`` int64 [n].
    """
    looker = Looker(options, env, rank=options.keep == "best")
    looks = [look for _, look in looker.over(samples, env)]
    usable = np.array([isinstance(look, Look) for look in looks], bool)
    good = [look for look in looks if isinstance(look, Look)]
    found = np.zeros(len(looks), np.uint16)
    if options.against:
        found[usable] = other_sets.others(options, env).codes(good)
    marks = [_mark_of(look, options) if isinstance(look, Look) else None for look in looks]
    has_mark = np.array([mark is not None for mark in marks], bool)
    dim = looker.clip.dim if looker.clip else 0
    arrays: Arrays = {
        "usable": usable,
        "compared": has_mark & (found == 0),
        "found": found,
        "mark": _marks(marks, options, dim),
        "identity": np.array(json.dumps(looker.clip.identity if looker.clip else {})),
    }
    if options.keep == "best":
        ranked = [look if isinstance(look, Look) else Look([]) for look in looks]
        arrays["score"] = np.array([look.score for look in ranked], np.float32)
        arrays["pixels"] = np.array([look.pixels for look in ranked], np.int64)
    return arrays


def _mark_of(look: Look, options: Options) -> Any:
    return {"exact": look.digest, "phash": look.hash, "embedding": look.vector}[options.images]


def _marks(marks: list[Any], options: Options, dim: int) -> np.ndarray:
    if options.images == "exact":
        return np.array([mark or b"" for mark in marks], "S16")
    if options.images == "phash":
        return np.array([mark or 0 for mark in marks], np.uint64)
    rows = np.zeros((len(marks), dim), np.float16)
    for place, mark in enumerate(marks):
        if mark is not None:
            rows[place] = mark
    return rows


def decide(surveys: Sequence[Load], options: Options, env: Env) -> Iterator[Arrays]:
    """``goes`` bool [n] for each shard: the images that are near one that stays, by the order of the corpus or by rank.

    An image is near another with the same bytes, within ``--radius`` bits, or with a cosine above ``--similarity``.
    """
    counts, compared, order = _order(surveys, options)
    stays = np.ones(len(compared), bool)
    if len(order):
        stays[order] = _stays(surveys, compared, order, options, env)
    for start, count in zip(np.cumsum([0, *counts]), counts, strict=False):
        yield {"goes": ~stays[start : start + count]}


def _order(surveys: Sequence[Load], options: Options) -> tuple[list[int], np.ndarray, np.ndarray]:
    """Images per shard, bool [N] which are compared, and int64 the places of those, the one to be kept first first."""
    compared, scores, pixels = [np.empty(0, bool)], [np.empty(0, np.float32)], [np.empty(0, np.int64)]
    for load in surveys:
        arrays = load()
        compared.append(arrays["compared"])
        if options.keep == "best":
            scores.append(arrays["score"])
            pixels.append(arrays["pixels"])
    counts = [len(each) for each in compared[1:]]
    all_compared = np.concatenate(compared)
    places = np.flatnonzero(all_compared)
    if options.keep == "best":
        places = places[np.lexsort((places, -np.concatenate(pixels)[places], -np.concatenate(scores)[places]))]
    return counts, all_compared, places


def _stays(surveys: Sequence[Load], compared: np.ndarray, order: np.ndarray, options: Options, env: Env) -> np.ndarray:
    """bool [len(order)]: which of the compared images stay, in the order in which they are judged."""
    if options.images == "embedding":
        return _stays_by_embedding(surveys, compared, order, options, env)
    marks = np.concatenate([arrays["mark"][arrays["compared"]] for arrays in (load() for load in surveys)])
    place_among = np.cumsum(compared) - 1
    marks = marks[place_among[order]]
    firsts = np.sort(np.unique(marks, return_index=True)[1])
    if options.images == "phash" and options.radius:
        firsts = firsts[first_of_near(HashSpace(marks[firsts], options.radius))]
    stays = np.zeros(len(marks), bool)
    stays[firsts] = True
    return stays


def _stays_by_embedding(
    surveys: Sequence[Load], compared: np.ndarray, order: np.ndarray, options: Options, env: Env
) -> np.ndarray:
    def shards() -> Iterator[np.ndarray]:
        for load in surveys:
            arrays = load()
            yield arrays["mark"][arrays["compared"]]

    place_among = np.cumsum(compared) - 1
    judged_as = np.empty(len(order), np.int64)  # of the compared images in the order of the corpus
    judged_as[place_among[order]] = np.arange(len(order))
    number = options.clusters or (clusters.count_for(len(order)) if len(order) > clusters.LARGE else 0)
    with tempfile.TemporaryFile(prefix="capivara-dedupe-") as file:
        if not number:
            vectors = Vectors(_stored(file, shards(), judged_as), options.similarity, env.device)
            return first_of_near(CosineSpace(vectors))
        number = min(number, len(order))
        console.say(
            f"capivara dedupe: {len(order):,} embeddings in {number:,} clusters, each compared within the nearest "
            f"{min(number, clusters.NEAREST)}: pairs across others are missed"
        )
        centres = clusters.centres(clusters.sample_of(shards, len(order), number), number, env.device)
        near = np.concatenate([clusters.nearest(rows, centres, env.device) for rows in shards()])
        at = np.empty(len(order), np.int64)
        at[np.lexsort((judged_as, near[:, 0]))] = np.arange(len(order))
        vectors = Vectors(_stored(file, shards(), at), options.similarity, env.device)
        as_judged = np.argsort(judged_as)
        return first_of_near(clusters.ClusterSpace(vectors, near[as_judged], at[as_judged]))


def _stored(file: Any, shards: Iterator[np.ndarray], places: np.ndarray) -> np.ndarray:
    """All embeddings in a file mapped to memory, each at its place."""
    stored, start = np.empty((0, 0), np.float16), 0
    for rows in shards:
        if not len(rows):
            continue
        if start == 0:
            stored = np.memmap(file, np.float16, "w+", shape=(len(places), rows.shape[1]))
        stored[places[start : start + len(rows)]] = rows
        start += len(rows)
    return stored


def apply(samples: Stream, survey: Arrays, decision: Arrays, options: Options, env: Env) -> Stream:
    """The second pass: leaves out what goes, with its reason, and does to the captions of the rest what is asked."""
    said = other_sets.reasons(options)
    identity = json.loads(str(survey["identity"]))
    columns = (survey["usable"].tolist(), survey["found"].tolist(), decision["goes"].tolist())
    for place, (sample, usable, found, goes) in enumerate(zip(samples, *columns, strict=True)):
        if not usable:
            env.fail(sample, why_not(sample))
        elif found or goes:
            env.drop(sample, said[found] if found else REASON[options.images])
        else:
            if options.images == "phash" and not survey["compared"][place]:
                env.note("images too flat for a perceptual hash")
            if options.images == "embedding":
                sample = with_embedding(sample, survey["mark"][place], identity)
            yield from with_captions_thinned(sample, options, env)


def keep_out(samples: Stream, options: Options, env: Env) -> Stream:
    """``--against`` alone: no sample has to know of another of its corpus, so one pass does."""
    said = other_sets.reasons(options)
    known = other_sets.others(options, env)
    looker = Looker(options, env)
    for batch in _batched(looker.over(samples, env), options.batch_size):
        codes = iter(known.codes([look for _, look in batch if isinstance(look, Look)]).tolist())
        for sample, look in batch:
            if not isinstance(look, Look):
                env.fail(sample, look.reason)
            elif code := next(codes):
                env.drop(sample, said[code])
            else:
                yield from with_captions_thinned(sample, options, env)


def _batched(
    looked: Iterator[tuple[Sample, Look | BadSample]], size: int
) -> Iterator[list[tuple[Sample, Look | BadSample]]]:
    batch: list[tuple[Sample, Look | BadSample]] = []
    for each in looked:
        batch.append(each)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
