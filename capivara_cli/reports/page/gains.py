"""The headline, and what was gained per language and per set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from capivara_cli import console
from capivara_cli.costs import ledger
from capivara_cli.evaluation.metric_names import METRICS
from capivara_cli.evaluation.results import ZERO_SHOT
from capivara_cli.reports.page import charts
from capivara_cli.reports.page.command_lines import eval_command
from capivara_cli.reports.page.findings import Findings, Outcome, Spread
from capivara_cli.reports.page.markup import (
    Section,
    Table,
    escaped,
    folded,
    folds,
    language,
    missing,
    points,
    probability,
    score,
    signed,
    significant,
)
from capivara_cli.reports.tables.table import LEVEL

_METHODS = {
    "lora": "LoRA on the text tower",
    "adapter": "bottleneck adapters in the text tower",
    "compacter": "compacters in the text tower",
    "soft-prompt": "a soft prompt",
    "layernorm": "the text tower's LayerNorms tuned",
    "lit": "the text tower tuned",
    "full": "both towers tuned",
}


def headline(found: Findings) -> str:
    """One screen: the language, the base model, the gain and how sure it is, what else changed, what it cost."""
    run = found.variant.first
    names = " and ".join(language(code) for code in found.taught) or found.variant.name
    method = _METHODS.get(run.document.get("parameters", {}).get("method", ""), "tuned")
    steps, size = run.document.get("step", 0), run.document.get("batch", {}).get("size", 0)
    about = f"{method}, {steps:,} steps of {size:,} pairs"
    tiles = [_gain_tile(found), *_other_tiles(found), _data_tile(found), _cost_tile(found)]
    return (
        f'<header id="top"><p class="eyebrow">CLIP learns a language · {escaped(found.variant.name)}</p>'
        f'<h1>{escaped(names)}</h1><p class="lead">for <b>{escaped(run.base)}</b>: {escaped(about)}</p>'
        f'<div class="tiles">{"".join(filter(None, tiles))}</div></header>\n'
    )


def _gain_tile(found: Findings) -> str:
    main = found.main
    if main is None:
        return _tile("Gain", "not measured yet", "evaluate the run next to its base model, see below", "wide")
    std = f"± {main.std:.1f} " if main.std is not None else ""
    change = f"{score(main.baseline)} → {score(main.baseline + main.gain)} {main.metric}"
    return (
        f'<div class="tile wide hero"><h3>{escaped(language(main.lang))}, {escaped(main.place)}</h3>'
        f'<p class="big">{points(main.gain)}<small>{std}points</small></p>'
        f"<p><b>{escaped(change)}</b></p><p>{escaped(certainty(main))}</p></div>"
    )


def certainty(outcome: Outcome) -> str:
    """The interval of a gain, whether it is significant, over how many seeds."""
    seeds = len(outcome.after)
    parts = []
    if interval := outcome.gain_interval:
        every = " (all seeds)" if seeds > 1 else ""
        parts.append(f"95 % interval {signed(interval[0])} to {signed(interval[1])}{every}")
    if outcome.p is not None:
        word = "significant" if outcome.p < LEVEL else "not significant"
        parts.append(f"{word}, {probability(outcome.p)}")
    parts.append(f"mean ± std of {seeds} seeds" if seeds > 1 else "one seed")
    return "; ".join(parts)


def _other_tiles(found: Findings) -> Iterable[str]:
    """Up to two more results: the languages that were not taught, and other sets in the one that was."""
    main = found.main
    complete = [each for each in found.outcomes if each.is_complete and each is not main]
    kept = [each for each in complete if each.lang == "en" and main and each.head.set == main.head.set]
    others = [each for each in complete if each.lang in found.taught]
    for each in (*kept[:1], *others[: 2 - len(kept[:1])]):
        note = f"{score(each.baseline)} → {score(each.baseline + each.gain)} {each.metric}, {each.place}"
        if each.p is not None:
            note += "" if each.p < LEVEL else "; not significant"
        yield _tile(language(each.lang), points(each.gain), note)


def _data_tile(found: Findings) -> str:
    data = found.variant.first.document.get("data", {})
    captions = ", ".join(f"{count:,} in {lang}" for lang, count in data.get("captions", {}).items())
    return _tile("Learned from", f"{data.get('samples', 0):,} images", f"captions: {captions}") if data else ""


def _cost_tile(found: Findings) -> str:
    records = ledger.unique(record for run in found.runs for record in run.records)
    if not records:
        return ""
    _, total = ledger.sums(records)
    note = f"{mass(total['co2e_g'])} CO₂e, {console.duration(total['seconds'])} of work, from data to result"
    return _tile("Cost", energy(total["kwh"]), note)


def energy(kwh: float) -> str:
    return f"{significant(kwh, 3)} kWh" if kwh >= 0.1 else f"{significant(kwh * 1000, 2)} Wh"


def mass(grams: float) -> str:
    return f"{significant(grams / 1000, 3)} kg" if grams >= 1000 else f"{significant(grams, 2)} g"


def _tile(title: str, html: str, note: str, kind: str = "") -> str:
    return f'<div class="tile {kind}"><h3>{escaped(title)}</h3><p class="mid">{html}</p><p>{escaped(note)}</p></div>'


def per_language(found: Findings) -> Section:
    """The paper's Figure 1, a panel per set; below it how far apart the languages are."""
    title = "Gain per language"
    complete = [each for each in found.retrieval if each.is_complete]
    if not complete:
        return Section("languages", title, "", _nothing(found, "retrieval"))
    places = list(dict.fromkeys(each.place for each in complete))
    panels = [_panel(place, [each for each in complete if each.place == place], found.taught) for place in places]
    intro = (
        "Mean recall (R@1, 5 and 10, both directions) of the base model, grey, and after adaptation, brown; the line "
        "through each point is its 95 % interval over images. What was taught is bold."
    )
    if len(found.variant.runs) > 1:
        seeds = len(found.variant.runs)
        intro += f" Points are means over {seeds} seeds; their intervals span those of every seed."
    recall = [each for each in found.spreads if each.metric == METRICS["mean_recall"].name]
    panels += [_disparity(each) for each in recall]
    others = [each for each in found.spreads if each not in recall]
    body = f'<div class="panels">{"".join(panels)}</div>{_disparities(others)}'
    return Section("languages", title, intro, body)


def _panel(place: str, rows: Sequence[Outcome], taught: Sequence[str]) -> str:
    changes = [
        charts.Change(
            language(each.lang) + "*" * each.is_translated,
            each.baseline,
            each.baseline + each.gain,
            _pair(each.before.interval if each.before else None),
            each.interval,
            each.lang in taught,
        )
        for each in rows
    ]
    alt = f"{place}: " + ", ".join(f"{row.label} {row.before:.1f} to {row.after:.1f}" for row in changes)
    note = '<p class="note">* captions machine-translated</p>' if any(each.is_translated for each in rows) else ""
    drawn = charts.changes(changes, "mean recall, %", alt)
    return f'<div class="panel"><h3>{escaped(place)}</h3>{drawn}{note}</div>'


def _pair(interval: Sequence[float] | None) -> tuple[float, float] | None:
    return (interval[0], interval[1]) if interval else None


def _disparity(spread: Spread) -> str:
    """How far apart the languages of a set are, before and after."""
    table = Table(["points|", "before", "after"])
    lines = [("best minus worst language", "range"), ("standard deviation", "std")]
    for name, key in lines:
        table.add([name, score(getattr(spread.before, key)), _compared(getattr(spread.before, key), spread.after[key])])
    for lang, before in spread.gaps[0].items():
        if lang in spread.gaps[1]:
            name = f"{language(lang)} behind English"
            table.add([escaped(name), score(before), _compared(before, spread.gaps[1][lang])])
    if all(spread.worst):
        table.add(["worst language", *(escaped(language(code)) for code in spread.worst)])
    title = f"Disparity on {spread.place}"
    note = f'<p class="note">Of {escaped(spread.metric)} over {len(spread.languages)} languages; less is fairer.</p>'
    return f'<div class="panel"><h3>{escaped(title)}</h3>{table.to_html()}{note}</div>'


def _disparities(spreads: Sequence[Spread]) -> str:
    """A line for each set that is classified."""
    if not spreads:
        return ""
    columns = ["set|", "score|", "range before", "after", "std before", "after", "worst before|", "after|"]
    table = Table(columns)
    for each in spreads:
        numbers = [
            cell
            for key in ("range", "std")
            for cell in (score(getattr(each.before, key)), _compared(getattr(each.before, key), each.after[key]))
        ]
        table.add(
            [escaped(each.place), escaped(each.metric), *numbers, *(escaped(language(code)) for code in each.worst)]
        )
    return folds([folded("Disparity of classification", table.to_html())])


def _compared(before: float, after: float) -> str:
    """A spread after, coloured by whether it became smaller."""
    kind = "up" if round(after, 1) < round(before, 1) else "down" if round(after, 1) > round(before, 1) else "same"
    return f'<span class="{kind}">{score(after)}</span>'


def per_set(found: Findings) -> Section:
    """The paper's Figure A1: one bar per set, the language that was taught and English each in a panel."""
    title = "Gain per data set"
    complete = [each for each in found.outcomes if each.is_complete]
    if not complete:
        return Section("sets", title, "", _nothing(found, "classification or retrieval"))
    langs = [lang for lang in dict.fromkeys([*found.taught, "en"]) if any(each.lang == lang for each in complete)]
    langs = langs or [complete[0].lang]
    panels = [_bars(lang, [each for each in complete if each.lang == lang]) for lang in langs]
    rest = sorted({each.lang for each in complete} - {*langs})
    intro = (
        "Score after adaptation minus that of the base model, in points, each set by its own metric; a line through a "
        "bar's end is the 95 % interval of the difference."
    )
    if rest:
        intro += f" Other languages ({', '.join(rest)}) are in the tables."
    return Section("sets", title, intro, f'<div class="panels">{"".join(panels)}</div>')


def _bars(lang: str, rows: Sequence[Outcome]) -> str:
    ranked = sorted(rows, key=lambda each: -each.gain)
    modes = {each.head.mode for each in rows} - {"", ZERO_SHOT}
    bars = [charts.Gain(named(each, modes=bool(modes)), each.gain, each.gain_interval) for each in ranked]
    alt = f"{language(lang)}: " + ", ".join(f"{row.label} {row.value:+.1f}" for row in bars)
    return f'<div class="panel"><h3>{escaped(language(lang))}</h3>{charts.gains(bars, "gain, points", alt)}</div>'


def named(outcome: Outcome, *, modes: bool = False) -> str:
    """A set for a chart: without the collection it is in, with the metric where that is not accuracy."""
    name = outcome.head.set.partition(":")[2] or outcome.head.set
    mode = outcome.head.mode if modes and outcome.head.mode != ZERO_SHOT else ""
    more = [part for part in ("" if outcome.metric == "accuracy" else outcome.metric, mode) if part]
    return f"{name} ({', '.join(more)})" if more else name


def _nothing(found: Findings, what: str) -> str:
    """No results, or none to compare with: which, and the command that makes them."""
    runs = found.variant.runs
    if not any(run.results.rows for run in runs):
        return missing(
            f"{found.variant.name} has no eval.json yet. Evaluate it next to its base model:", eval_command(runs)
        )
    rows = [row for run in runs for row in run.results.scored]
    sets, langs = list(dict.fromkeys(row.set for row in rows)), list(dict.fromkeys(row.lang for row in rows))
    if any(each.before is None for each in found.outcomes):
        text = "eval.json has no results of the base model, so there is no gain to show. Evaluate both together:"
        return missing(text, eval_command(runs, sets, langs))
    return missing(f"eval.json has no {what} results. To measure them:", eval_command(runs))
