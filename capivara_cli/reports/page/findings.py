"""The results of several runs: their rows joined with those of the base model, and averaged over seeds."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from capivara_cli.evaluation.metric_names import of_metric
from capivara_cli.evaluation.results import DisparityRow, ScoredRow
from capivara_cli.reports.page.read_run import Run
from capivara_cli.reports.tables.table import set_label

Interval = tuple[float, float]


@dataclass(frozen=True)
class Variant:
    """Runs whose options differ only in the seed."""

    runs: tuple[Run, ...]

    @property
    def first(self) -> Run:
        return self.runs[0]

    @property
    def name(self) -> str:
        """The common part of its runs' names."""
        return self.first.name if len(self.runs) == 1 else self.first.name.partition("-seed")[0]


def variants(runs: Sequence[Run]) -> list[Variant]:
    """Group the runs by their options and data, in the given order."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        options = {key: value for key, value in run.request.items() if key != "seed"}
        options["data"] = run.document.get("data", {}).get("fingerprint")
        groups.setdefault(repr(sorted(options.items())), []).append(run)
    return [Variant(tuple(group)) for group in groups.values()]


@dataclass(frozen=True)
class Outcome:
    """Results on one set in one language: of the base model (``before``), a variant (``after``), all (``rows``)."""

    part: str
    rows: tuple[ScoredRow, ...]
    before: ScoredRow | None
    after: tuple[ScoredRow, ...]

    @property
    def head(self) -> ScoredRow:
        return self.rows[0]

    @property
    def lang(self) -> str:
        return self.head.lang

    @property
    def set_label(self) -> str:
        """The set and its split."""
        return set_label(self.head)

    @property
    def metric(self) -> str:
        return of_metric(self.head.metric).name

    @property
    def is_complete(self) -> bool:
        """Whether both the base model and the variant were measured."""
        return self.before is not None and bool(self.after)

    @property
    def scores(self) -> list[float]:
        return [row.score for row in self.after]

    @property
    def baseline(self) -> float:
        if self.before is None:
            raise ValueError("there is no base model to compare with")
        return self.before.score

    @property
    def gain(self) -> float:
        return statistics.fmean(self.scores) - self.baseline

    @property
    def std(self) -> float | None:
        return statistics.stdev(self.scores) if len(self.scores) > 1 else None

    @property
    def gain_interval(self) -> Interval | None:
        """The 95 % interval of the difference; with several runs, from their lowest to their highest bound."""
        return _hull(row.versus.interval for row in self.after if row.versus)

    @property
    def interval(self) -> Interval | None:
        """Like ``gain_interval``, for the score."""
        return _hull(row.interval for row in self.after)

    @property
    def p(self) -> float | None:
        """The largest p-value of the runs, adjusted for the number of comparisons if known; None if a run has none."""
        found = [row.versus.probability if row.versus else None for row in self.after]
        known = [p for p in found if p is not None]
        return max(known) if known and len(known) == len(found) else None

    @property
    def is_translated(self) -> bool:
        return any(row.machine_translated for row in self.rows)


def _hull(intervals: Iterable[Sequence[float] | None]) -> Interval | None:
    known = [each for each in intervals if each is not None]
    return (min(low for low, _ in known), max(high for _, high in known)) if known else None


def outcomes(runs: Sequence[Run], variant: Variant, part: str) -> list[Outcome]:
    """Join the rows of all runs by set, language and mode, in the order of the first run's eval.json.

    ``part`` is "retrieval" or "classification".
    """
    groups: dict[tuple[str, ...], dict[str, ScoredRow]] = {}
    for run in [*variant.runs, *runs]:
        rows: Sequence[ScoredRow] = getattr(run.results, part)
        for row in rows:
            groups.setdefault((row.set, row.split, row.lang, row.mode), {}).setdefault(row.model, row)
    found = []
    for models in groups.values():
        after = [row for run in variant.runs for row in models.values() if run.is_model(row.model)]
        found.append(Outcome(part, tuple(models.values()), _baseline(models, after, runs), tuple(after)))
    return found


def _baseline(rows: dict[str, ScoredRow], after: Sequence[ScoredRow], runs: Sequence[Run]) -> ScoredRow | None:
    """The row that the others are compared with: the one they name, else the first that belongs to no run."""
    for row in after:
        if row.versus and row.versus.model in rows:
            return rows[row.versus.model]
    others = [row for row in rows.values() if not row.versus and not any(run.is_model(row.model) for run in runs)]
    return others[0] if others else None


def ordered(found: Sequence[Outcome], trained: Sequence[str]) -> list[Outcome]:
    """Sort by language: the trained ones first, then English, then the rest in their order."""

    def rank(each: Outcome) -> int:
        return trained.index(each.lang) if each.lang in trained else len(trained) + (each.lang != "en")

    return sorted(found, key=rank)


@dataclass(frozen=True)
class Spread:
    """Disparity between the languages of a set: before, and after adaptation averaged over runs.

    ``worst`` and ``gaps`` (points behind English, by language) are pairs of before and after.
    """

    set_label: str
    metric: str
    languages: tuple[str, ...]
    before: DisparityRow
    after: dict[str, float]
    worst: tuple[str, str]
    gaps: tuple[dict[str, float], dict[str, float]]


def spreads(runs: Sequence[Run], variant: Variant) -> list[Spread]:
    """Return the disparities before and after, for each set and metric that has a base model."""
    groups: dict[tuple[str, str, str], dict[str, DisparityRow]] = {}
    for run in [*variant.runs, *runs]:
        for row in run.results.disparity:
            groups.setdefault((row.set, row.split, row.metric), {}).setdefault(row.model, row)
    found = []
    for rows in groups.values():
        after = [row for run in variant.runs for row in rows.values() if run.is_model(row.model)]
        before = next((row for row in rows.values() if not any(run.is_model(row.model) for run in runs)), None)
        if before is None or not after:
            continue
        means = {key: statistics.fmean(getattr(row, key) for row in after) for key in ("range", "std")}
        gaps = [row.gap_to_english or {} for row in after]
        mean_gaps = {lang: statistics.fmean(gap[lang] for gap in gaps if lang in gap) for lang in gaps[0]}
        found.append(
            Spread(
                set_label(before),
                of_metric(before.metric).name,
                before.languages,
                before,
                means,
                (before.worst, after[0].worst),
                (before.gap_to_english or {}, mean_gaps),
            )
        )
    return found


@dataclass(frozen=True)
class Findings:
    """All results of some runs. The page is about the first variant."""

    runs: tuple[Run, ...]
    variants: tuple[Variant, ...]
    retrieval: tuple[Outcome, ...]
    classification: tuple[Outcome, ...]
    spreads: tuple[Spread, ...]

    @property
    def variant(self) -> Variant:
        return self.variants[0]

    @property
    def trained(self) -> list[str]:
        """The codes of the languages that the variant was trained in."""
        return self.variant.first.languages

    @property
    def outcomes(self) -> list[Outcome]:
        return [*self.retrieval, *self.classification]

    @property
    def main(self) -> Outcome | None:
        """The outcome of the headline: the first set in a trained language, retrieval before classification."""
        complete = [each for each in self.outcomes if each.is_complete]
        return next((each for each in complete if each.lang in self.trained), complete[0] if complete else None)


def findings(runs: Sequence[Run]) -> Findings:
    """Join the runs; those whose options equal the first one's, but for the seed, are its variant."""
    groups = variants(runs)
    trained = groups[0].first.languages
    retrieval, classification = (
        tuple(ordered(outcomes(runs, groups[0], part), trained)) for part in ("retrieval", "classification")
    )
    return Findings(tuple(runs), tuple(groups), retrieval, classification, tuple(spreads(runs, groups[0])))
