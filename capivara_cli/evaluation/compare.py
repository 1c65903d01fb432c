"""Measure models in several languages on one set, and compare each model with the first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace

from capivara_cli.evaluation import outputs, significance
from capivara_cli.evaluation.disparity import disparity
from capivara_cli.evaluation.examples import Answers
from capivara_cli.evaluation.gallery import Captions
from capivara_cli.evaluation.measure import (
    Contender,
    EvalData,
    Measurement,
    Scored,
    measure_classification,
    measure_probe,
    measure_retrieval,
)
from capivara_cli.evaluation.outputs import Outputs
from capivara_cli.evaluation.queries import Queries
from capivara_cli.evaluation.results import (
    PEOPLE,
    ZERO_SHOT,
    DisparityRow,
    EvalResults,
    RetrievalRow,
    ScoredRow,
    Versus,
)


@dataclass(frozen=True)
class LanguageAnswers:
    """The captions of one language of a set, and the embeddings and ranks of each model, to draw examples from.

    Models for which the translation lost some queries are missing.
    """

    lang: str
    captions: Captions
    models: dict[str, Answers]


@dataclass(frozen=True)
class EvalProtocol:
    """How models are measured.

    ``ks``: the ranks of recall at k. ``queries``: how captions become queries. ``modes`` of classification. ``seed`` of
    probes. ``watch``: called with the embeddings and ranks of each language.
    """

    ks: Sequence[int]
    queries: Queries
    modes: Sequence[str] = (ZERO_SHOT,)
    seed: int = 0
    watch: Callable[[LanguageAnswers], None] | None = None


def compare(
    data: EvalData, contenders: Sequence[Contender], langs: Sequence[str], protocol: EvalProtocol
) -> EvalResults:
    """The rows of all models in all ``langs``, each compared with the first model's row of the same language.

    ``p_holm`` is adjusted for all comparisons of this set and task. A probe uses only images, so models with the same
    image tower share one row.
    """
    captioned = [lang for lang in langs if lang in data.gallery.captions]
    retrieval = _compared([_retrieve(data, contenders, lang, protocol) for lang in captioned])
    named = list(data.classes) if ZERO_SHOT in protocol.modes else []
    classification = _compared(
        [measure_classification(data, each, lang, protocol.queries) for each in contenders] for lang in named
    )
    spread = _disparities(retrieval) + _disparities(classification)
    towers = {each.clip.identity: each for each in reversed(contenders)}
    for mode in protocol.modes:
        if mode != ZERO_SHOT and data.classes:
            classification += [measure_probe(data, each, mode, protocol.seed) for each in reversed(towers.values())]
    return EvalResults(tuple(retrieval), tuple(classification), tuple(spread))


def _retrieve(
    data: EvalData, contenders: Sequence[Contender], lang: str, protocol: EvalProtocol
) -> list[Measurement[RetrievalRow]]:
    measured = [measure_retrieval(data, each, lang, protocol.ks, protocol.queries) for each in contenders]
    if protocol.watch is not None:
        answers = {each.row.model: each.answers for each in measured if each.answers is not None}
        protocol.watch(LanguageAnswers(lang, data.gallery.captions[lang], answers))
    return measured


def _compared(groups: Iterable[Sequence[Measurement[Scored]]]) -> list[Scored]:
    """The rows of all groups, each compared with the first of its group."""
    rows: list[Scored] = []
    p_values: list[float] = []
    for first, *others in groups:
        rows.append(first.row)
        for each in others:
            versus = _versus(first.row.model, first.outputs, each.outputs)
            row = replace(each.row, versus=versus)
            if isinstance(row, RetrievalRow) and first.people is not None and each.people is not None:
                people = replace(row.variants[PEOPLE], versus=_versus(first.row.model, first.people, each.people))
                row = replace(row, variants=row.variants | {PEOPLE: people})
            rows.append(row)
            p_values.append(versus.p or 0.0)
    adjusted = iter(significance.holm(p_values))
    return [replace(row, versus=replace(row.versus, p_holm=next(adjusted))) if row.versus else row for row in rows]


def _versus(first_model: str, first: Outputs, second: Outputs) -> Versus:
    """The difference of the second outputs from the first, in points, with its interval and p-value."""
    test = outputs.paired(first, second)
    return Versus(first_model, 100 * test.difference, (100 * test.low, 100 * test.high), test.p)


def _disparities(rows: Sequence[ScoredRow]) -> list[DisparityRow]:
    """A row for each model that was measured in several languages."""
    found: list[DisparityRow] = []
    for model in dict.fromkeys(row.model for row in rows):
        own = [row for row in rows if row.model == model]
        if len(own) > 1:
            spread = disparity({row.lang: row.score for row in own})
            langs = tuple(row.lang for row in own)
            found.append(
                DisparityRow(
                    set=own[0].set,
                    split=own[0].split,
                    metric=own[0].metric,
                    model=model,
                    languages=langs,
                    **asdict(spread),
                )
            )
    return found
