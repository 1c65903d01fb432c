"""Decisions over the whole corpus: the best share of all scores, and texts that many images share; both are exact.

Scores are whole ten-thousandths, so counting each of the 20,201 values finds any threshold exactly, for any number of
captions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from capivara_cli.pipeline.stage import Arrays
from capivara_cli.stages.filtering.selection import On
from capivara_cli.stages.filtering.survey import MISSING, SCALE

Survey = Callable[[], Arrays]

_VALUES = 2 * SCALE + 201
"""The values a rounded cosine can have, from -1.01 to 1.01: the length of a float16 vector is not exactly 1."""
_AT_ONCE = 32_000_000
"""Texts whose 64-bit hashes are sorted together: 0.25 GB, three times that while sorting."""


@dataclass(frozen=True)
class Shares:
    """Which share of a corpus stays.

    ``top``: the share of the scores that is kept, 1 for all. ``quantile``: scores below this quantile are removed, 0
    for none. ``of_images``: the scores are those of samples (``on`` their best or first caption, or the mean), not of
    captions. ``per_lang``: shares are taken within each language. ``max_images``: a text of more images than this is
    boilerplate, 0 for never. ``codes``: the languages to decide about, empty for all.
    """

    top: float = 1.0
    quantile: float = 0.0
    of_images: bool = False
    on: On = "best"
    per_lang: bool = True
    max_images: int = 0
    codes: frozenset[str] = frozenset()

    @property
    def wanted(self) -> bool:
        """Whether there is anything to decide."""
        return self.top < 1 or self.quantile > 0 or self.max_images > 0


def decide(surveys: Sequence[Survey], shares: Shares) -> Iterator[Arrays]:
    """Yield one decision per survey: ``captions`` and ``samples``, uint8 indexes of ``words``; 0 ("") stays.

    Boilerplate is removed first; shares are taken of the rest. The best ``ceil(top * n)`` of n scores are kept; of
    equal scores at the border, the first in the order of shards, samples and captions. The quantile is the smallest
    score that at least ``quantile * n`` scores do not exceed; a score equal to it is kept.

    Memory: one survey, 0.2 MB per language, 8 bytes per boilerplate text, and at most 0.8 GB while these are searched.
    The surveys are read once more for every 32 million captions.
    """
    boilerplate = repeated_texts(surveys, shares) if shares.max_images else np.zeros(0, np.uint64)
    borders: dict[str, _Border] = {}
    if shares.top < 1 or shares.quantile > 0:
        counts: dict[str, np.ndarray] = {}
        for load in surveys:
            for group, scores in _scores(load(), boilerplate, shares).items():
                found = scores[scores != MISSING] - _LOWEST
                counts.setdefault(group, np.zeros(_VALUES, np.int64))[:] += np.bincount(found, minlength=_VALUES)
        borders = {group: _Border.of(values, shares) for group, values in counts.items()}
    words = [
        "",
        f"used for more than {shares.max_images} images",
        f"not among the best {shares.top:g} of the corpus",
        f"below the {shares.quantile:g} quantile of the corpus",
    ]
    for load in surveys:
        survey = load()
        repeated = np.isin(survey["texts"], boilerplate) & _is_open(survey, shares)
        decision = {"captions": repeated.astype(np.uint8), "samples": np.zeros(len(survey["captions"]), np.uint8)}
        target = decision["samples" if shares.of_images else "captions"]
        for group, scores in _scores(survey, boilerplate, shares).items() if borders else ():
            borders[group].mark(scores, target)
        yield {**decision, "words": np.array(words)}


_LOWEST = -SCALE - 100


def _is_open(survey: Arrays, shares: Shares) -> np.ndarray:
    """bool [captions]: in one of the languages, and neither it nor its sample is removed by a rule."""
    sample_stays = ~survey["failed"] & (survey["gone"] == 0)
    return np.repeat(sample_stays, survey["captions"]) & (survey["left_out"] == 0) & _in_languages(survey, shares)


def _in_languages(survey: Arrays, shares: Shares) -> np.ndarray:
    wanted = [number for number, code in enumerate(survey["langs"].tolist()) if code in shares.codes]
    return np.isin(survey["lang"], wanted) if shares.codes else np.ones(len(survey["lang"]), np.bool_)


def _scores(survey: Arrays, boilerplate: np.ndarray, shares: Shares) -> dict[str, np.ndarray]:
    """Group -> int32 [captions] or [samples]: the scores in that group, ``MISSING`` elsewhere."""
    judged = np.where(_is_open(survey, shares), survey["judged"], MISSING).astype(np.int32)
    if len(boilerplate):
        judged[np.isin(survey["texts"], boilerplate)] = MISSING
    if shares.of_images:
        return {"": _sample_scores(judged, survey["captions"], shares.on)}
    if not shares.per_lang:
        return {"": judged}
    groups = enumerate(survey["langs"].tolist())
    return {name: np.where(survey["lang"] == number, judged, MISSING) for number, name in groups}


def _sample_scores(judged: np.ndarray, captions: np.ndarray, on: On) -> np.ndarray:
    """int32 [samples]: the score of each, a mean rounded to a ten-thousandth."""
    result = np.full(len(captions), MISSING, np.int32)
    counts = judged != MISSING
    number = np.repeat(np.arange(len(captions)), captions)[counts]
    scores = judged[counts]
    has, first, per_sample = np.unique(number, return_index=True, return_counts=True)
    if not len(has):
        return result
    if on == "first":
        result[has] = scores[first]
    elif on == "best":
        result[has] = np.maximum.reduceat(scores, first)
    else:
        result[has] = np.rint(np.add.reduceat(scores.astype(np.int64), first) / per_sample)
    return result


@dataclass
class _Border:
    """``least``: the lowest score that the share keeps; ``equal``: how many more with that score are kept;
    ``quantile``: the lowest score that the quantile keeps."""

    least: int
    equal: int
    quantile: int

    @classmethod
    def of(cls, counts: np.ndarray, shares: Shares) -> _Border:
        """The border for int64 [values]: how often each score occurs."""
        total = int(counts.sum())
        if not total:
            return cls(_LOWEST, 0, _LOWEST)
        keep = math.ceil(Fraction(str(shares.top)) * total)
        from_above = np.cumsum(counts[::-1])[::-1]
        least = int(np.flatnonzero(from_above >= keep)[-1])
        above = int(from_above[least + 1]) if least + 1 < len(counts) else 0
        below = math.ceil(Fraction(str(shares.quantile)) * total)
        quantile = int(np.searchsorted(np.cumsum(counts), below)) if below else 0
        return cls(least + _LOWEST, keep - above, quantile + _LOWEST)

    def mark(self, scores: np.ndarray, target: np.ndarray) -> None:
        """Mark in ``target`` what is removed of the next scores, in the order of the corpus."""
        counts = scores != MISSING
        equal = np.flatnonzero(scores == self.least)
        target[equal[self.equal :]] = 2
        self.equal -= min(self.equal, len(equal))
        target[counts & (scores < self.least)] = 2
        target[counts & (scores < self.quantile) & (target == 0)] = 3


def repeated_texts(surveys: Sequence[Survey], shares: Shares, at_once: int = _AT_ONCE) -> np.ndarray:
    """uint64, sorted: the hashes of the texts that more than ``max_images`` images share.

    Hashes are sorted in parts, by their remainder, so that at most ``at_once`` are in memory. Hashes stand for texts:
    among a billion captions, the chance that two different texts share one is 3 in 100.
    """
    total = sum(len(load()["texts"]) for load in surveys)
    parts = max(1, math.ceil(total / at_once))
    found: list[np.ndarray] = [np.zeros(0, np.uint64)]
    for part in range(parts):
        seen = [np.zeros(0, np.uint64)]
        for load in surveys:
            survey = load()
            texts = survey["texts"][~survey["repeated"] & _in_languages(survey, shares)]
            seen.append(texts[texts % np.uint64(parts) == part])
        texts, counts = np.unique(np.concatenate(seen), return_counts=True)
        found.append(texts[counts > shares.max_images])
    return np.sort(np.concatenate(found))
