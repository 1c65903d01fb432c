"""Confusion matrices: the true classes and what the model answered, before and after (the paper's Figures A2 to A5)."""

from __future__ import annotations

from collections.abc import Sequence

from capivara_cli.evaluation.results import ClassificationRow, ConfusionMatrix, ScoredRow
from capivara_cli.reports.page import charts
from capivara_cli.reports.page.command_lines import eval_command
from capivara_cli.reports.page.findings import Findings, Outcome
from capivara_cli.reports.page.markup import Section, escaped, folded, folds, language, missing, score

_OPEN = 2
_PAIRS = 8
_CROWDED = 40  # classes; of more, cells below ``_FAINT`` of their row are left out of the picture
_FAINT = 0.02


def confusions(found: Findings) -> Section:
    """A heat map of the base model beside one of the run for each set, in the language that was taught."""
    title = "Confusion matrix"
    shown = [each for each in found.classification if any(_has_confusions(row) for row in each.rows)]
    taught = [each for each in shown if each.lang in found.taught] or shown
    if not taught:
        text = "No classification with a confusion matrix is in eval.json. A set with classes, for example:"
        return Section("confusions", title, "", missing(text, eval_command(found.variant.runs, ["elevater"])))
    body = folds(
        folded(_title(each), _pair(each), opened=number < _OPEN and _is_small(each))
        for number, each in enumerate(taught)
    )
    intro = (
        "Rows are the true classes, columns what the model said; brown is right, red is a confusion, and the "
        "stronger the colour, the larger the share of the class."
    )
    if len(found.variant.runs) > 1:
        intro += f" Of the seeds, {found.variant.first.name} is shown."
    if rest := sorted({each.lang for each in shown} - {each.lang for each in taught}):
        intro += f" Those in {', '.join(rest)} are in eval.json."
    return Section("confusions", title, intro, body)


def _has_confusions(row: ScoredRow) -> bool:
    return isinstance(row, ClassificationRow) and bool(_matrix(row) or row.confused)


def _matrix(row: ClassificationRow) -> ConfusionMatrix | None:
    matrix = row.confusion
    return matrix if matrix and len(matrix.names) == len(matrix.counts) > 0 else None


def _is_small(outcome: Outcome) -> bool:
    head = outcome.head
    return not isinstance(head, ClassificationRow) or not head.confusion or len(head.confusion.names) <= _CROWDED


def _title(outcome: Outcome) -> str:
    mode = outcome.head.mode
    more = "" if mode == "zero-shot" else f", {mode}"
    return f"<b>{escaped(outcome.place)}</b> <small>{escaped(language(outcome.lang) + more)}</small>"


def _pair(outcome: Outcome) -> str:
    sides = [("before", outcome.before), ("after", outcome.after[0] if outcome.after else None)]
    drawn = [_side(when, row, outcome) for when, row in sides if isinstance(row, ClassificationRow)]
    return f'<div class="pair">{"".join(drawn)}</div>'


def _side(when: str, row: ClassificationRow, outcome: Outcome) -> str:
    drawn = ""
    if matrix := _matrix(row):
        alt = f"{outcome.place} {when}: confusion matrix of {len(matrix.names)} classes"
        counts = _without_faint(matrix.counts)
        drawn = f'<div class="scroll" tabindex="0">{charts.confusion(counts, matrix.names, alt)}</div>'
    pairs = "".join(
        f"<li>{escaped(true)} <span class='soft'>taken for</span> {escaped(said)} <b>{count:,}</b></li>"
        for true, said, count in row.confused[:_PAIRS]
    )
    most = f"<h4>Most confused</h4><ol class='confused'>{pairs}</ol>" if pairs else ""
    head = f"{when}: {score(row.score)} {outcome.metric}"
    return f"<div><h4>{escaped(head)} <small>{escaped(row.model)}</small></h4>{drawn}{most}</div>"


def _without_faint(counts: Sequence[Sequence[int]]) -> Sequence[Sequence[int]]:
    if len(counts) <= _CROWDED:
        return counts
    return [[count if count >= _FAINT * sum(row) else 0 for count in row] for row in counts]
