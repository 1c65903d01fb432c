"""Sums of footprints for people, for Markdown and for a spreadsheet."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Sequence
from typing import Any

from capivara_cli import console
from capivara_cli.reports import markdown, paper

Row = dict[str, Any]

_COLUMNS = (
    "stage", "runs", "samples", "seconds", "cpu_seconds", "kwh_cpu", "kwh_gpu", "kwh_ram", "kwh", "co2e_g",
    "kwh_per_1000", "flops", "source",
)  # fmt: skip
_HEADER = (
    "stage", "runs", "samples", "time", "CPU time", "Wh CPU", "GPU", "memory", "Wh", "g CO2e", "Wh/1,000 images",
    "FLOP", "power was",
)  # fmt: skip
_BESIDE = "Beside it the paper's Table 5, training alone"
_HEADER_BESIDE = ("training", "kWh", "hours", "mean W", "g CO2e", "remark")


def page(rows: Sequence[Row], records: Sequence[Row], form: str) -> str:
    """``rows``: one per stage, then the total. ``form``: text, md or csv, which holds the rows alone."""
    if form == "csv":
        return _csv(rows)
    total, train = rows[-1], [row for row in rows if row["stage"] == "train"]
    found = [*places(records), paper.equivalents(total["kwh"], total["co2e_g"]), *doubts(records)]
    notes = [note for note in found if note]
    if form == "md":
        parts = [_markdown(_HEADER, list(map(_cells, rows))), _listed(notes)]
        if train:
            parts += [f"{_BESIDE}:", _markdown(_HEADER_BESIDE, _beside(train)), _listed(paper.REMARKS)]
        return "\n\n".join(parts) + "\n"
    lines = [console.table(map(_cells, rows), _HEADER), "", *notes]
    if train:
        lines += ["", f"{_BESIDE}:", console.table(_beside(train), _HEADER_BESIDE)]
        lines += [textwrap.fill(remark, 100) for remark in paper.REMARKS]
    return "\n".join(lines) + "\n"


def _listed(notes: Sequence[str]) -> str:
    return "\n".join(f"- {markdown.escaped(note)}" for note in notes)


def _beside(train: Sequence[Row]) -> list[list[str]]:
    return [_published(each) for each in paper.TABLE_5] + [_ours(row) for row in train]


def places(records: Sequence[Row]) -> list[str]:
    """Each carbon intensity in use, with its place and source."""
    found = dict.fromkeys(
        (each.get("intensity", 0.0), each.get("country") or "world", each.get("intensity_source", ""))
        for each in records
    )
    return [
        f"carbon intensity: {place}, {grams:g} g CO2e/kWh" + (f" ({source})" if source else "")
        for grams, place, source in found
    ]


def doubts(records: Sequence[Row]) -> list[str]:
    """What stands against these figures: how power was modelled, implausible means, parts of a pipe not known."""
    models = dict.fromkeys(
        f"{part} {how}" for each in records for part, how in (each.get("power") or {}).items() if how
    )
    names = {"cpu": "processor", "gpu": "GPU", "ram": "memory"}
    found = [f"{names.get(part, part)}: {how}" for part, _, how in (each.partition(" ") for each in models)]
    for each in records:
        if each.get("plausible") is False:
            watts = ", ".join(f"{name} {value:.3g} W" for name, value in each.get("watts", {}).items())
            found.append(f"NOT PLAUSIBLE: {each['stage']}: {watts}: no such device draws that")
        if each.get("unfinished"):
            found.append(
                f"{each['stage']} was stopped or killed: what it took until then, or a minute before, is in it"
            )
        if each.get("unknown_before"):
            found.append(f"{each['stage']} read a pipe whose writer left no record: what came before it is not counted")
    return list(dict.fromkeys(found))


def _cells(row: Row) -> list[str]:
    per = row["kwh_per_1000"]
    return [
        row["stage"], f"{row['runs']:,}", f"{row['samples']:,}" if row["samples"] else "",
        console.duration(row["seconds"]), console.duration(row["cpu_seconds"]),
        *(_wh(row[key]) for key in ("kwh_cpu", "kwh_gpu", "kwh_ram", "kwh")), f"{row['co2e_g']:.3g}",
        _wh(per) if per is not None else "", f"{row['flops']:.2e}" if row["flops"] else "", row["source"],
    ]  # fmt: skip


def _wh(kwh: float) -> str:
    return f"{kwh * 1000:,.0f}" if kwh >= 1 else f"{kwh * 1000:.3g}"


def _published(each: paper.Published) -> list[str]:
    mark = "" if each.power.plausible else " (!)"
    return [
        f"paper: {each.what}", f"{each.kwh:g}", f"{each.hours:g}", f"{each.watts:.0f}{mark}", f"{each.co2e_g:.0f}",
        each.note,
    ]  # fmt: skip


def _ours(row: Row) -> list[str]:
    hours = row["seconds"] / 3600
    watts = row["kwh"] * 1000 / hours if hours else 0.0
    runs = f"{row['runs']} runs together, " if row["runs"] > 1 else ""
    return [
        "yours", f"{row['kwh']:.3g}", f"{hours:.3g}", f"{watts:.3g}", f"{row['co2e_g']:.3g}", f"{runs}{row['source']}",
    ]  # fmt: skip


def _csv(rows: Sequence[Row]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows([["" if row[key] is None else row[key] for key in _COLUMNS] for row in rows])
    return out.getvalue()


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    right = [False, *[True] * (len(header) - 2), False]
    return markdown.table(header, right, [[markdown.escaped(cell) for cell in row] for row in rows])
