"""Decisions over the whole corpus: keep the best share of all scores, and remove texts that many images share.

Both are exact. Scores are whole ten-thousandths, so a count of each of the 20,201 values gives every threshold exactly,
for any number of captions.
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
"""The number of values of a rounded cosine, from -1.01 to 1.01: the length of a float16 vector is not exactly 1."""
_AT_ONCE = 32_000_000
"""The number of 64-bit text hashes that are sorted together: 0.25 GB, three times that while sorting."""


@dataclass(frozen=True)
class CorpusRules:
    """The rules that need the whole corpus.

    ``top``: the share of the scores to keep, 1 for all. ``quantile``: scores below this quantile are removed, 0 for
    none. ``of_images``: scores are those of samples (``on``: of the best caption, the first, or the mean) instead of
    captions. ``per_lang``: shares are taken within each language. ``max_images``: a text that more images have is
    boilerplate, 0 for no such rule. ``codes``: the languages to decide about, empty for all.
    """

    top: float = 1.0
    quantile: float = 0.0
    of_images: bool = False
    on: On = "best"
    per_lang: bool = True
    max_images: int = 0
    codes: frozenset[str] = frozenset()


def decide(surveys: Sequence[Survey], rules: CorpusRules) -> Iterator[Arrays]:
    """Yield one decision per survey, in order.

    A decision holds ``captions`` and ``samples`` (uint8) and ``words``, the reasons that they are indexes of; reason 0
    is "", which means: stays.

    Boilerplate is removed first; shares are taken of the rest. The best ``ceil(top * n)`` of n scores are kept. Ties at
    the cutoff are kept in the order of shards, samples and captions. The quantile is the smallest score that at least
    ``quantile * n`` scores do not exceed; a score equal to it is kept.

    Memory: one survey, 0.2 MB per language, 8 bytes per boilerplate text, and at most 0.8 GB during the search for
    boilerplate, which reads the surveys once per 32 million captions.
    """
    boilerplate = repeated_texts(surveys, rules) if rules.max_images else np.zeros(0, np.uint64)
    cutoffs: dict[str, _Cutoff] = {}
    if rules.top < 1 or rules.quantile > 0:
        counts: dict[str, np.ndarray] = {}
        for load in surveys:
            for group, scores in _scores(load(), boilerplate, rules).items():
                found = scores[scores != MISSING] - _LOWEST
                counts.setdefault(group, np.zeros(_VALUES, np.int64))[:] += np.bincount(found, minlength=_VALUES)
        cutoffs = {group: _Cutoff.of(values, rules) for group, values in counts.items()}
    words = [
        "",
        f"used for more than {rules.max_images} images",
        f"not among the best {rules.top:g} of the corpus",
        f"below the {rules.quantile:g} quantile of the corpus",
    ]
    for load in surveys:
        survey = load()
        repeated = np.isin(survey["texts"], boilerplate) & _is_open(survey, rules)
        decision = {"captions": repeated.astype(np.uint8), "samples": np.zeros(len(survey["captions"]), np.uint8)}
        target = decision["samples" if rules.of_images else "captions"]
        for group, scores in _scores(survey, boilerplate, rules).items() if cutoffs else ():
            cutoffs[group].mark(scores, target)
        yield {**decision, "words": np.array(words)}


_LOWEST = -SCALE - 100


def _is_open(survey: Arrays, rules: CorpusRules) -> np.ndarray:
    """bool [captions]: whether the caption is in one of the languages and no rule has removed it or its sample."""
    sample_stays = ~survey["failed"] & (survey["gone"] == 0)
    return np.repeat(sample_stays, survey["captions"]) & (survey["left_out"] == 0) & _in_languages(survey, rules)


def _in_languages(survey: Arrays, rules: CorpusRules) -> np.ndarray:
    wanted = [number for number, code in enumerate(survey["langs"].tolist()) if code in rules.codes]
    return np.isin(survey["lang"], wanted) if rules.codes else np.ones(len(survey["lang"]), np.bool_)


def _scores(survey: Arrays, boilerplate: np.ndarray, rules: CorpusRules) -> dict[str, np.ndarray]:
    """Group -> int32 [captions] or [samples]: the scores in the group, ``MISSING`` for others."""
    judged = np.where(_is_open(survey, rules), survey["judged"], MISSING).astype(np.int32)
    if len(boilerplate):
        judged[np.isin(survey["texts"], boilerplate)] = MISSING
    if rules.of_images:
        return {"": _sample_scores(judged, survey["captions"], rules.on)}
    if not rules.per_lang:
        return {"": judged}
    groups = enumerate(survey["langs"].tolist())
    return {name: np.where(survey["lang"] == number, judged, MISSING) for number, name in groups}


def _sample_scores(judged: np.ndarray, captions: np.ndarray, on: On) -> np.ndarray:
    """int32 [samples]: the score of each sample; a mean is rounded to a ten-thousandth."""
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
class _Cutoff:
    """The scores of one group that stay.

    ``least``: the lowest score that the share keeps; ``equal``: how many scores equal to it are still to be kept;
    ``quantile``: the lowest score that the quantile keeps.
    """

    least: int
    equal: int
    quantile: int

    @classmethod
    def of(cls, counts: np.ndarray, rules: CorpusRules) -> _Cutoff:
        """The cutoff for int64 [values], the number of times that each score occurs."""
        total = int(counts.sum())
        if not total:
            return cls(_LOWEST, 0, _LOWEST)
        keep = math.ceil(Fraction(str(rules.top)) * total)
        from_above = np.cumsum(counts[::-1])[::-1]
        least = int(np.flatnonzero(from_above >= keep)[-1])
        above = int(from_above[least + 1]) if least + 1 < len(counts) else 0
        below = math.ceil(Fraction(str(rules.quantile)) * total)
        quantile = int(np.searchsorted(np.cumsum(counts), below)) if below else 0
        return cls(least + _LOWEST, keep - above, quantile + _LOWEST)

    def mark(self, scores: np.ndarray, target: np.ndarray) -> None:
        """Set the reason in ``target`` for each of the next scores that is removed. Call in the order of the corpus."""
        counts = scores != MISSING
        equal = np.flatnonzero(scores == self.least)
        target[equal[self.equal :]] = 2
        self.equal -= min(self.equal, len(equal))
        target[counts & (scores < self.least)] = 2
        target[counts & (scores < self.quantile) & (target == 0)] = 3


def repeated_texts(surveys: Sequence[Survey], rules: CorpusRules, at_once: int = _AT_ONCE) -> np.ndarray:
    """The hashes of the texts that more than ``max_images`` images share, uint64, sorted.

    Hashes are sorted in parts, by their remainder, so that at most ``at_once`` are in memory. Among a billion captions,
    two different texts share a hash with a probability of 3 %.
    """
    total = sum(len(load()["texts"]) for load in surveys)
    parts = max(1, math.ceil(total / at_once))
    found: list[np.ndarray] = [np.zeros(0, np.uint64)]
    for part in range(parts):
        seen = [np.zeros(0, np.uint64)]
        for load in surveys:
            survey = load()
            texts = survey["texts"][~survey["repeated"] & _in_languages(survey, rules)]
            seen.append(texts[texts % np.uint64(parts) == part])
        texts, counts = np.unique(np.concatenate(seen), return_counts=True)
        found.append(texts[counts > rules.max_images])
    return np.sort(np.concatenate(found))
