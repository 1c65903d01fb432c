"""Every row of eval.json as tables: a set at a time, the language that was taught first."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from capivara_cli.evaluation.evalset import Provenance
from capivara_cli.evaluation.metric_names import DIRECTIONS, of_metric
from capivara_cli.evaluation.results import ClassificationRow, RetrievalRow, ScoredRow, Variant
from capivara_cli.reports.page.findings import Findings, Outcome
from capivara_cli.reports.page.markup import Section, Table, escaped, folded, folds, language, points, score
from capivara_cli.reports.tables.table import LEVEL, queries_translated_by

_OPEN = 2  # sets whose table is open from the start


def tables(found: Findings) -> Section | None:
    """Retrieval, then classification; None without a row."""
    if not found.outcomes:
        return None
    html = ""
    if found.retrieval:
        html += "<h3>Retrieval</h3>" + _by_set(found.retrieval, found, _retrieval)
    if found.classification:
        html += "<h3>Classification</h3>" + _by_set(found.classification, found, _classification)
    intro = (
        "All in percent. Differences are in points to the base model, * where significant (p < 0.05, adjusted for the "
        "number of comparisons). T→I: text to image, I→T: image to text."
    )
    return Section("tables", "Results in full", intro, html)


def _by_set(outcomes: Sequence[Outcome], found: Findings, table: Callable[[Sequence[Outcome]], str]) -> str:
    places = list(dict.fromkeys(each.place for each in outcomes))
    parts = []
    for number, place in enumerate(places):
        own = [each for each in outcomes if each.place == place]
        head = own[0].head
        size = f"{head.n_images:,} images" if head.n_images else ""
        size += f", {head.n_classes:,} classes" if isinstance(head, ClassificationRow) and head.n_classes else ""
        title = f"<b>{escaped(place)}</b> <small>{escaped(size)}</small>"
        parts.append(folded(title, table(own) + _footnotes(own), opened=number < _OPEN and len(places) <= _OPEN))
    return (_summary(outcomes, found) if len(places) > _OPEN else "") + folds(parts)


def _summary(outcomes: Sequence[Outcome], found: Findings) -> str:
    """A line for each set in the languages that were taught."""
    shown = [each for each in outcomes if each.lang in found.taught] or list(outcomes)
    table = Table(["set|", "language|", "metric|", "images", "base model", "adapted", "difference"])
    for each in shown:
        std = "" if each.std is None else f" <small>± {each.std:.1f}</small>"
        adapted = f"<b>{score(statistics.fmean(each.scores))}</b>{std}" if each.after else "—"
        mark = "" if each.p is None else "*" if each.p < LEVEL else " n.s."
        table.add(
            [
                escaped(each.place),
                escaped(language(each.lang) + "*" * each.is_translated),
                escaped(each.metric),
                f"{each.head.n_images or 0:,}",
                score(each.baseline) if each.before else "—",
                adapted,
                points(each.gain, mark) if each.is_complete else "",
            ]
        )
    return table.to_html() + "<p class='note'>Every row, set by set:</p>"


def _retrieval(outcomes: Sequence[Outcome]) -> str:
    shown = _models(outcomes)
    ks = [key for key in shown[0].row.text_to_image if key != "mean"]
    columns = ["language|", "model|", *ks, *ks, "T→I", "I→T", "mean recall", "95 % interval", "difference"]
    groups = [("", 2), ("text to image", len(ks)), ("image to text", len(ks)), ("median rank", 2), ("", 3)]
    table = Table(columns, groups)
    for each in shown:
        row = each.row
        ranks = [_rank(row.median_rank.get(way)) for way in DIRECTIONS]
        cells = [*_recalls(row, ks), *ranks, f"<b>{score(row.mean_recall)}</b>", *each.compared]
        table.add([*each.label, *cells], each.kind)
        for name, other in row.variants.items():
            cells = [*_recalls(other, ks), "", "", score(other.mean_recall), "", ""]
            table.add(["", f"<i>{escaped(name)}</i>", *cells], "variant")
    return table.to_html()


def _recalls(row: RetrievalRow | Variant, ks: Sequence[str]) -> list[str]:
    return [score(getattr(row, way).get(key)) for way in DIRECTIONS for key in ks]


def _rank(value: float | None) -> str:
    return "—" if value is None else f"{round(value, 1):,g}"


def _classification(outcomes: Sequence[Outcome]) -> str:
    shown = _models(outcomes)
    columns = ["language|", "model|", "how|", "metric|", "score", "95 % interval", "difference"]
    more = {"top-1": "top1", "top-5": "top5", "per class": "mean_per_class", "mAP": "map_11_point", "AUC": "roc_auc"}
    there = {name: key for name, key in more.items() if any(getattr(each.row, key) is not None for each in shown)}
    table = Table([*columns, *there])
    for each in shown:
        row = each.row
        cells = [escaped(row.mode), escaped(of_metric(row.metric).name), f"<b>{score(row.score)}</b>", *each.compared]
        table.add([*each.label, *cells, *(score(getattr(row, key)) for key in there.values())], each.kind)
    return table.to_html()


@dataclass(frozen=True)
class _Line:
    """A row of results in a table: the cells of language and model, those of interval and difference, and its kind."""

    label: list[str]
    row: Any  # a ``RetrievalRow`` or a ``ClassificationRow``, as all in the table are
    compared: list[str]
    kind: str


def _models(outcomes: Sequence[Outcome]) -> list[_Line]:
    """For each outcome the base model, the runs, their mean, and whatever else was compared."""
    lines: list[_Line] = []
    for outcome in outcomes:
        others = [row for row in outcome.rows if row is not outcome.before and row not in outcome.after]
        named = [(outcome.before, "before")] if outcome.before else []
        named += [(row, "after") for row in outcome.after] + [(row, "other") for row in others]
        own = []
        for number, (row, kind) in enumerate(named):
            marks = "*" * row.machine_translated + "†" * bool(row.queries_by)
            is_told = number == 0 or marks != "*" * outcome.is_translated
            lang = escaped(language(outcome.lang) + marks) if is_told else ""
            base = " <small>base</small>" if kind == "before" else ""
            kind = f"{kind} first" if number == 0 else kind
            own.append(_Line([lang, escaped(row.model) + base], row, _compared(row), kind))
        if len(outcome.after) > 1:
            spread = [f"± {outcome.std:.1f}", points(outcome.gain) if outcome.before else ""]
            mean = _Line(["", "mean ± std"], _mean(outcome.after), spread, "after mean")
            own.insert(len(outcome.after) + bool(outcome.before), mean)
        lines += own
    return lines


def _mean(rows: Sequence[ScoredRow]) -> ScoredRow:
    """The first of the rows with the means of all numbers over the rows; a number that one row lacks is left out."""
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
    return replace(rows[0], **{**means, "machine_translated": False})


def _are_numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _compared(row: ScoredRow) -> list[str]:
    """The cells of the interval and of the difference."""
    interval = "—" if row.interval is None else "–".join(score(bound) for bound in row.interval)
    if row.versus is None:
        return [interval, ""]
    p = row.versus.probability
    mark = "" if p is None else "*" if p < LEVEL else " n.s."
    return [interval, points(row.versus.difference, mark)]


def _footnotes(outcomes: Sequence[Outcome]) -> str:
    rows = [row for outcome in outcomes for row in outcome.rows]
    lines = []
    by = dict.fromkeys(who for row in rows if row.machine_translated for who in _translators(row))
    if any(row.machine_translated for row in rows):
        who = f" ({', '.join(by)})" if by else ""
        lines.append(f"* machine-translated{who}: not what speakers would have written")
    if asked := queries_translated_by(rows):
        lines.append(f"† queries machine-translated first ({asked}), as this model was trained")
    retrieved = [row for row in rows if isinstance(row, RetrievalRow)]
    if prompts := dict.fromkeys(row.prompt for row in retrieved if row.prompt):
        lines.append(f"captions were put into a prompt: {', '.join(prompts)}")
    heads = [each.head for each in outcomes if isinstance(each.head, RetrievalRow)]
    lines += [
        f"{language(row.lang)}: {row.n_uncaptioned} images have no caption, a miss each, image to text"
        for row in heads
        if row.n_uncaptioned
    ]
    return "".join(f'<p class="note">{escaped(line)}</p>' for line in lines)


def _translators(row: ScoredRow) -> list[str]:
    """Who translated: the captions, or the class names and templates."""
    known = row.provenance or Provenance()
    names = row.names_by if isinstance(row, ClassificationRow) else ""
    return list(known.captions_by or {}) or [name for name in [names or known.by] if name]
