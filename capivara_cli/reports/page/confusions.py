"""Confusion matrices before and after adaptation (the paper's Figures A2 to A5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from capivara_cli.evaluation.results import ClassificationRow, ConfusionMatrix, ScoredRow
from capivara_cli.reports.page import charts
from capivara_cli.reports.page.command_lines import eval_command
from capivara_cli.reports.page.findings import Findings, Outcome
from capivara_cli.reports.page.formats import language, score
from capivara_cli.reports.page.section import Missing, Section

_OPEN = 2
_PAIRS = 8
_CROWDED = 40  # with more classes, the chart omits cells below ``_FAINT`` of their row
_FAINT = 0.02


def confusions(found: Findings) -> Section:
    """Show a heat map of the base model beside one of the run, for each set in the trained languages."""
    title = "Confusion matrix"
    shown = [each for each in found.classification if any(_has_confusions(row) for row in each.rows)]
    trained = [each for each in shown if each.lang in found.trained] or shown
    if not trained:
        text = "eval.json has no classification results with a confusion matrix. To measure some, for example:"
        missing = Missing(text, eval_command(found.variant.runs, ["elevater"]))
        return Section("confusions", title, missing=missing)
    intro = (
        "Rows are the true classes, columns the predicted ones. Brown is right, red is wrong; a stronger colour "
        "means a larger share of the class."
    )
    if len(found.variant.runs) > 1:
        intro += f" The run shown is {found.variant.first.name}."
    if rest := sorted({each.lang for each in shown} - {each.lang for each in trained}):
        intro += f" The matrices for {', '.join(rest)} are in eval.json."
    pairs = [_pair(each, opened=number < _OPEN and _is_small(each)) for number, each in enumerate(trained)]
    return Section("confusions", title, intro, {"pairs": pairs})


def _has_confusions(row: ScoredRow) -> bool:
    return isinstance(row, ClassificationRow) and bool(_matrix(row) or row.confused)


def _matrix(row: ClassificationRow) -> ConfusionMatrix | None:
    matrix = row.confusion
    return matrix if matrix and len(matrix.names) == len(matrix.counts) > 0 else None


def _is_small(outcome: Outcome) -> bool:
    head = outcome.head
    return not isinstance(head, ClassificationRow) or not head.confusion or len(head.confusion.names) <= _CROWDED


def _pair(outcome: Outcome, *, opened: bool) -> dict[str, Any]:
    mode = outcome.head.mode
    about = language(outcome.lang) + ("" if mode == "zero-shot" else f", {mode}")
    rows = [("before", outcome.before), ("after", outcome.after[0] if outcome.after else None)]
    sides = [_side(when, row, outcome) for when, row in rows if isinstance(row, ClassificationRow)]
    return {"title": outcome.set_label, "about": about, "lang": outcome.lang, "opened": opened, "sides": sides}


def _side(when: str, row: ClassificationRow, outcome: Outcome) -> dict[str, Any]:
    chart = None
    if matrix := _matrix(row):
        alt = f"{outcome.set_label} {when}: confusion matrix of {len(matrix.names)} classes"
        chart = charts.confusion(_without_faint(matrix.counts), matrix.names, alt, outcome.lang)
    title = f"{when}: {score(row.score)} {outcome.metric}"
    return {"title": title, "model": row.model, "chart": chart, "confused": row.confused[:_PAIRS]}


def _without_faint(counts: Sequence[Sequence[int]]) -> Sequence[Sequence[int]]:
    if len(counts) <= _CROWDED:
        return counts
    return [[count if count >= _FAINT * sum(row) else 0 for count in row] for row in counts]
