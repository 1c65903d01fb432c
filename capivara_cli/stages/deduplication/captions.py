"""Captions of an image that say the same: Algorithm 1 of CAPIVARA (arXiv 2310.13683), corrected and as published."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from capivara_cli import languages
from capivara_cli.errors import BadSample
from capivara_cli.languages import similarity
from capivara_cli.pipeline.env import Env
from capivara_cli.shards.archive import Stream
from capivara_cli.shards.sample import Caption, Sample

HUMAN = frozenset({"alt", "human"})
"""Authors (``by``) that are people."""


@dataclass(frozen=True)
class CaptionSettings:
    """How the captions of an image are deduplicated.

    ``enabled``: False leaves all captions. ``codes``: languages to work on, empty for all. ``k_min``: the number of
    captions of a language that stay in any case. ``threshold``: the cosine above which two captions are
    near-duplicates. ``paper``: Algorithm 1 exactly as published.
    """

    enabled: bool = True
    codes: frozenset[str] = frozenset()
    k_min: int = 3
    threshold: float = 0.3
    paper: bool = False


def with_fewer_captions(sample: Sample, settings: CaptionSettings, env: Env) -> Stream:
    """Yield the sample with the captions that stay; nothing if it fails or has no caption left."""
    if not settings.enabled:
        yield sample
        return
    try:
        before = sample.captions
        kept = remaining(before, settings, env)
    except BadSample as error:
        env.fail(sample, error.reason)
        return
    if before and not kept:
        env.drop(sample, "no caption left (--paper)")
        return
    yield sample.with_captions(kept)


def remaining(captions: list[Caption], settings: CaptionSettings, env: Env) -> list[Caption]:
    """The captions that stay, in order; removed ones are noted. Raises ``BadSample`` where ``--paper`` fails."""
    groups: dict[str, list[int]] = {}
    for index, each in enumerate(captions):
        code = languages.code_of(each.lang)
        if not settings.codes or code in settings.codes:
            groups.setdefault(code, []).append(index)
    if not groups:
        return captions
    texts = by_text(captions)
    removed: set[int] = set()
    notes: Counter[str] = Counter()
    for members in groups.values():
        group = [captions[index] for index in members]
        if settings.paper:
            stay = algorithm_1([each.text for each in group], settings.k_min, settings.threshold)
            notes["captions removed (--paper)"] += len(group) - len(stay)
        else:
            rank = [_rank(captions[index], is_synthetic(captions[index], texts), index) for index in members]
            distinct = distinct_texts(group, rank)
            stay = diverse(group, rank, distinct, settings.k_min, settings.threshold)
            notes["exact duplicate captions"] += len(group) - len(distinct)
            notes["near-duplicate captions"] += len(distinct) - len(stay)
        removed.update(set(members) - {members[place] for place in stay})
    for what, count in (+notes).items():
        env.note(what, count)
    return [each for index, each in enumerate(captions) if index not in removed]


Rank = tuple[float, bool, int]


def _rank(caption: Caption, synthetic: bool, index: int) -> Rank:
    """Of captions equally similar to the others, the one of the highest rank is removed: low score, synthetic, late."""
    return (-caption.score if caption.score is not None else 2.0, synthetic, index)


def by_text(captions: list[Caption]) -> dict[str, Caption]:
    """The captions of an image by text; the first one of equal texts."""
    return {each.text: each for each in reversed(captions)}


def is_synthetic(caption: Caption, texts: dict[str, Caption]) -> bool:
    """Whether the caption was generated: a translation or rewrite is followed through ``of`` to its source.

    ``texts``: all captions of the image, see ``by_text``.
    """
    for _ in texts:
        source = texts.get(caption.of) if caption.of is not None else None
        if source is None or source is caption:
            break
        caption = source
    return caption.by not in HUMAN


def distinct_texts(captions: list[Caption], rank: list[Rank]) -> list[int]:
    """The captions, by index and in order, that stay when those with equal texts (ignoring case and space) are merged.

    Of equal texts, a person's stays rather than a generated one, then the one with the higher score, then the earlier.
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
    """Algorithm 1, corrected: which of ``places`` stay, in order; at least ``min(k_min, len(places))`` of them.

    While a pair is more similar than ``threshold`` and more than ``k_min`` captions are left, the caption with the
    largest sum of cosines among those in such pairs is removed. The TF-IDF vectors are fitted again on the rest until
    nothing is removed, so that a second run removes nothing.
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
        # rounded, so that sums that differ only in the order of addition are equal, and the rank decides
        alive.remove(max(near, key=lambda a: (round(sum(sorted(cosine[a][b] for b in alive)), 9), rank[a])))
    return alive


def algorithm_1(texts: list[str], k_min: int, threshold: float) -> list[int]:
    """``remove_similar`` of CAPIVARA (arXiv 2310.13683) exactly as published: the indexes of the texts that stay.

    Its last line removes every text whose summed similarity is exactly zero: the duplicates, and also texts unlike
    all others, unless float noise on the diagonal saves them. Raises ``BadSample`` where the original fails: if no
    text has a word of two letters.
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
