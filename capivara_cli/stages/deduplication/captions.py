"""Deduplicate the captions of an image: Algorithm 1 of CAPIVARA (arXiv 2310.13683), corrected and as published."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from capivara_cli import languages
from capivara_cli.errors import BadSample
from capivara_cli.languages import similarity
from capivara_cli.languages.folding import folded
from capivara_cli.pipeline.env import Env
from capivara_cli.shards.archive import Stream
from capivara_cli.shards.sample import Caption, Sample
from capivara_cli.stages.deduplication.thinning import thinned

if TYPE_CHECKING:
    import numpy as np

HUMAN = frozenset({"alt", "human"})
"""Authors (``by``) that are people."""


@dataclass(frozen=True)
class CaptionSettings:
    """How the captions of an image are deduplicated.

    ``enabled``: False keeps all captions. ``codes``: languages to work on, empty for all. ``k_min``: the smallest
    number of captions of a language that stay. ``threshold``: the cosine above which two captions are near-duplicates.
    ``paper``: Algorithm 1 exactly as published.
    """

    enabled: bool = True
    codes: frozenset[str] = frozenset()
    k_min: int = 3
    threshold: float = 0.3
    paper: bool = False


def with_fewer_captions(sample: Sample, settings: CaptionSettings, env: Env) -> Stream:
    """Yield the sample with the captions that stay; yield nothing if it is unusable or has no caption left."""
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
    """The captions that stay, in order; removed ones are counted. Raises ``BadSample`` where ``algorithm_1`` does."""
    groups: dict[str, list[int]] = {}
    for index, each in enumerate(captions):
        code = languages.code_of(each.lang)
        if not settings.codes or code in settings.codes:
            groups.setdefault(code, []).append(index)
    if not groups:
        if settings.codes:
            env.note(f"samples without a caption in {', '.join(sorted(settings.codes))}")
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
    """The rank of a caption. Among equally similar captions the highest is removed: low score, synthetic, late."""
    return (-caption.score if caption.score is not None else 2.0, synthetic, index)


def by_text(captions: list[Caption]) -> dict[str, Caption]:
    """The captions of an image by text; the first one where texts are equal."""
    return {each.text: each for each in reversed(captions)}


def is_synthetic(caption: Caption, texts: dict[str, Caption]) -> bool:
    """Whether a model wrote the caption, or the source of a translation or rewrite, which ``of`` names.

    ``texts``: all captions of the image, see ``by_text``.
    """
    for _ in texts:
        source = texts.get(caption.of) if caption.of is not None else None
        if source is None or source is caption:
            break
        caption = source
    return caption.by not in HUMAN


def distinct_texts(captions: list[Caption], rank: list[Rank]) -> list[int]:
    """The indexes, in order, of the captions that stay when texts that are equal, folded, are merged.

    Among equal texts, the preference is: a person's over a generated one, then the higher score, then the earlier.
    """
    best: dict[str, int] = {}
    for index, each in enumerate(captions):
        text = folded(each.text)
        if text not in best or _preference(rank[index]) < _preference(rank[best[text]]):
            best[text] = index
    return sorted(best.values())


def _preference(rank: Rank) -> tuple[bool, float, int]:
    score, synthetic, index = rank
    return synthetic, score, index


def diverse(captions: list[Caption], rank: list[Rank], indexes: list[int], k_min: int, threshold: float) -> list[int]:
    """Algorithm 1, corrected: which of ``indexes`` stay, in order; at least ``min(k_min, len(indexes))`` of them.

    While a pair has a cosine above ``threshold`` and more than ``k_min`` captions are left, one caption of such pairs
    is removed: the one with the largest sum of cosines. The TF-IDF vectors are fitted again on the rest until nothing
    is removed, so that a second run removes nothing.
    """
    alive = list(indexes)
    grams = {index: similarity.ngrams(captions[index].text) for index in alive}
    while len(alive) > k_min:
        vectors = similarity.tfidf([grams[index] for index in alive])
        left = thinned(vectors, [rank[index] for index in alive], k_min, threshold)
        if len(left) == len(alive):
            break
        alive = [alive[each] for each in left]
    return alive


def algorithm_1(texts: list[str], k_min: int, threshold: float) -> list[int]:
    """The indexes of the texts that stay by ``remove_similar`` of CAPIVARA (arXiv 2310.13683), exactly as published.

    Its last line removes every text whose sum of similarities is exactly zero: the duplicates, but also texts unlike
    all others, unless float noise on the diagonal saves them. Raises ``BadSample`` where the original fails: if no
    text has a word of two letters.
    """
    import numpy as np

    if len(texts) < k_min:
        return list(range(len(texts)))
    if not any(similarity.words(text) for text in texts):
        raise BadSample("no word of two letters (--paper)")
    alike = similarity.cosines_as_published(texts) - np.eye(len(texts))
    above = alike > threshold
    remaining = int(above.sum())
    sums = alike.sum(axis=0)
    left = len(texts)
    while remaining and left > k_min:
        most = _largest_sum(alike, sums)
        remaining -= int(above[most].sum() + above[:, most].sum() - above[most, most])
        above[most], above[:, most] = False, False
        sums -= alike[most]
        alike[most, :], alike[:, most], sums[most] = 0, 0, 0
        left -= 1
    return [int(index) for index in np.flatnonzero(alike.sum(axis=0) != 0)]


def _largest_sum(alike: np.ndarray, sums: np.ndarray) -> int:
    """``argmax(alike.sum(axis=0))``, where ``sums`` are nearly those: only sums near the largest are computed again."""
    import numpy as np

    candidates = np.flatnonzero(sums >= sums.max() - 1e-9)
    if len(candidates) == 1:
        return int(candidates[0])
    return int(candidates[np.argmax(alike.take(candidates, axis=1).sum(axis=0))])
