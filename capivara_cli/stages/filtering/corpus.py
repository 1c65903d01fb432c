"""What only the whole corpus can tell: the best share of all scores, and captions said of many images; both exact.

Scores are whole ten-thousandths, so a count per value (20,001 of them) finds any threshold exactly, whatever the
number of captions.
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
"""As many values as a rounded cosine may have, from -1.01 to 1.01: float16 vectors are not of length 1 exactly."""
_AT_ONCE = 32_000_000
"""Texts whose 64 bits are sorted together: 0.25 GB, three times that while they are sorted."""


@dataclass(frozen=True)
class Shares:
    """``top``: the share of the scores that is kept, 1 for all; ``quantile``: what scores below this one is left out;
    ``of_images``: scores of samples, judged ``on`` their captions, not of captions; ``per_lang``: of each language by
    itself; ``max_images``: a caption said of more images is boilerplate, 0 for never. ``codes``: the languages it is
    about, empty for all."""

    top: float = 1.0
    quantile: float = 0.0
    of_images: bool = False
    on: On = "best"
    per_lang: bool = True
    max_images: int = 0
    codes: frozenset[str] = frozenset()

    @property
    def wanted(self) -> bool:
        """Whether anything has to be decided."""
        return self.top < 1 or self.quantile > 0 or self.max_images > 0


def decide(surveys: Sequence[Survey], shares: Shares) -> Iterator[Arrays]:
    """Per survey: ``captions`` and ``samples``, a number of ``words`` for each, 0 ("") for what stays.

    Boilerplate is found first; shares are shares of what is left. Of n scores the best ``ceil(top * n)`` are kept;
    of equal ones at the border those that come first in the order of shards, samples and captions. The quantile is
    the smallest score that at least ``quantile * n`` of the scores do not exceed; what equals it is kept.

    Memory: one survey, 0.2 MB per language, the texts found to be boilerplate (8 bytes each), and while these are
    sought 0.8 GB at most; every 32 million captions cost another reading of the surveys.
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
        f"said of more than {shares.max_images} images",
        f"not among the best {shares.top:g} of the corpus",
        f"below the {shares.quantile:g} quantile of the corpus",
    ]
    for load in surveys:
        survey = load()
        said = np.isin(survey["texts"], boilerplate) & _counts(survey, shares)
        decision = {"captions": said.astype(np.uint8), "samples": np.zeros(len(survey["captions"]), np.uint8)}
        target = decision["samples" if shares.of_images else "captions"]
        for group, scores in _scores(survey, boilerplate, shares).items() if borders else ():
            borders[group].mark(scores, target)
        yield {**decision, "words": np.array(words)}


_LOWEST = -SCALE - 100


def _counts(survey: Arrays, shares: Shares) -> np.ndarray:
    """[captions] whether it is in one of the languages and no rule has left it, or its sample, out."""
    sample_stays = ~survey["failed"] & (survey["gone"] == 0)
    return np.repeat(sample_stays, survey["captions"]) & (survey["left_out"] == 0) & _in_languages(survey, shares)


def _in_languages(survey: Arrays, shares: Shares) -> np.ndarray:
    wanted = [number for number, code in enumerate(survey["langs"].tolist()) if code in shares.codes]
    return np.isin(survey["lang"], wanted) if shares.codes else np.ones(len(survey["lang"]), np.bool_)


def _scores(survey: Arrays, boilerplate: np.ndarray, shares: Shares) -> dict[str, np.ndarray]:
    """Group -> int32 [captions], or [samples]: the scores that count in it, ``MISSING`` where none does."""
    judged = np.where(_counts(survey, shares), survey["judged"], MISSING).astype(np.int32)
    if len(boilerplate):
        judged[np.isin(survey["texts"], boilerplate)] = MISSING
    if shares.of_images:
        return {"": _verdicts(judged, survey["captions"], shares.on)}
    if not shares.per_lang:
        return {"": judged}
    groups = enumerate(survey["langs"].tolist())
    return {name: np.where(survey["lang"] == number, judged, MISSING) for number, name in groups}


def _verdicts(judged: np.ndarray, captions: np.ndarray, on: On) -> np.ndarray:
    """int32 [samples], a mean rounded to a ten-thousandth."""
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
    """``least``: the lowest score that is kept; ``equal``: how many with exactly it still are; ``quantile``: the lowest
    that stays for its sake."""

    least: int
    equal: int
    quantile: int

    @classmethod
    def of(cls, counts: np.ndarray, shares: Shares) -> _Border:
        """From how often each score occurs."""
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
        """Write into ``target`` (words) what is left out of the next scores in order."""
        counts = scores != MISSING
        equal = np.flatnonzero(scores == self.least)
        target[equal[self.equal :]] = 2
        self.equal -= min(self.equal, len(equal))
        target[counts & (scores < self.least)] = 2
        target[counts & (scores < self.quantile) & (target == 0)] = 3


def repeated_texts(surveys: Sequence[Survey], shares: Shares, at_once: int = _AT_ONCE) -> np.ndarray:
    """uint64, sorted: the texts of the captions that are said of more than ``max_images`` images.

    The 64 bits are sorted in as many parts, by their remainder, as keep ``at_once`` of them in memory. They stand for
    the text: of a billion captions two that differ are taken for one with a chance of 3 in 100.
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
