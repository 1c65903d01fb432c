"""The training curves, and what the options changed if several variants were trained."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from capivara_cli import console
from capivara_cli.models.run_document import RunDocument
from capivara_cli.pipeline.options import flag_of
from capivara_cli.reports.page import charts
from capivara_cli.reports.page.findings import Findings, Outcome, Variant, ordered, outcomes, settings
from capivara_cli.reports.page.formats import language, points, score
from capivara_cli.reports.page.gains import set_name
from capivara_cli.reports.page.read_run import Run
from capivara_cli.reports.page.section import Missing, Panel, Section
from capivara_cli.reports.tables.table import NONE, Cell, Group, Table, cells, columns

_MOST_COLUMNS = 6


def curves(found: Findings) -> Section:
    """Show the loss of every seed, its terms, the validations and the learning rate over the steps."""
    title, run = "How training went", found.variant.first
    if not run.metrics:
        return Section("training", title, missing=Missing(f"{run.path}/metrics.jsonl is missing or empty."))
    last = max(line["step"] for each in found.variant.runs for line in each.metrics)
    panels = [_panel("Loss", {each.name: _series(each, "loss") for each in found.variant.runs}, "loss", last)]
    terms = run.metrics[0].get("terms", {})
    if len(terms) > 1:
        panels.append(_panel("Loss terms", {name: _series(run, "terms", name) for name in terms}, "unweighted", last))
    if validated := [line for line in run.metrics if line.get("val")]:
        series = {language(name): _series(run, "val", name) for name in validated[0]["val"]}
        panels.append(_panel("Mean recall on held-out images", series, "%", last))
    panels.append(_panel("Learning rate", {"learning rate": _series(run, "lr")}, "", last))
    result = run.document.get("result", {})
    facts = [f"{len(run.metrics):,} steps"]
    if result.get("pairs_per_second"):
        facts.append(f"{result['pairs_per_second']:,.0f} pairs per second")
    if result.get("peak_bytes"):
        facts.append(f"at most {console.size(result['peak_bytes'])} of memory")
    parameters = run.document.get("parameters", {})
    if parameters.get("trainable"):
        facts.append(
            f"{parameters['trainable']:,} of {parameters['total']:,} parameters trained ({parameters['percent']:.2f} %)"
        )
    return Section("training", title, ", ".join(facts) + ".", {"panels": panels})


Series = tuple[list[float], list[float]]


def _series(run: Run, *keys: str) -> Series:
    """The steps that logged a number under nested ``keys``, and the numbers."""
    pairs = []
    for line in run.metrics:
        value: Any = line
        for key in keys:
            value = (value or {}).get(key)
        if isinstance(value, int | float):
            pairs.append((line["step"], value))
    return [step for step, _ in pairs], [number for _, number in pairs]


def _panel(title: str, series: dict[str, Series], label: str, last: int) -> Panel:
    alt = "; ".join(f"{name}: {values[0]:.3g} to {values[-1]:.3g}" for name, (_, values) in series.items() if values)
    return Panel(title, charts.lines(series, label, alt, last))


def ablation(found: Findings) -> Section | None:
    """Show the options that differ between the variants, and the results of each; None for one variant."""
    if len(found.variants) < 2:
        return None
    differing = _differing(found.variants)
    measures = _measures(found)
    flags = [name if name in _RECORDED else flag_of(name) for name in differing]
    rows = []
    for variant in found.variants:
        options = [_value(variant, name) for name in differing]
        rows.append(cells([variant.name, *options, *_results(found, variant, measures)]))
    title = "What the options change"
    roles = ("after", *[""] * (len(rows) - 1))
    headings = columns(["run", *flags, *measures.values()], ("run", *flags))
    table = Table(title, headings, (Group("", tuple(rows), roles),))
    intro = (
        "What differs between the runs, and the results of each with the difference from the base model. "
        "*: significant; n.s.: not significant."
    )
    if any(len(variant.runs) > 1 for variant in found.variants):
        intro += " ± is the standard deviation over seeds."
    return Section("ablation", title, intro, {"table": table})


def _differing(variants: Sequence[Variant]) -> list[str]:
    """The names of the settings that differ between the variants: options, and what differs without an option."""
    each = [settings(variant.first) for variant in variants]
    names = list(dict.fromkeys(key for found in each for key in found))
    differing = [name for name in names if len({repr(found.get(name)) for found in each}) > 1]
    return [name for name in differing if not _FOLLOWS.get(name, set()) & {*differing}]


_FOLLOWS = {
    "base model": {"model", "pretrained"},
    "files": {"model", "pretrained", "teacher", "val", "continue_from"},
    "batch": {"batch_size", "keep_lang", "keep_share"},
}
"""What differs only because one of these options does is not shown."""


_RECORDED: dict[str, Callable[[RunDocument], str]] = {
    "data": lambda document: _data(document.get("data", {})),
    "base model": lambda document: " ".join(str(document.get("base", {}).get(key))[:15] for key in ("image", "text")),
    "files": lambda document: _files(document.get("contents", {})),
    "batch": lambda document: _batch(document.get("batch", {})),
}
"""What is compared beside the options, each with its text in the table."""


def _data(data: Mapping[str, Any]) -> str:
    counts = ", ".join(f"{count:,} {lang}" for lang, count in data.get("captions", {}).items())
    return f"{data.get('samples', 0):,} images; {counts}"


def _files(contents: Mapping[str, str]) -> str:
    return ", ".join(f"{flag_of(name)} {digest[:8]}" for name, digest in contents.items()) or NONE


def _batch(batch: Mapping[str, Any]) -> str:
    return f"{batch.get('size', 0):,} pairs, {batch.get('precision', '?')}"


def _value(variant: Variant, name: str) -> str:
    if name in _RECORDED:
        return _RECORDED[name](variant.first.document)
    value = variant.first.request.get(name)
    return NONE if value in ("", None) else f"{value:g}" if isinstance(value, float) else str(value)


Measure = tuple[str, str, str, str]


def _measure(outcome: Outcome) -> Measure:
    """(part, set, language, mode)."""
    return outcome.part, outcome.set_label, outcome.lang, outcome.head.mode


def _measures(found: Findings) -> dict[Measure, str]:
    """What is compared, and its heading; the trained languages and English come first."""
    shown = ordered(found.outcomes, found.trained)
    return {_measure(each): f"{each.lang}: {set_name(each, modes=True)}" for each in shown[:_MOST_COLUMNS]}


def _results(found: Findings, variant: Variant, measures: Iterable[Measure]) -> list[str | Cell]:
    measured = {
        _measure(each): each for part in ("retrieval", "classification") for each in outcomes(found.runs, variant, part)
    }
    results: list[str | Cell] = []
    for measure in measures:
        outcome = measured.get(measure)
        if outcome is None or not outcome.after:
            results.append(NONE)
            continue
        notes = [] if outcome.std is None else [Cell(f"± {outcome.std:.1f}")]
        notes += [points(outcome.gain, outcome.significant)] if outcome.before else []
        results.append(Cell(score(statistics.fmean(outcome.scores)), strong=True, notes=tuple(notes)))
    return results
