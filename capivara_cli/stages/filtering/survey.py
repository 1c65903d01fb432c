"""The facts of the samples of one shard as arrays, which the first pass writes and the second reads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np

from capivara_cli import languages
from capivara_cli.errors import BadSample, CapivaraError
from capivara_cli.pipeline.stage import Arrays
from capivara_cli.shards.embedding import TowerIdentity
from capivara_cli.shards.sample import Caption, Sample
from capivara_cli.stages.filtering.chains import with_judges
from capivara_cli.stages.filtering.sample_facts import DECIMALS, SampleFacts, Scoring, of_score, with_of_score
from capivara_cli.stages.filtering.text_rules import boilerplate_key

MISSING = -32_768
"""The value of a missing score."""
SCALE = 10**DECIMALS
"""Scores are stored as whole ten-thousandths."""


@dataclass
class _Rows:
    """The columns of a survey, row by row: those per sample, then those per caption."""

    vectors: list[np.ndarray] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)
    captions: list[int] = field(default_factory=list)
    failed: list[bool] = field(default_factory=list)
    gone: list[int] = field(default_factory=list)
    scores: list[int] = field(default_factory=list)
    of_scores: list[int] = field(default_factory=list)
    judged: list[int] = field(default_factory=list)
    lang: list[int] = field(default_factory=list)
    removed: list[int] = field(default_factory=list)
    texts: list[int] = field(default_factory=list)
    repeated: list[bool] = field(default_factory=list)
    words: dict[str, int] = field(default_factory=lambda: {"": 0})
    langs: dict[str, int] = field(default_factory=dict)

    def add(self, sample: Sample, facts: SampleFacts) -> None:
        self.keys.append(sample.key.encode("utf-8", "surrogatepass"))
        self.captions.append(len(facts.captions))
        self.failed.append(facts.failed)
        self.gone.append(self._word(facts.dropped))
        if facts.vector is not None and not facts.dropped:
            self.vectors.append(facts.vector)
        seen: set[int] = set()
        for index, caption in enumerate(facts.captions):
            self._add_caption(caption, facts.scores.get(index), facts.removed.get(index, ""), seen)

    def _add_caption(self, caption: Caption, judged: float | None, removed: str, seen: set[int]) -> None:
        text = boilerplate_key(caption.text)
        self.scores.append(_whole(caption.score))
        self.of_scores.append(_whole(of_score(caption)))
        self.judged.append(_whole(judged))
        self.lang.append(self.langs.setdefault(languages.code_of(caption.lang), len(self.langs)))
        self.removed.append(self._word(removed))
        self.texts.append(text)
        self.repeated.append(text in seen)
        seen.add(text)

    def _word(self, word: str) -> int:
        return self.words.setdefault(word, len(self.words))

    def arrays(self) -> Arrays:
        vectors = np.stack(self.vectors) if self.vectors else np.zeros((0, 0), np.float16)
        return {
            "vectors": vectors,
            "keys": np.array(self.keys, np.bytes_),
            "captions": np.array(self.captions, np.int32),
            "failed": np.array(self.failed, np.bool_),
            "gone": np.array(self.gone, np.uint16),
            "scores": np.array(self.scores, np.int16),
            "of_scores": np.array(self.of_scores, np.int16),
            "judged": np.array(self.judged, np.int16),
            "lang": np.array(self.lang, np.uint16),
            "left_out": np.array(self.removed, np.uint16),
            "texts": np.array(self.texts, np.uint64),
            "repeated": np.array(self.repeated, np.bool_),
            "words": np.array(list(self.words), np.str_),
            "langs": np.array(list(self.langs), np.str_),
        }


def pack(examined: Iterable[tuple[Sample, SampleFacts]]) -> Arrays:
    """The facts of samples, in order, as arrays that need no pickle.

    Per sample: ``keys``, ``captions`` (their number), ``failed``, ``gone`` (why it is dropped, an index of ``words``).
    ``vectors``: float16 [., dim], of the samples that have one. Per caption: ``scores``, ``of_scores`` and ``judged``
    (the deciding score) in ten-thousandths, ``lang`` (an index of ``langs``), ``left_out`` (why it is removed, an index
    of ``words``), ``texts`` (a 64-bit hash), ``repeated`` (whether an earlier caption of the image has the same text).
    ``clip``: the identity of the image tower as JSON.
    """
    rows = _Rows()
    tower: TowerIdentity | None = None
    for sample, facts in examined:
        tower = tower or facts.tower
        rows.add(sample, facts)
    return {**rows.arrays(), "clip": np.array(json.dumps(tower.to_json() if tower else None))}


def unpack(
    samples: Iterable[Sample], survey: Arrays, decision: Arrays, scoring: Scoring
) -> Iterator[tuple[Sample, SampleFacts]]:
    """The inverse of ``pack`` for the same samples, with the decision about the corpus added to the facts.

    Raises ``CapivaraError`` if the samples differ from those of the survey.
    """
    words, verdicts = survey["words"].tolist(), decision["words"].tolist()
    vectors, identity = iter(survey["vectors"]), json.loads(str(survey["clip"]))
    tower = TowerIdentity(**identity) if identity else None
    columns = ("scores", "of_scores", "left_out")
    captions = zip(*(survey[name].tolist() for name in columns), decision["captions"].tolist(), strict=True)
    per_sample = [survey[name].tolist() for name in ("keys", "captions", "failed", "gone")]
    rows = zip(*per_sample, decision["samples"].tolist(), strict=True)
    for sample in samples:
        row = next(rows, None)
        if row is None or row[0] != sample.key.encode("utf-8", "surrogatepass"):
            raise _other_samples(sample)
        _, count, failed, gone, verdict = row
        facts = SampleFacts([], dropped=words[gone], failed=failed)
        if not failed:
            entries = list(islice(captions, count))
            own = _captions(sample, count)
            own = with_judges(own, scoring.is_wanted) if scoring.by != "text" else own
            facts.captions = [_rescored(*pair) for pair in zip(own, entries, strict=True)]
            facts.removed = {index: words[why] for index, (*_, why, _) in enumerate(entries) if why}
            facts.set_scores(scoring)
            facts.removed |= {index: verdicts[why] for index, (*_, why) in enumerate(entries) if why}
            if not facts.dropped:
                facts.vector, facts.tower = (next(vectors), tower) if tower else (None, None)
                facts.dropped = verdicts[verdict]
        yield sample, facts
    if next(rows, None) is not None:
        raise _other_samples(None)


def _captions(sample: Sample, count: int) -> list[Caption]:
    try:
        captions = sample.captions
    except BadSample as error:
        raise _other_samples(sample) from error
    if len(captions) != count:
        raise _other_samples(sample)
    return captions


def _rescored(caption: Caption, entry: tuple[int, int, int, int]) -> Caption:
    score, source, *_ = entry
    caption = replace(caption, score=None if score == MISSING else score / SCALE)
    return caption if source == MISSING else with_of_score(caption, source / SCALE)


def _whole(score: float | None) -> int:
    return MISSING if score is None else round(score * SCALE)


def _other_samples(sample: Sample | None) -> CapivaraError:
    where = f"at sample {sample.key!r}" if sample else "at the end"
    return CapivaraError(f"filter: the shard changed between the two passes ({where})", "delete --out and run again")
