"""Every row of eval.json as tables: a set at a time, the language that was taught first."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from capivara_cli.reports.page.findings import LEVEL, METRICS, Findings, Outcome, probability
from capivara_cli.reports.page.markup import Section, Table, escaped, folded, folds, language, points, score
from capivara_cli.reports.page.read_run import Row

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


def _by_set(outcomes: Sequence[Outcome], found: Findings, table: Any) -> str:
    places = list(dict.fromkeys(each.place for each in outcomes))
    parts = []
    for number, place in enumerate(places):
        own = [each for each in outcomes if each.place == place]
        head = own[0].head
        size = f"{head['n_images']:,} images" if head.get("n_images") else ""
        size += f", {head['n_classes']:,} classes" if head.get("n_classes") else ""
        title = f"<b>{escaped(place)}</b> <small>{escaped(size)}</small>"
        parts.append(folded(title, table(own, found) + _footnotes(own), opened=number < _OPEN and len(places) <= _OPEN))
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
                f"{each.head.get('n_images') or 0:,}",
                score(each.baseline) if each.before else "—",
                adapted,
                points(each.gain, mark) if each.is_complete else "",
            ]
        )
    return table.to_html() + "<p class='note'>Every row, set by set:</p>"


def _retrieval(outcomes: Sequence[Outcome], found: Findings) -> str:
    ks = [key for key in outcomes[0].head["text_to_image"] if key != "mean"]
    columns = ["language|", "model|", *ks, *ks, "T→I", "I→T", "mean recall", "95 % interval", "difference"]
    groups = [("", 2), ("text to image", len(ks)), ("image to text", len(ks)), ("median rank", 2), ("", 3)]
    table = Table(columns, groups)
    for outcome in outcomes:
        for label, row, kind in _models(outcome, found):
            median = row.get("median_rank") or {}
            ways = [_over(row, way, key) for way in ("text_to_image", "image_to_text") for key in ks]
            ranks = [_rank(median.get(way)) for way in ("text_to_image", "image_to_text")]
            table.add([*label, *ways, *ranks, f"<b>{score(row['mean_recall'])}</b>", *_compared(row)], kind)
            for name, variant in (row.get("variants") or {}).items():
                ways = [_over(variant, way, key) for way in ("text_to_image", "image_to_text") for key in ks]
                mean = score(variant.get("mean_recall"))
                table.add(["", f"<i>{escaped(name)}</i>", *ways, "", "", mean, "", ""], "variant")
    return table.to_html()


def _over(row: Row, way: str, key: str) -> str:
    return score((row.get(way) or {}).get(key))


def _rank(value: float | None) -> str:
    return "—" if value is None else f"{round(value, 1):,g}"


def _classification(outcomes: Sequence[Outcome], found: Findings) -> str:
    columns = ["language|", "model|", "how|", "metric|", "score", "95 % interval", "difference"]
    more = {"top-1": "top1", "top-5": "top5", "per class": "mean_per_class", "mAP": "map_11_point", "AUC": "roc_auc"}
    there = {
        name: key for name, key in more.items() if any(row.get(key) is not None for o in outcomes for row in o.rows)
    }
    table = Table([*columns, *there])
    for outcome in outcomes:
        for label, row, kind in _models(outcome, found):
            cells = [escaped(row["mode"]), escaped(METRICS.get(str(row["metric"]), str(row["metric"])))]
            others = [score(row.get(key)) for key in there.values()]
            table.add([*label, *cells, f"<b>{score(row['score'])}</b>", *_compared(row), *others], kind)
    return table.to_html()


def _models(outcome: Outcome, found: Findings) -> list[tuple[list[str], Row, str]]:
    """(language and model cells, row, kind): the base model, the runs, their mean, and whoever else was compared."""
    made = []
    others = [row for row in outcome.rows if row is not outcome.before and row not in outcome.after]
    named = [(outcome.before, "before")] if outcome.before else []
    named += [(row, "after") for row in outcome.after] + [(row, "other") for row in others]
    for number, (row, kind) in enumerate(named):
        marks = "*" * bool(row["machine_translated"]) + "†" * bool(row["queries_by"])
        lang = escaped(language(outcome.lang) + marks) if number == 0 or marks != "*" * outcome.is_translated else ""
        base = " <small>base</small>" if kind == "before" else ""
        made.append(([lang, escaped(row["model"]) + base], row, f"{kind} first" if number == 0 else kind))
    if len(outcome.after) > 1:
        made.insert(len(outcome.after) + bool(outcome.before), (["", "mean ± std"], _mean(outcome), "after mean"))
    return made


def _mean(outcome: Outcome) -> Row:
    """A row of the means over the runs; ``spread`` is the standard deviation of its score."""
    rows = outcome.after
    mean: Row = {"model": "mean", "machine_translated": False, "queries_by": "", "interval": None, "versus": None}
    for key in rows[0]:
        values = [row.get(key) for row in rows]
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            mean[key] = statistics.fmean(values)  # type: ignore[arg-type]
        elif key in ("text_to_image", "image_to_text", "median_rank"):
            names = [name for name in values[0] or () if all(value and name in value for value in values)]
            mean[key] = {name: statistics.fmean(value[name] for value in values) for name in names}  # type: ignore[index]
        else:
            mean.setdefault(key, rows[0][key] if key in ("mode", "metric") else None)
    mean["spread"] = outcome.std
    mean["gain"] = outcome.gain if outcome.before else None
    return mean


def _compared(row: Row) -> list[str]:
    """The cells of the interval and of the difference."""
    if "spread" in row:
        return [f"± {row['spread']:.1f}", "" if row["gain"] is None else points(row["gain"])]
    interval = "—" if row["interval"] is None else "–".join(score(bound) for bound in row["interval"])
    if row["versus"] is None:
        return [interval, ""]
    p = probability(row)
    mark = "" if p is None else "*" if p < LEVEL else " n.s."
    return [interval, points(row["versus"]["difference"], mark)]


def _footnotes(outcomes: Sequence[Outcome]) -> str:
    rows = [row for outcome in outcomes for row in outcome.rows]
    lines = []
    by = dict.fromkeys(who for row in rows if row["machine_translated"] for who in _translators(row))
    if any(row["machine_translated"] for row in rows):
        who = f" ({', '.join(by)})" if by else ""
        lines.append(f"* machine-translated{who}: not what speakers would have written")
    if asked := dict.fromkeys(row["queries_by"] for row in rows if row["queries_by"]):
        lines.append(f"† queries machine-translated first ({', '.join(asked)}), as this model was trained")
    if prompts := dict.fromkeys(row["prompt"] for row in rows if row.get("prompt")):
        lines.append(f"captions were put into a prompt: {', '.join(prompts)}")
    lines += [
        f"{language(each.lang)}: {each.head['n_uncaptioned']} images have no caption, a miss each, image to text"
        for each in outcomes
        if each.head.get("n_uncaptioned")
    ]
    return "".join(f'<p class="note">{escaped(line)}</p>' for line in lines)


def _translators(row: Row) -> list[str]:
    """Who translated: the captions, or the class names and templates."""
    provenance = row.get("provenance") or {}
    named = list(provenance.get("captions_by") or {}) or [row.get("names_by") or provenance.get("by") or ""]
    return [name for name in named if name]
