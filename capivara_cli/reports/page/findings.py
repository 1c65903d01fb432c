"""The results of several runs: their rows joined with those of the base model, and averaged over seeds."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from capivara_cli.evaluation.metric_names import of_metric
from capivara_cli.evaluation.results import DisparityRow, ScoredRow
from capivara_cli.reports.page.read_run import Run
from capivara_cli.reports.tables.table import LEVEL, set_label

Interval = tuple[float, float]
Row = TypeVar("Row", ScoredRow, DisparityRow)


@dataclass(frozen=True)
class Repeat:
    """A run with the options, data and seed of another one: it is the same run again, not another seed."""

    run: Run
    of: Run


@dataclass(frozen=True)
class Variant:
    """Runs whose options differ only in the seed, one for each seed. ``repeats`` are further runs with these seeds."""

    runs: tuple[Run, ...]
    repeats: tuple[Repeat, ...] = ()

    @property
    def first(self) -> Run:
        return self.runs[0]

    @property
    def name(self) -> str:
        """The common part of its runs' names."""
        return self.first.name if len(self.runs) == 1 else self.first.name.partition("-seed")[0]


def variants(runs: Sequence[Run]) -> list[Variant]:
    """Group the runs by everything that determines their result but the seed, in the given order."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(repr(sorted(settings(run).items())), []).append(run)
    return [_variant(group) for group in groups.values()]


def settings(run: Run) -> dict[str, Any]:
    """What determines the result of a run beside its seed: its options, and the digests of what they name.

    ``data``: the fingerprint of the training data. ``base model``: the digests of its towers. ``files``: those of other
    files. ``batch``: sizes and precision, which an option may leave to the machine.
    """
    document = run.document
    base, batch = document.get("base", {}), document.get("batch", {})
    return {
        **{name: value for name, value in run.request.items() if name != "seed"},
        "data": document.get("data", {}).get("fingerprint"),
        "base model": (base.get("image"), base.get("text")),
        "files": sorted(document.get("contents", {}).items()),
        "batch": [batch.get(name) for name in ("size", "kept", "precision")],
    }


def _variant(runs: Sequence[Run]) -> Variant:
    """The runs with one for each seed: the first that has results, or the first."""
    by_seed: dict[int, list[Run]] = {}
    for run in runs:
        by_seed.setdefault(run.request.get("seed", 0), []).append(run)
    chosen = [next((run for run in same if run.results.rows), same[0]) for same in by_seed.values()]
    repeats = [
        Repeat(run, of) for same, of in zip(by_seed.values(), chosen, strict=True) for run in same if run is not of
    ]
    return Variant(tuple(chosen), tuple(repeats))


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
    def n_significant(self) -> int:
        """The number of runs that differ significantly from the base model, in the direction of their mean."""
        alike = [row for row in self.after if row.versus and row.versus.difference * self.gain > 0]
        return sum(1 for row in alike if is_significant(row))

    @property
    def significant(self) -> bool | None:
        """Whether every run differs significantly, in the direction of their mean; None if a run was not tested."""
        return None if self.p is None else self.n_significant == len(self.after)

    @property
    def is_translated(self) -> bool:
        return any(row.machine_translated for row in self.rows)


def is_significant(row: ScoredRow) -> bool | None:
    """Whether a row differs significantly from the one it is compared with; None if that was not tested."""
    p = row.versus.probability if row.versus else None
    return None if p is None else p < LEVEL


def _hull(intervals: Iterable[Sequence[float] | None]) -> Interval | None:
    known = [each for each in intervals if each is not None]
    return (min(low for low, _ in known), max(high for _, high in known)) if known else None


def outcomes(runs: Sequence[Run], variant: Variant, part: str) -> list[Outcome]:
    """Join the rows of all runs by set, language and mode, in the order of the first run's eval.json.

    ``part`` is "retrieval" or "classification".
    """

    def key(row: ScoredRow) -> tuple[str, ...]:
        return row.set, row.split, row.lang, row.mode

    def rows(run: Run) -> Sequence[ScoredRow]:
        return getattr(run.results, part)  # type: ignore[no-any-return]

    return [
        Outcome(part, tuple(models.values()), _baseline(models, after, runs), tuple(after))
        for models, after in _joined(runs, variant, rows, key)
    ]


def _joined(
    runs: Sequence[Run], variant: Variant, rows: Callable[[Run], Sequence[Row]], key: Callable[[Row], tuple[str, ...]]
) -> Iterator[tuple[dict[str, Row], list[Row]]]:
    """Yield, for each key, the rows of all runs by model, and those of the variant: at most one for each of its runs.

    A run's own results say most surely which row is its own: another run may have the same name.
    """
    groups: dict[tuple[str, ...], dict[str, Row]] = {}
    for run in [*variant.runs, *runs]:
        for row in rows(run):
            groups.setdefault(key(row), {}).setdefault(row.model, row)
    for name, models in groups.items():
        after: list[Row] = []
        for run in variant.runs:
            own = _row_of(run, [row for row in rows(run) if key(row) == name])
            found = own or _row_of(run, [row for row in models.values() if row not in after])
            after += [found] if found else []
        yield models, after


def _row_of(run: Run, rows: Sequence[Row]) -> Row | None:
    """The row of a run: of several with its name, the one whose model is most like its path."""
    path = run.path.resolve().parts[::-1]

    def alike(row: Row) -> int:
        parts = Path(row.model).parts[::-1]
        return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(parts, path, strict=False)))

    return max((row for row in rows if run.is_model(row.model)), key=alike, default=None)


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

    def key(row: DisparityRow) -> tuple[str, ...]:
        return row.set, row.split, row.metric

    found = []
    for rows, after in _joined(runs, variant, lambda run: run.results.disparity, key):
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
    def repeats(self) -> list[Repeat]:
        """The runs that are no other seed, because they have the options and the seed of another run."""
        return [repeat for variant in self.variants for repeat in variant.repeats]

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
