"""Footprints as a table in text, Markdown or CSV; on request with Table 5 of the CAPIVARA paper (arXiv 2310.13683)."""

from __future__ import annotations

import csv
import io
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from capivara_cli import console
from capivara_cli.costs.footprint import Power
from capivara_cli.costs.ledger import CostSum, LedgerRecord
from capivara_cli.reports import markdown

CARD_WATTS = 260.0
"""The power limit of the Quadro RTX 8000, on which the paper trained."""
INTENSITY = 77.0
"""g CO2e per kWh, the paper's constant for Brazil; codecarbon's table had 158.6 at the time."""


@dataclass(frozen=True)
class Published:
    """A row of Table 5; ``kwh`` is the value that the paper prints as kW."""

    what: str
    kwh: float
    hours: float
    note: str

    @property
    def watts(self) -> float:
        return self.kwh * 1000 / self.hours

    @property
    def co2e_g(self) -> float:
        return self.kwh * INTENSITY

    @property
    def power(self) -> Power:
        """The mean power, all of it attributed to the card: the paper does not give the card's share."""
        return Power.measured("card", self.watts, CARD_WATTS)


TABLE_5 = (
    Published("CAPIVARA", 6.49, 31, "printed as kW"),
    Published("CAPIVARA + LoRA", 5.67, 16, "printed as kW; more than the card's power: other parts must be included"),
    Published("CAPIVARA + Opt, the table", 0.22, 2, "printed as kW; the text says 1.8"),
    Published("CAPIVARA + Opt, the text", 1.8, 2, "the table says 0.22; the power of three cards: impossible"),
)
REMARKS = (
    "the paper prints kW where it means kWh, and counts training only: writing its captions took about 630 times the "
    "operations of the Opt training",
    f"its CO2e assumes {INTENSITY:g} g/kWh, but codecarbon's table had 158.6 for Brazil; for one run it prints 17 g in "
    "the table and 0.1 kg in the text; the other values are computed here",
    f"(!): more power than its card can draw, {CARD_WATTS:g} W",
)

GRAMS_PER_KM = 400 / 1.609344
"""CO2 of a car: 400 g per mile, the mean of the cars in use in the USA (EPA-420-F-23-014, June 2023)."""
KWH_PER_PHONE = 0.019
"""Energy to charge a phone once (EPA, Greenhouse Gas Equivalencies Calculator, 2024)."""

_LEAST = 1e-5  # kWh; less is not compared: it is half a thousandth of a phone's charge

_COLUMNS = (
    "stage", "runs", "samples", "seconds", "cpu_seconds", "kwh_cpu", "kwh_gpu", "kwh_ram", "kwh", "co2e_g",
    "kwh_per_1000", "flops", "source",
)  # fmt: skip
_HEADER = (
    "stage", "runs", "samples", "time", "CPU time", "Wh CPU", "GPU", "memory", "Wh", "g CO2e", "Wh/1,000 images",
    "FLOP", "power was",
)  # fmt: skip
_BESIDE = "For comparison, Table 5 of the paper (training only)"
_HEADER_BESIDE = ("training", "kWh", "hours", "mean W", "g CO2e", "remark")


def page(rows: Sequence[CostSum], records: Sequence[LedgerRecord], form: str, paper: bool = False) -> str:
    """The whole page. ``rows``: one per stage, then the total. ``form``: "text", "md", or "csv" (without notes).

    ``paper`` adds the paper's table, with the training of ``rows`` at its end.
    """
    if form == "csv":
        return _csv(rows)
    total, train = rows[-1], [row for row in rows if row["stage"] == "train"]
    found = [*intensity_lines(records), equivalents(total["kwh"], total["co2e_g"]), *caveats(records)]
    notes = [note for note in found if note]
    if form == "md":
        parts = [_markdown(_HEADER, list(map(_cells, rows))), markdown.bullet_list(notes)]
        if paper:
            parts += [f"{_BESIDE}:", _markdown(_HEADER_BESIDE, _beside(train)), markdown.bullet_list(REMARKS)]
        return "\n\n".join(parts) + "\n"
    lines = [console.table(map(_cells, rows), _HEADER, result=True), "", *notes]
    if paper:
        lines += ["", f"{_BESIDE}:", console.table(_beside(train), _HEADER_BESIDE, result=True)]
        lines += [textwrap.fill(remark, 100) for remark in REMARKS]
    return "\n".join(lines) + "\n"


def _beside(train: Sequence[CostSum]) -> list[list[str]]:
    return [_published(each) for each in TABLE_5] + [_ours(row) for row in train]


def intensity_lines(records: Sequence[LedgerRecord]) -> list[str]:
    """A line for each carbon intensity in the records, with its place and source."""
    sources = dict.fromkeys((_intensity(each), each.get("intensity_source", "")) for each in records)
    return [f"carbon intensity: {value}" + (f" ({source})" if source else "") for value, source in sources]


def intensities(records: Sequence[LedgerRecord]) -> str:
    """The carbon intensities in the records, with their places, in one line."""
    return "; ".join(sorted({_intensity(each) for each in records}))


def _intensity(record: LedgerRecord) -> str:
    return f"{record.get('country') or 'world'}, {record.get('intensity', 0):g} g CO2e/kWh"


def caveats(records: Sequence[LedgerRecord]) -> list[str]:
    """The limits of these figures: how power was modelled, implausible powers, unknown parts of a pipe."""
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
                f"{each['stage']} was stopped or killed: its cost is counted until then, or until a minute before"
            )
        if each.get("unknown_before"):
            found.append(f"{each['stage']} read a pipe whose writer left no record: the cost before it is not counted")
    return list(dict.fromkeys(found))


def _cells(row: CostSum) -> list[str]:
    per = row["kwh_per_1000"]
    return [
        row["stage"], f"{row['runs']:,}", f"{row['samples']:,}" if row["samples"] else "",
        console.duration(row["seconds"]), console.duration(row["cpu_seconds"]),
        *(_wh(row[key]) for key in ("kwh_cpu", "kwh_gpu", "kwh_ram", "kwh")), f"{row['co2e_g']:.3g}",
        _wh(per) if per is not None else "", f"{row['flops']:.2e}" if row["flops"] else "", row["source"],
    ]  # fmt: skip


def _wh(kwh: float) -> str:
    return f"{kwh * 1000:,.0f}" if kwh >= 1 else f"{kwh * 1000:.3g}"


def _published(each: Published) -> list[str]:
    mark = "" if each.power.plausible else " (!)"
    return [
        f"paper: {each.what}", f"{each.kwh:g}", f"{each.hours:g}", f"{each.watts:.0f}{mark}", f"{each.co2e_g:.0f}",
        each.note,
    ]  # fmt: skip


def _ours(row: CostSum) -> list[str]:
    hours = row["seconds"] / 3600
    watts = row["kwh"] * 1000 / hours if hours else 0.0
    runs = f"{row['runs']} runs together, " if row["runs"] > 1 else ""
    return [
        "yours", f"{row['kwh']:.3g}", f"{hours:.3g}", f"{watts:.3g}", f"{row['co2e_g']:.3g}", f"{runs}{row['source']}",
    ]  # fmt: skip


def _csv(rows: Sequence[CostSum]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for row in rows:
        values: Mapping[str, object] = row
        writer.writerow(["" if values[key] is None else values[key] for key in _COLUMNS])
    return out.getvalue()


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    right = [False, *[True] * (len(header) - 2), False]
    return markdown.table(header, right, [[markdown.escaped(cell) for cell in row] for row in rows])


def equivalents(kwh: float, co2e_g: float) -> str:
    """A line that compares the energy with charging phones and the CO2e with driving; "" for very small amounts."""
    if kwh < _LEAST:
        return ""
    metres = co2e_g / GRAMS_PER_KM * 1000
    way = f"{_figure(metres / 1000)} km" if metres >= 1000 else f"{_figure(metres)} m"
    return f"as much as charging a phone {_figure(kwh / KWH_PER_PHONE)} times, or {way} by car (EPA: 19 Wh; 249 g/km)"


def _figure(value: float) -> str:
    """Two significant digits; whole numbers from 10 on."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
