"""The results of ``adapt``: each language before and after training, averaged over the seeds."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from capivara_cli.evaluation.results import MEAN_RECALL, PEOPLE, EvalResults, Interval, RecallVariant, RetrievalRow
from capivara_cli.reports.tables import terminal
from capivara_cli.reports.tables.table import Group, Table, cells, columns, interval, synthetic_note, translated_note


@dataclass(frozen=True)
class Change:
    """Mean recall on one language of a set, in percent: of the first model, and averaged over the other models.

    The others are runs that differ in their seed. ``std``: the sample standard deviation, None for one run.
    ``synthetic``: a captioner wrote captions of the set. ``machine_translated``: some are translations. ``people``:
    only captions that people wrote in the language, of a set that also has others. The intervals are of 95 % over
    images, with bounds averaged over the runs.
    """

    set: str
    lang: str
    baseline: float
    adapted: float
    std: float | None
    gain: float
    synthetic: bool = False
    machine_translated: bool = False
    people: bool = False
    n_images: int | None = None
    adapted_interval: Interval | None = None
    gain_interval: Interval | None = None


@dataclass(frozen=True)
class SpreadChange:
    """The disparity of mean recall between the languages of a set, as (before, after) in points.

    "After" is the mean over the runs.
    """

    set: str
    range: tuple[float, float]
    std: tuple[float, float]


def changes(results: EvalResults) -> list[Change]:
    """The change for each set and language that was measured for several models."""
    found = []
    for name, lang in dict.fromkeys((row.set, row.lang) for row in results.retrieval):
        rows = [row for row in results.retrieval if (row.set, row.lang) == (name, lang)]
        if len(rows) > 1:
            synthetic, translated = (
                any(getattr(row, key) for row in rows) for key in ("synthetic", "machine_translated")
            )
            found.append(_change(name, lang, rows, synthetic=synthetic, machine_translated=translated))
            people = [row.variants[PEOPLE] for row in rows if PEOPLE in row.variants]
            if len(people) == len(rows):
                found.append(_change(name, lang, people, people=True))
    return found


def _change(name: str, lang: str, rows: Sequence[RetrievalRow | RecallVariant], **about: bool) -> Change:
    """The change between the first row and the others."""
    before, *after = rows
    scores = [row.mean_recall for row in after]
    mean = statistics.fmean(scores)
    return Change(
        name,
        lang,
        before.mean_recall,
        mean,
        statistics.stdev(scores) if len(scores) > 1 else None,
        mean - before.mean_recall,
        n_images=before.n_images,
        adapted_interval=_mean_interval(row.interval for row in after),
        gain_interval=_mean_interval(row.versus.interval if row.versus else None for row in after),
        **about,
    )


def _mean_interval(intervals: Iterable[Interval | None]) -> Interval | None:
    """The interval with the mean of all lower and of all upper bounds; None if one is missing."""
    found = list(intervals)
    known = [each for each in found if each is not None]
    if not known or len(known) < len(found):
        return None
    return statistics.fmean(low for low, _ in known), statistics.fmean(high for _, high in known)


def spread_changes(results: EvalResults) -> list[SpreadChange]:
    """The change for each set whose disparity was measured for several models."""
    rows = [row for row in results.disparity if row.metric == MEAN_RECALL]
    found = []
    for name in dict.fromkeys(row.set for row in rows):
        before, *after = [row for row in rows if row.set == name]
        if after:
            spread = statistics.fmean(row.range for row in after), statistics.fmean(row.std for row in after)
            found.append(SpreadChange(name, (before.range, spread[0]), (before.std, spread[1])))
    return found


def text(results: EvalResults, target: str) -> str:
    """The table of ``changes``, where an arrow marks the language ``target``, and a line per ``spread_changes``."""
    lines = [
        f"disparity between languages on {each.set}: range {each.range[0]:.1f} → {each.range[1]:.1f}, "
        f"std {each.std[0]:.1f} → {each.std[1]:.1f} points"
        for each in spread_changes(results)
    ]
    found = changes(results)
    parts = [terminal.text(_table(found, target)), *lines, "\n".join(_notes(results, found))]
    return "\n\n".join(filter(None, parts))


def _notes(results: EvalResults, found: Sequence[Change]) -> Iterator[str]:
    if any(row.gain_interval for row in found):
        runs = ", mean over the runs" if any(row.std is not None for row in found) else ""
        yield f"95 %: where the value lies with other images of the same kind (bootstrap over images{runs})"
    yield from filter(None, [translated_note(results.retrieval), synthetic_note(results.retrieval)])
    if any(row.people for row in found):
        yield "(people): only the captions that people wrote in this language, and the images that have one"


def _table(rows: Sequence[Change], target: str) -> Table:
    several_runs, sets = any(row.std is not None for row in rows), list(dict.fromkeys(row.set for row in rows))
    body = tuple(
        cells(
            [
                _label(row, target),
                *[row.set] * (len(sets) > 1),
                "" if row.n_images is None else f"{row.n_images:,}",
                f"{row.baseline:.1f}",
                f"{row.adapted:.1f}" + (f" ± {row.std:.1f}" if several_runs else ""),
                interval(row.adapted_interval),
                f"{row.gain:+.1f}",
                "—" if row.gain_interval is None else "{:+.1f} to {:+.1f}".format(*row.gain_interval),
            ]
        )
        for row in rows
    )
    names = ["lang", *["set"] * (len(sets) > 1), "images", "baseline", "adapted", "95 %", "gain", "95 %"]
    where = f", on {sets[0]}" if len(sets) == 1 else ""
    title = f"mean recall (R@1/5/10, both directions), percent{where}"
    return Table(title, columns(names, ("lang", "set")), (Group("", body),))


def _label(row: Change, target: str) -> str:
    marks = " (MT)" * row.machine_translated + " (synthetic)" * row.synthetic + " (people)" * row.people
    return row.lang + " ←" * (row.lang == target) + marks
