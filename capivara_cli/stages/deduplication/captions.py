"""Captions of an image that say the same: the diversity step of CAPIVARA (Algorithm 1), repaired and to the letter."""

from __future__ import annotations

from collections import Counter

from capivara_cli import languages
from capivara_cli.errors import BadSample
from capivara_cli.languages import similarity
from capivara_cli.pipeline.env import Env
from capivara_cli.shards.archive import Stream
from capivara_cli.shards.sample import Caption, Sample
from capivara_cli.stages.deduplication.options import Options

HUMAN = frozenset({"alt", "human"})


def with_captions_thinned(sample: Sample, options: Options, env: Env) -> Stream:
    """The sample with the captions that stay; nothing when it fails or has none left."""
    if options.captions == "keep":
        yield sample
        return
    try:
        before = sample.captions
        kept = thinned(before, options, env)
    except BadSample as error:
        env.fail(sample, error.reason)
        return
    if before and not kept:
        env.drop(sample, "no caption left (--paper)")
        return
    yield sample.with_captions(kept)


def thinned(captions: list[Caption], options: Options, env: Env) -> list[Caption]:
    """The captions that stay, in order; what goes is noted. ``BadSample`` where ``--paper`` fails."""
    codes = options.codes
    groups: dict[str, list[int]] = {}
    for index, each in enumerate(captions):
        code = languages.code_of(each.lang)
        if not codes or code in codes:
            groups.setdefault(code, []).append(index)
    if not groups:
        return captions
    texts = by_text(captions)
    gone: set[int] = set()
    notes: Counter[str] = Counter()
    for members in groups.values():
        group = [captions[index] for index in members]
        if options.paper:
            stay = algorithm_1([each.text for each in group], options.k_min, options.threshold)
            notes["captions removed (--paper)"] += len(group) - len(stay)
        else:
            rank = [_rank(captions[index], is_synthetic(captions[index], texts), index) for index in members]
            distinct = distinct_texts(group, rank)
            stay = diverse(group, rank, distinct, options.k_min, options.threshold)
            notes["exact duplicate captions"] += len(group) - len(distinct)
            notes["near-duplicate captions"] += len(distinct) - len(stay)
        gone.update(set(members) - {members[place] for place in stay})
    for what, count in (+notes).items():
        env.note(what, count)
    return [each for index, each in enumerate(captions) if index not in gone]


Rank = tuple[float, bool, int]


def _rank(caption: Caption, synthetic: bool, index: int) -> Rank:
    """Of captions equally alike to the others the one with the greatest rank goes: low score, synthetic, late."""
    return (-caption.score if caption.score is not None else 2.0, synthetic, index)


def by_text(captions: list[Caption]) -> dict[str, Caption]:
    """The captions of an image by their texts, of equal ones the first."""
    return {each.text: each for each in reversed(captions)}


def is_synthetic(caption: Caption, texts: dict[str, Caption]) -> bool:
    """Whether a machine looked at the image: followed through ``of`` from a translation or rewrite to its source.

    ``texts``: all captions of the image, see ``by_text``.
    """
    for _ in texts:
        source = texts.get(caption.of) if caption.of is not None else None
        if source is None or source is caption:
            break
        caption = source
    return caption.by not in HUMAN


def distinct_texts(captions: list[Caption], rank: list[Rank]) -> list[int]:
    """Places of the captions that stay when equal texts (but for case and white space) are one, in order.

    Of equal ones a human's stays before a machine's, then the higher score, then the earlier.
    """
    best: dict[str, int] = {}
    for place, each in enumerate(captions):
        text = " ".join(each.text.casefold().split())
        if text not in best or _preference(rank[place]) < _preference(rank[best[text]]):
            best[text] = place
    return sorted(best.values())


def _preference(rank: Rank) -> tuple[bool, float, int]:
    score, synthetic, index = rank
    return synthetic, score, index


def diverse(captions: list[Caption], rank: list[Rank], places: list[int], k_min: int, threshold: float) -> list[int]:
    """Algorithm 1 as it is meant: which of ``places`` stay, in order; at least ``min(k_min, len(places))`` of them.

    While a pair is more alike than ``threshold`` and more than ``k_min`` are left, the caption with the largest sum
    of cosines goes, of those in such a pair. The vectors are fitted on what is left until nothing more has to go, so
    that a second run finds nothing to do.
    """
    alive = list(places)
    while len(alive) > k_min:
        cosine = similarity.cosines(similarity.tfidf([similarity.ngrams(captions[place].text) for place in alive]))
        left = _thin(cosine, [rank[place] for place in alive], k_min, threshold)
        if len(left) == len(alive):
            break
        alive = [alive[each] for each in left]
    return alive


def _thin(cosine: list[list[float]], rank: list[Rank], k_min: int, threshold: float) -> list[int]:
    alive = list(range(len(cosine)))
    while len(alive) > k_min:
        near = [a for a in alive if any(cosine[a][b] > threshold for b in alive if b != a)]
        if not near:
            break
        # rounded, so that equal sums are equal whatever the order they were added in, and the rank decides
        alive.remove(max(near, key=lambda a: (round(sum(sorted(cosine[a][b] for b in alive)), 9), rank[a])))
    return alive


def algorithm_1(texts: list[str], k_min: int, threshold: float) -> list[int]:
    """``remove_similar`` of CAPIVARA, arXiv 2310.13683, to the letter: places of the texts that stay.

    Its last line removes every text whose summed similarity is exactly zero: the duplicates that were removed, and
    also texts unlike all others, which float noise on the diagonal saves or not. Raises ``BadSample`` where the
    original fails: when no text has a word of two letters.
    """
    import numpy as np

    if len(texts) < k_min:
        return list(range(len(texts)))
    if not any(similarity.words(text) for text in texts):
        raise BadSample("no word of two letters (--paper)")
    alike = np.array(similarity.cosines_as_published(texts)) - np.eye(len(texts))
    left = len(texts)
    while not (alike <= threshold).all() and left > k_min:
        most = int(np.argmax(alike.sum(axis=0)))
        alike[most, :] = 0
        alike[:, most] = 0
        left -= 1
    return [int(place) for place in np.flatnonzero(alike.sum(axis=0) != 0)]
