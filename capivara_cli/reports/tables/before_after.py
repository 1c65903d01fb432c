"""The results of ``adapt``: each language before and after training, averaged over the seeds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from capivara_cli.evaluation.results import MEAN_RECALL, EvalResults
from capivara_cli.reports.tables import terminal
from capivara_cli.reports.tables.table import Group, Table, cells, columns, synthetic_note


@dataclass(frozen=True)
class Change:
    """Mean recall on one language of a set, in percent: of the first model, and averaged over the other models.

    The others are runs that differ in their seed. ``std``: the sample standard deviation, None for one run.
    ``synthetic``: a captioner wrote captions of the set.
    """

    set: str
    lang: str
    baseline: float
    adapted: float
    std: float | None
    gain: float
    synthetic: bool = False


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
        before, *after = [row.mean_recall for row in rows]
        if after:
            mean = statistics.fmean(after)
            std = statistics.stdev(after) if len(after) > 1 else None
            synthetic = any(row.synthetic for row in rows)
            found.append(Change(name, lang, before, mean, std, mean - before, synthetic))
    return found


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
    notes = filter(None, [synthetic_note(results.retrieval)])
    return "\n\n".join([terminal.text(_table(changes(results), target)), *lines, *notes])


def _table(rows: Sequence[Change], target: str) -> Table:
    several = any(row.std is not None for row in rows)
    body = tuple(
        cells(
            [
                f"{row.lang} ←" if row.lang == target else row.lang,
                row.set + " (synthetic)" * row.synthetic,
                f"{row.baseline:.1f}",
                f"{row.adapted:.1f}" + (f" ± {row.std:.1f}" if several else ""),
                f"{row.gain:+.1f}",
            ]
        )
        for row in rows
    )
    headings = columns(["lang", "set", "baseline", "adapted", "gain"], ("lang", "set"))
    return Table("mean recall (R@1/5/10, both directions), percent", headings, (Group("", body),))
