"""The headline of the page, and the gains per language and per set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from capivara_cli import console
from capivara_cli.costs import ledger
from capivara_cli.evaluation.metric_names import METRICS
from capivara_cli.evaluation.results import ZERO_SHOT
from capivara_cli.reports.page import charts
from capivara_cli.reports.page.command_lines import eval_command
from capivara_cli.reports.page.findings import Findings, Outcome, Spread, Variant
from capivara_cli.reports.page.formats import (
    energy,
    language,
    mass,
    points,
    probability,
    score,
    signed,
)
from capivara_cli.reports.page.section import Missing, Panel, Section
from capivara_cli.reports.tables.table import Cell, Column, Table, cells, columns

_METHODS = {
    "lora": "LoRA on the text tower",
    "adapter": "bottleneck adapters in the text tower",
    "compacter": "compacters in the text tower",
    "soft-prompt": "a soft prompt",
    "layernorm": "fine-tuned LayerNorms of the text tower",
    "lit": "fine-tuned text tower",
    "full": "fine-tuned image and text towers",
}


@dataclass(frozen=True)
class Tile:
    """A box of the headline.

    ``verdict``: words that stand before the value; ``change``: the score before and after, for the main result.
    """

    title: str
    value: Cell
    note: str
    change: str = ""
    kind: str = ""
    verdict: str = ""


@dataclass(frozen=True)
class Headline:
    """The first screen: languages, base model, what was trained, and tiles with results and cost."""

    variant: str
    languages: str
    base: str
    about: str
    tiles: list[Tile]


def headline(found: Findings) -> Headline:
    """Return the first screen: the gain and how certain it is, what else changed, and the cost."""
    run = found.variant.first
    names = " and ".join(language(code) for code in found.trained) or found.variant.name
    method = _METHODS.get(run.document.get("parameters", {}).get("method", ""), "fine-tuned")
    steps, size = run.document.get("step", 0), run.document.get("batch", {}).get("size", 0)
    about = f"{method}, {steps:,} steps of {size:,} pairs"
    tiles = [_gain_tile(found), *_other_tiles(found), *_data_tile(found), *_cost_tile(found)]
    return Headline(found.variant.name, names, run.base, about, tiles)


def _gain_tile(found: Findings) -> Tile:
    main = found.main
    if main is None:
        note = "evaluate the run together with its base model, see below"
        return Tile("Gain", Cell("not measured yet"), note, kind="wide")
    unit = "points" if main.std is None else f"± {main.std:.1f} points"
    versus = f" vs {main.before.model}" if main.before else ""
    return Tile(
        f"{language(main.lang)}, {main.set_label}",
        Cell(signed(main.gain), tone=points(main.gain, main.significant).tone, notes=(Cell(f"{unit}{versus}"),)),
        "; ".join([certainty(main), *_captions(main), *_repeated(found.variant)]),
        f"{score(main.baseline)} → {score(main.baseline + main.gain)} {main.metric}",
        "wide hero" if main.significant else "wide hero unsure",
        verdict(main),
    )


def verdict(outcome: Outcome) -> str:
    """In words, whether the difference is a gain, a loss, or not significant; with several seeds, for how many."""
    seeds = len(outcome.after)
    if outcome.significant is None:
        return "Not tested for significance"
    if outcome.significant:
        return "Significant gain" if outcome.gain > 0 else "Significant loss"
    return f"Significant for {outcome.n_significant} of {seeds} seeds only" if outcome.n_significant else _UNSURE


_UNSURE = "No significant difference"


def certainty(outcome: Outcome) -> str:
    """The interval of a gain, its p-value, and the number of seeds."""
    seeds = len(outcome.after)
    parts = []
    if interval := outcome.gain_interval:
        every = " (all seeds)" if seeds > 1 else ""
        parts.append(f"95 % interval {signed(interval[0])} to {signed(interval[1])}{every}")
    if outcome.p is not None:
        parts.append(probability(outcome.p))
    parts.append(f"mean ± std of {seeds} seeds" if seeds > 1 else "one seed")
    return "; ".join(parts)


def _captions(outcome: Outcome) -> list[str]:
    """That no people wrote the captions of a result; [] if they did."""
    remarks = ["captions machine-translated"] if outcome.is_translated else []
    return remarks + ["captions by a captioner, not by people"] * any(row.synthetic for row in outcome.rows)


def _repeated(variant: Variant) -> list[str]:
    """Which runs are not averaged, because they are no other seed; [] without any."""
    return [f"{each.run.name} has the options and the seed of {each.of.name}: one run" for each in variant.repeats]


def _other_tiles(found: Findings) -> Iterable[Tile]:
    """Yield up to two more results: English on the main set, and other sets in a trained language."""
    main = found.main
    complete = [each for each in found.outcomes if each.is_complete and each is not main]
    kept = [each for each in complete if each.lang == "en" and main and each.head.set == main.head.set]
    others = [each for each in complete if each.lang in found.trained]
    for each in (*kept[:1], *others[: 2 - len(kept[:1])]):
        note = f"{score(each.baseline)} → {score(each.baseline + each.gain)} {each.metric}, {each.set_label}"
        tone = points(each.gain, each.significant).tone
        yield Tile(language(each.lang), Cell(signed(each.gain), tone=tone), note, verdict=verdict(each))


def _data_tile(found: Findings) -> Iterable[Tile]:
    data = found.variant.first.document.get("data", {})
    captions = ", ".join(f"{count:,} in {language(lang)}" for lang, count in data.get("captions", {}).items())
    if data:
        yield Tile("Trained on", Cell(f"{data.get('samples', 0):,} images"), f"captions: {captions}")


def _cost_tile(found: Findings) -> Iterable[Tile]:
    records = ledger.unique(record for run in found.runs for record in run.records)
    if records:
        _, total = ledger.sums(records)
        note = f"{mass(total['co2e_g'])} CO₂e, {console.duration(total['seconds'])} of computation, from data to result"
        yield Tile("Cost", Cell(energy(total["kwh"])), note)


def per_language(found: Findings) -> Section:
    """Show a panel for each retrieval set (the paper's Figure 1), and the disparity between languages."""
    title = "Gain per language"
    complete = [each for each in found.retrieval if each.is_complete]
    if not complete:
        return Section("languages", title, missing=_missing_results(found, "retrieval"))
    labels = list(dict.fromkeys(each.set_label for each in complete))
    panels = [_panel(label, [each for each in complete if each.set_label == label], found.trained) for label in labels]
    intro = (
        "Mean recall (R@1, R@5 and R@10 in both directions) of the base model (ring) and after adaptation (disc). "
        "The line through it is its 95 % interval over images. The number is the gain in points. *: significant; "
        "n.s.: not significant. The trained language is bold."
    )
    seeds = max(len(each.after) for each in complete)
    if seeds > 1:
        intro += f" Points are means over {seeds} seeds; their intervals cover those of every seed."
    recall = [each for each in found.spreads if each.metric == METRICS["mean_recall"].name]
    panels += [_disparity(each) for each in recall]
    others = [each for each in found.spreads if each not in recall]
    return Section("languages", title, intro, {"panels": panels, "disparities": _disparities(others)})


def _panel(label: str, rows: Sequence[Outcome], trained: Sequence[str]) -> Panel:
    changes = [
        charts.BeforeAfter(
            language(each.lang) + " (MT)" * each.is_translated,
            each.baseline,
            each.baseline + each.gain,
            _pair(each.before.interval if each.before else None),
            each.interval,
            each.lang in trained,
            each.significant,
        )
        for each in rows
    ]
    alt = f"{label}: " + ", ".join(
        f"{row.label} {row.before:.1f} to {row.after:.1f}{_spoken(row.significant)}" for row in changes
    )
    note = "(MT): captions machine-translated" if any(each.is_translated for each in rows) else ""
    return Panel(label, charts.changes(changes, "mean recall, %", alt), note=note)


def _spoken(significant: bool | None) -> str:
    """What a text alternative says of a difference that is not significant."""
    return " (not significant)" if significant is False else ""


def _pair(interval: Sequence[float] | None) -> tuple[float, float] | None:
    return (interval[0], interval[1]) if interval else None


def _disparity(spread: Spread) -> Panel:
    """Show how far apart the languages of a set are, before and after adaptation."""
    before = spread.before
    measures = [("best minus worst language", before.range, spread.after["range"])]
    measures.append(("standard deviation", before.std, spread.after["std"]))
    measures += [
        (f"{language(lang)} behind English", gap, spread.gaps[1][lang])
        for lang, gap in spread.gaps[0].items()
        if lang in spread.gaps[1]
    ]
    rows = [cells([name, score(old), score(new)]) for name, old, new in measures]
    if all(spread.worst):
        rows.append(cells(["worst language", *map(language, spread.worst)]))
    title = f"Disparity on {spread.set_label}"
    table = Table.of_rows(title, columns(["points", "before", "after"], ("points",)), rows)
    return Panel(
        title, table=table, note=f"Spread of {spread.metric} over {len(spread.languages)} languages; lower is fairer."
    )


def _disparities(spreads: Sequence[Spread]) -> Table | None:
    """The disparity of each classification set; None without a set."""
    headings = columns(["set", "score", "range before", "after", "std before", "after"], ("set", "score"))
    headings += (Column("worst before", numeric=False), Column("after", numeric=False))
    rows = []
    for each in spreads:
        before, after = each.before, each.after
        spread = [(before.range, after["range"]), (before.std, after["std"])]
        numbers = [score(number) for pair in spread for number in pair]
        rows.append(cells([each.set_label, each.metric, *numbers, *map(language, each.worst)]))
    return Table.of_rows("Disparity of classification", headings, rows) if rows else None


def per_set(found: Findings) -> Section:
    """Show one bar for each set (the paper's Figure A1), with a panel for each trained language and for English."""
    title = "Gain per data set"
    complete = [each for each in found.outcomes if each.is_complete]
    if not complete:
        return Section("sets", title, missing=_missing_results(found, "classification or retrieval"))
    langs = [lang for lang in dict.fromkeys([*found.trained, "en"]) if any(each.lang == lang for each in complete)]
    langs = langs or [complete[0].lang]
    panels = [_bars(lang, [each for each in complete if each.lang == lang]) for lang in langs]
    rest = sorted({each.lang for each in complete} - {*langs})
    intro = (
        "Score after adaptation minus score of the base model, in points of each set's own metric. The line at the end "
        "of a bar is the 95 % interval of the difference. *: significant; n.s.: not significant, in grey."
    )
    if rest:
        intro += f" Other languages ({', '.join(map(language, rest))}) are in the tables."
    return Section("sets", title, intro, {"panels": panels})


def _bars(lang: str, rows: Sequence[Outcome]) -> Panel:
    ranked = sorted(rows, key=lambda each: -each.gain)
    modes = {each.head.mode for each in rows} - {"", ZERO_SHOT}
    bars = [
        charts.Gain(set_name(each, modes=bool(modes)), each.gain, each.gain_interval, each.significant)
        for each in ranked
    ]
    alt = f"{language(lang)}: " + ", ".join(
        f"{row.label} {signed(row.value)}{_spoken(row.significant)}" for row in bars
    )
    return Panel(language(lang), charts.gains(bars, "gain, points", alt))


def set_name(outcome: Outcome, *, modes: bool = False) -> str:
    """The name of a set in a chart: without its collection, with its metric unless that is accuracy."""
    name = outcome.head.set.partition(":")[2] or outcome.head.set
    mode = outcome.head.mode if modes and outcome.head.mode != ZERO_SHOT else ""
    more = [part for part in ("" if outcome.metric == "accuracy" else outcome.metric, mode) if part]
    return f"{name} ({', '.join(more)})" if more else name


def _missing_results(found: Findings, what: str) -> Missing:
    """Say which results are missing, those of the run or those of the base model, and how to measure them."""
    runs = found.variant.runs
    if not any(run.results.rows for run in runs):
        text = f"{found.variant.name} has no eval.json yet. Evaluate it together with its base model:"
        return Missing(text, eval_command(runs))
    rows = [row for run in runs for row in run.results.scored]
    sets, langs = list(dict.fromkeys(row.set for row in rows)), list(dict.fromkeys(row.lang for row in rows))
    if any(each.before is None for each in found.outcomes):
        text = "eval.json has no results of the base model, so there is no gain to show. Evaluate both together:"
        return Missing(text, eval_command(runs, sets, langs))
    return Missing(f"eval.json has no {what} results. To measure them:", eval_command(runs))
