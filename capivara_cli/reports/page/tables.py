"""All rows of eval.json as tables, one for each set, with the trained languages first."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from capivara_cli.evaluation.evalset import Provenance
from capivara_cli.evaluation.metric_names import DIRECTIONS, of_metric
from capivara_cli.evaluation.results import ClassificationRow, RecallVariant, RetrievalRow, ScoredRow
from capivara_cli.reports.page.findings import Findings, Outcome, is_significant
from capivara_cli.reports.page.formats import language, points, score
from capivara_cli.reports.page.section import Section
from capivara_cli.reports.tables.table import (
    NONE,
    Cell,
    Column,
    Group,
    Table,
    cells,
    columns,
    queries_translated_by,
    synthetic_note,
    versus_heading,
)

_OPEN = 2  # with more sets, the tables are closed and a summary stands above them
_Row = tuple[tuple[Cell, ...], str]
"""The cells of a row, and its role."""


@dataclass(frozen=True)
class _SetTable:
    """The table of a set, and the (language, prompt) into which its captions were inserted."""

    table: Table
    prompts: list[tuple[str, str]]


@dataclass(frozen=True)
class _Task:
    """Retrieval or classification: a table for each set, and a summary if there are many sets."""

    title: str
    summary: Table | None
    tables: list[_SetTable]


def tables(found: Findings) -> Section | None:
    """Show retrieval, then classification; None without a row."""
    if not found.outcomes:
        return None
    tasks = [
        _task("Retrieval", found.retrieval, found, _retrieval),
        _task("Classification", found.classification, found, _classification),
    ]
    intro = (
        "All scores are in percent. Differences are in points; * marks those that are significant (p < 0.05, adjusted "
        "for the number of comparisons), n.s. and grey those that are not. T→I: text to image, I→T: image to text."
    )
    return Section("tables", "Results in full", intro, {"tasks": [task for task in tasks if task.tables]})


def _task(
    title: str, outcomes: Sequence[Outcome], found: Findings, table: Callable[[Sequence[Outcome]], Table]
) -> _Task:
    tables = []
    for label in dict.fromkeys(each.set_label for each in outcomes):
        own = [each for each in outcomes if each.set_label == label]
        head = own[0].head
        size = f"{head.n_images:,} images" if head.n_images else ""
        size += f", {head.n_classes:,} classes" if isinstance(head, ClassificationRow) and head.n_classes else ""
        made = replace(table(own), title=label, caption=size, notes=tuple(_footnotes(own)))
        tables.append(_SetTable(made, _prompts(own)))
    return _Task(title, _summary(outcomes, found) if len(tables) > _OPEN else None, tables)


def _summary(outcomes: Sequence[Outcome], found: Findings) -> Table:
    """A row for each set in each trained language."""
    shown = [each for each in outcomes if each.lang in found.trained] or outcomes
    texts = ("set", "language", "metric")
    rows = []
    for each in shown:
        adapted = Cell(NONE)
        if each.after:
            std = () if each.std is None else (Cell(f"± {each.std:.1f}"),)
            adapted = Cell(score(statistics.fmean(each.scores)), strong=True, notes=std)
        base = score(each.baseline) if each.before else NONE
        gain = points(each.gain, each.significant) if each.is_complete else ""
        about = [each.set_label, language(each.lang) + " (MT)" * each.is_translated, each.metric]
        rows.append(cells([*about, f"{each.head.n_images or 0:,}", base, adapted, gain]))
    return Table.of_rows("", columns([*texts, "images", "base model", "adapted", _versus(shown)], texts), rows)


def _versus(outcomes: Sequence[Outcome]) -> str:
    """The heading of the differences: ``vs toy``, or ``difference`` if nothing is compared."""
    models = [row.versus.model for outcome in outcomes for row in outcome.after if row.versus]
    models += [outcome.before.model for outcome in outcomes if outcome.before]
    return versus_heading(models[0]) if models else "difference"


def _table(headings: Sequence[Column], rows: Sequence[_Row]) -> Table:
    group = Group("", tuple(line for line, _ in rows), tuple(role for _, role in rows))
    return Table("", tuple(headings), (group,))


def _retrieval(outcomes: Sequence[Outcome]) -> Table:
    shown = _lines(outcomes)
    ks = [key for key in shown[0].row.text_to_image if key != "mean"]
    headings = [Column("language", numeric=False), Column("model", numeric=False)]
    headings += [Column(key, over=over) for over in ("text to image", "image to text") for key in ks]
    headings += [Column(way, over="median rank") for way in ("T→I", "I→T")]
    headings += [Column(name) for name in ("mean recall", "95 % interval", _versus(outcomes))]
    rows = []
    for each in shown:
        row = each.row
        ranks = [_rank(row.median_rank.get(way)) for way in DIRECTIONS]
        numbers = [*_recalls(row, ks), *ranks, Cell(score(row.mean_recall), strong=True)]
        rows.append((cells([*each.label, *numbers, *each.compared]), each.role))
        for name, other in row.variants.items():
            numbers = [*_recalls(other, ks), "", "", score(other.mean_recall)]
            rows.append((cells(["", name, *numbers, "", ""]), "variant"))
    return _table(headings, rows)


def _recalls(row: RetrievalRow | RecallVariant, ks: Sequence[str]) -> list[str | Cell]:
    return [score(getattr(row, way).get(key)) for way in DIRECTIONS for key in ks]


def _rank(value: float | None) -> str:
    return NONE if value is None else f"{round(value, 1):,g}"


def _classification(outcomes: Sequence[Outcome]) -> Table:
    shown = _lines(outcomes)
    texts = ("language", "model", "mode", "metric")
    more = {"top-1": "top1", "top-5": "top5", "per class": "mean_per_class", "mAP": "map_11_point", "AUC": "roc_auc"}
    extra = {name: key for name, key in more.items() if any(getattr(each.row, key) is not None for each in shown)}
    rows = []
    for each in shown:
        row = each.row
        found = [row.mode, of_metric(row.metric).name, Cell(score(row.score), strong=True), *each.compared]
        rows.append((cells([*each.label, *found, *(score(getattr(row, key)) for key in extra.values())]), each.role))
    return _table(columns([*texts, "score", "95 % interval", _versus(outcomes), *extra], texts), rows)


@dataclass(frozen=True)
class _Line:
    """A row of results: the cells of language and model, those of interval and difference, and its role."""

    label: list[str | Cell]
    row: Any  # all of a table are either ``RetrievalRow`` or ``ClassificationRow``
    compared: list[str | Cell]
    role: str


def _lines(outcomes: Sequence[Outcome]) -> list[_Line]:
    """For each outcome: the base model, the runs, their mean, and the other models."""
    lines: list[_Line] = []
    for outcome in outcomes:
        others = [row for row in outcome.rows if row is not outcome.before and row not in outcome.after]
        named = [(outcome.before, "before")] if outcome.before else []
        named += [(row, "after") for row in outcome.after] + [(row, "other") for row in others]
        own = []
        for number, (row, role) in enumerate(named):
            marks = "†" * bool(row.queries_by) + " (MT)" * row.machine_translated + " (synthetic)" * row.synthetic
            names_language = number == 0 or marks != " (MT)" * outcome.is_translated
            lang = language(outcome.lang) + marks if names_language else ""
            model = Cell(row.model, notes=(Cell("base"),) if role == "before" else ())
            own.append(_Line([lang, model], row, _compared(row), f"{role} first" if number == 0 else role))
        if len(outcome.after) > 1:
            spread = [f"± {outcome.std:.1f}", points(outcome.gain, outcome.significant) if outcome.before else ""]
            mean = _Line(["", "mean ± std"], _mean(outcome.after), spread, "after mean")
            own.insert(len(outcome.after) + bool(outcome.before), mean)
        lines += own
    return lines


def _mean(rows: Sequence[ScoredRow]) -> ScoredRow:
    """Return the first row with each number averaged over the rows; a number that any row lacks is dropped."""
    means: dict[str, Any] = {}
    for field in fields(rows[0]):
        values = [getattr(row, field.name) for row in rows]
        if all(isinstance(value, dict) for value in values):
            names = [name for name in values[0] if all(name in value for value in values)]
            numbers = {name: [value[name] for value in values] for name in names}
            means[field.name] = {name: statistics.fmean(each) for name, each in numbers.items() if _are_numbers(each)}
        elif _are_numbers(values):
            means[field.name] = statistics.fmean(values)
        elif values[0] is None or isinstance(values[0], int | float):
            means[field.name] = None
    means.update({name: False for name in ("machine_translated", "synthetic") if name in means})
    return replace(rows[0], **means)


def _are_numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _compared(row: ScoredRow) -> list[str | Cell]:
    """The cells of the interval and of the difference."""
    interval = NONE if row.interval is None else "–".join(score(bound) for bound in row.interval)
    if row.versus is None:
        return [interval, ""]
    return [interval, points(row.versus.difference, is_significant(row))]


def _footnotes(outcomes: Sequence[Outcome]) -> list[str]:
    rows = [row for outcome in outcomes for row in outcome.rows]
    lines = []
    by = dict.fromkeys(name for row in rows if row.machine_translated for name in _translators(row))
    if any(row.machine_translated for row in rows):
        translators = f" ({', '.join(by)})" if by else ""
        lines.append(f"(MT): machine-translated{translators}, not written by speakers")
    lines += filter(None, [synthetic_note(rows)])
    if translator := queries_translated_by(rows):
        lines.append(
            f"† queries machine-translated first ({translator}), because this model was trained on translated queries"
        )
    heads = [each.head for each in outcomes if isinstance(each.head, RetrievalRow)]
    return lines + [
        f"{language(row.lang)}: {row.n_uncaptioned} images have no caption and count as misses, image to text"
        for row in heads
        if row.n_uncaptioned
    ]


def _prompts(outcomes: Sequence[Outcome]) -> list[tuple[str, str]]:
    rows = [row for outcome in outcomes for row in outcome.rows if isinstance(row, RetrievalRow)]
    return list(dict.fromkeys((row.lang, row.prompt) for row in rows if row.prompt))


def _translators(row: ScoredRow) -> list[str]:
    """Return who translated the captions, or the class names and templates."""
    known = row.provenance or Provenance()
    names = row.names_by if isinstance(row, ClassificationRow) else ""
    return list(known.captions_by or {}) or [name for name in [names or known.by] if name]
