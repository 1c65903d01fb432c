"""How training went, and, where several variants were trained, what their options changed."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from capivara_cli.pipeline.options import flag_of
from capivara_cli.reports.page import charts
from capivara_cli.reports.page.findings import Findings, Outcome, Variant, ordered, outcomes
from capivara_cli.reports.page.gains import named
from capivara_cli.reports.page.markup import Section, Table, escaped, missing, points, score
from capivara_cli.reports.page.read_run import Run

_MOST_COLUMNS = 6


def curves(found: Findings) -> Section:
    """Loss, its terms and the validations over the steps; the loss of every seed."""
    title, run = "How training went", found.variant.first
    if not run.metrics:
        return Section("training", title, "", missing(f"{run.path}/metrics.jsonl is missing or empty."))
    panels = [("Loss", _loss(found.variant))]
    terms = run.metrics[0].get("terms", {})
    if len(terms) > 1:
        panels.append(
            (
                "Its terms",
                _lines({name: _series(run, lambda line, n=name: line["terms"].get(n)) for name in terms}, "unweighted"),
            )
        )
    validated = [line for line in run.metrics if line.get("val")]
    if validated:
        names = list(validated[0]["val"])
        series = {name: _series(run, lambda line, n=name: (line.get("val") or {}).get(n)) for name in names}
        panels.append(("Mean recall on what was held out", _lines(series, "%")))
    panels.append(("Learning rate", _lines({"learning rate": _series(run, lambda line: line.get("lr"))}, "")))
    body = "".join(f'<div class="panel"><h3>{escaped(name)}</h3>{html}</div>' for name, html in panels)
    result = run.document.get("result", {})
    facts = [f"{len(run.metrics):,} steps"]
    if result.get("pairs_per_second"):
        facts.append(f"{result['pairs_per_second']:,.0f} pairs per second")
    if result.get("peak_bytes"):
        facts.append(f"at most {result['peak_bytes'] / 1e9:.2f} GB of memory")
    parameters = run.document.get("parameters", {})
    if parameters.get("trainable"):
        facts.append(
            f"{parameters['trainable']:,} of {parameters['total']:,} parameters trained ({parameters['percent']:.2f} %)"
        )
    return Section("training", title, ", ".join(facts) + ".", f'<div class="panels three">{body}</div>')


def _series(run: Run, value: Any) -> tuple[list[float], list[float]]:
    pairs = [(line["step"], value(line)) for line in run.metrics]
    known = [(step, number) for step, number in pairs if isinstance(number, int | float)]
    return [step for step, _ in known], [number for _, number in known]


def _loss(variant: Variant) -> str:
    return _lines({run.name: _series(run, lambda line: line["loss"]) for run in variant.runs}, "loss")


def _lines(series: dict[str, tuple[list[float], list[float]]], label: str) -> str:
    alt = "; ".join(f"{name}: {values[0]:.3g} to {values[-1]:.3g}" for name, (_, values) in series.items() if values)
    return charts.lines(series, label, alt)


def ablation(found: Findings) -> Section | None:
    """The options that differ between the variants, and what each gave; None for one variant."""
    if len(found.variants) < 2:
        return None
    differing = _differing(found.variants)
    columns = _columns(found)
    table = Table(["run|", *(f"{flag_of(name)}|" for name in differing), *columns.values()])
    for number, variant in enumerate(found.variants):
        options = [escaped(_value(variant, name)) for name in differing]
        table.add([escaped(variant.name), *options, *_results(found, variant, columns)], "after" if number == 0 else "")
    intro = (
        "The options that differ between the runs, and their results with the gain over the base model; ± over seeds."
    )
    return Section("ablation", "What the options change", intro, table.to_html())


def _differing(variants: Sequence[Variant]) -> list[str]:
    """Options of the request, and facts about the data, that are not the same for all."""
    requests = [variant.first.request for variant in variants]
    names = list(dict.fromkeys(key for request in requests for key in request if key != "seed"))
    differing = [name for name in names if len({repr(request.get(name)) for request in requests}) > 1]
    data = [variant.first.document.get("data", {}) for variant in variants]
    if len({repr(each.get("fingerprint")) for each in data}) > 1:
        differing.append("data")
    return differing


def _value(variant: Variant, name: str) -> str:
    if name == "data":
        data = variant.first.document.get("data", {})
        counts = ", ".join(f"{count:,} {lang}" for lang, count in data.get("captions", {}).items())
        return f"{data.get('samples', 0):,} images; {counts}"
    value = variant.first.request.get(name)
    return "—" if value in ("", None) else f"{value:g}" if isinstance(value, float) else str(value)


Column = tuple[str, str, str, str]


def _column(outcome: Outcome) -> Column:
    """(part, set, language, way) of what is compared."""
    return outcome.part, outcome.place, outcome.lang, outcome.head.mode


def _columns(found: Findings) -> dict[Column, str]:
    """What is compared and its title: what was taught and English first."""
    shown = ordered(found.outcomes, found.taught)
    return {_column(each): f"{each.lang}: {named(each, modes=True)}" for each in shown[:_MOST_COLUMNS]}


def _results(found: Findings, variant: Variant, columns: Iterable[Column]) -> list[str]:
    measured = {
        _column(each): each for part in ("retrieval", "classification") for each in outcomes(found.runs, variant, part)
    }
    cells = []
    for column in columns:
        outcome = measured.get(column)
        if outcome is None or not outcome.after:
            cells.append("—")
            continue
        std = "" if outcome.std is None else f" ± {outcome.std:.1f}"
        gain = f" <small>{points(outcome.gain)}</small>" if outcome.before else ""
        cells.append(f"<b>{score(statistics.fmean(outcome.scores))}</b>{std}{gain}")
    return cells
