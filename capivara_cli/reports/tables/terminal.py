"""Tables of an evaluation for the terminal: one per task, with all sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from capivara_cli import console
from capivara_cli.evaluation.metric_names import ARROWS, of_metric
from capivara_cli.evaluation.results import (
    ZERO_SHOT,
    ClassificationRow,
    DisparityRow,
    EvalResults,
    RetrievalRow,
    ScoredRow,
)
from capivara_cli.reports.tables.table import (
    Cell,
    Group,
    Table,
    cells,
    columns,
    difference,
    first_model,
    interval,
    number,
    queries_translated_by,
    synthetic_note,
    translated_note,
    versus_heading,
)

_Scored = TypeVar("_Scored", bound=ScoredRow)
_LONGEST = 16  # characters of a model's name in the heading of a column


def text(table: Table) -> str:
    """A table as lines of text: title, aligned columns, notes."""
    body = [[cell.text for cell in row] for group in table.groups for row in group.rows]
    return "\n".join([table.title, console.table(body, [each.name for each in table.columns]), *table.notes])


def tables(results: EvalResults) -> str:
    """One table per task with all sets; for several models, with the difference of each from the first."""
    found = []
    if results.retrieval:
        found.append(_retrieval(results.retrieval))
    if results.classification:
        found.append(_classification(results.classification))
    if results.disparity:
        found.append(_disparity(results.disparity))
    return "\n\n".join(map(text, found))


def _retrieval(rows: Sequence[RetrievalRow]) -> Table:
    directions = {"text_to_image": rows[0].text_to_image, "image_to_text": rows[0].image_to_text}
    recalls = [(way, key) for way, found in directions.items() for key in found if key != "mean"]
    sizes = {row.set: (row.n_images or 0, row.n_captions or 0) for row in reversed(rows)}
    about = "; ".join(
        f"{name}: {images:,} images, {captions:,} captions" for name, (images, captions) in reversed(sizes.items())
    )

    def numbers(row: RetrievalRow) -> list[str]:
        return [*(number(getattr(row, way).get(key)) for way, key in recalls), number(row.mean_recall)]

    headings = [*(f"{ARROWS[way]} {key}" for way, key in recalls), "mean recall"]
    title = "retrieval, recall in percent (T→I: text to image)"
    return _scored(title, rows, headings, numbers, [about, *_footnotes(rows)])


def _classification(rows: Sequence[ClassificationRow]) -> Table:
    sizes = dict.fromkeys(f"{row.set}: {row.n_images or 0:,} images, {row.n_classes} classes" for row in rows)

    def shown(row: ClassificationRow) -> list[str]:
        mode = "" if row.mode == ZERO_SHOT else f", {row.mode}"
        return [of_metric(row.metric).short + mode, *map(number, (row.score, row.top1, row.top5))]

    headings = ["metric", "score", "top-1", "top-5"]
    notes = ["; ".join(sizes), *_averages(rows), *_class_footnotes(rows)]
    return _scored("classification, in percent", rows, headings, shown, notes)


def _disparity(rows: Sequence[DisparityRow]) -> Table:
    several = len({row.set for row in rows}) > 1
    headings = [*["set"] * several, "model", "of", "mean", "range", "std", "worst", "gap to en", "languages"]
    body = [
        [
            *[row.set] * several,
            row.model,
            of_metric(row.metric).short,
            *map(number, (row.mean, row.range, row.std)),
            row.worst,
            number(row.gap_of_worst),
            _few(row.languages),
        ]
        for row in rows
    ]
    group = Group("", tuple(map(cells, body)))
    return Table("disparity between languages, in points", columns(headings), (group,))


def _scored(
    title: str,
    rows: Sequence[_Scored],
    headings: Sequence[str],
    shown: Callable[[_Scored], list[str]],
    notes: Sequence[str],
) -> Table:
    """A table with a row per set, language and model, with the interval of its score and its difference."""
    sets = list(dict.fromkeys(row.set for row in rows))
    several, compared = len(sets) > 1, first_model(rows)
    versus = [versus_heading(compared)] if compared else []
    body: list[tuple[Cell, ...]] = []
    for row in sorted(rows, key=lambda row: sets.index(row.set)):
        lang = (row.lang or "—") + " (MT)" * row.machine_translated + " (synthetic)" * row.synthetic
        lang += "†" * bool(row.queries_by)
        line = [*[row.set] * several, lang, row.model, *shown(row), interval(row.interval)]
        body.append(cells([*line, *[difference(row.versus, none="")] * len(versus)]))
    legend = f"difference from {compared} in points; * p < 0.05, ** p < 0.01 (paired, Holm-adjusted)"
    named = [*["set"] * several, "lang", "model", *headings, "95 %", *versus]
    explained = [f"{heading}: {legend}" for heading in versus]
    return Table(title, columns(named), (Group("", tuple(body)),), notes=(*explained, *notes))


def _few(names: Sequence[str], most: int = 12) -> str:
    return " ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _averages(rows: Sequence[ClassificationRow]) -> list[str]:
    """The mean score over several sets, as at the end of tables in papers."""
    lines = []
    for mode, lang, model in dict.fromkeys((row.mode, row.lang, row.model) for row in rows):
        own = [row.score for row in rows if (row.mode, row.lang, row.model) == (mode, lang, model)]
        if len(own) > 1:
            lines.append(f"mean over {len(own)} sets, {lang or mode}, {model}: {sum(own) / len(own):.2f}")
    return lines


def _footnotes(rows: Sequence[RetrievalRow]) -> list[str]:
    lines = list(filter(None, [translated_note(rows), synthetic_note(rows)]))
    lines += _translated_queries(rows)
    for row in rows:
        if row.n_uncaptioned and row.model == rows[0].model:
            lines.append(f"{row.lang}: {row.n_uncaptioned} images have no caption; each is a miss in I→T")
    for row in rows:
        for name, other in row.variants.items():
            certain = f" (95 %: {interval(other.interval)})" if other.interval else ""
            lines.append(f"{row.set} {row.lang} {row.model}, {name}: mean recall {other.mean_recall:.2f}{certain} "
                         f"of {other.n_captions:,} captions")  # fmt: skip
    return lines


def _class_footnotes(rows: Sequence[ClassificationRow]) -> list[str]:
    by = dict.fromkeys(who for row in rows if row.machine_translated for who in (row.names_by, row.templates_by) if who)
    named = dict.fromkeys(f"{row.set}: {row.names_by}" for row in rows if "paper" in row.names_by)
    lines = [f"(MT) names or templates machine-translated ({', '.join(by)})"] if by else []
    return lines + _translated_queries(rows) + [f"class names of {name}" for name in named]


def _translated_queries(rows: Sequence[ScoredRow]) -> list[str]:
    by = queries_translated_by(rows)
    return [f"† queries machine-translated first ({by})"] if by else []
