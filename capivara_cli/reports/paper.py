"""Table 5 of the CAPIVARA paper (arXiv 2310.13683), what is wrong with it, and what energy and CO2e compare to."""

from __future__ import annotations

from dataclasses import dataclass

from capivara_cli.costs.footprint import Power

CARD_WATTS = 260.0
"""Of the Quadro RTX 8000 that the paper trained on."""
INTENSITY = 77.0
"""g CO2e per kWh, the paper's constant for Brazil; codecarbon's table said 158.6 then."""


@dataclass(frozen=True)
class Published:
    """A figure of the paper: ``kwh`` is what it prints as kW."""

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
        """What it says of the card, whose share of what codecarbon counts is not given."""
        return Power.measured("card", self.watts, CARD_WATTS)


TABLE_5 = (
    Published("CAPIVARA", 6.49, 31, "printed as kW"),
    Published("CAPIVARA + LoRA", 5.67, 16, "printed as kW; other parts than the card must be in it"),
    Published("CAPIVARA + Opt, the table", 0.22, 2, "printed as kW; the text says 1.8"),
    Published("CAPIVARA + Opt, the text", 1.8, 2, "the table says 0.22; three cards' power: impossible"),
)
REMARKS = (
    "the paper prints kW where it means kWh, and counts training only: writing its captions took about 630 times the "
    "operations of the Opt training",
    f"its CO2e is at {INTENSITY:g} g/kWh, where codecarbon's table had 158.6 for Brazil; for one run it prints 17 g in "
    "the table and 0.1 kg in the text; the others are computed here",
    f"(!): more than its card can draw, {CARD_WATTS:g} W",
)

GRAMS_PER_KM = 400 / 1.609344
"""CO2 of a car: 400 g a mile, the mean of those in use in the USA (EPA-420-F-23-014, June 2023)."""
KWH_PER_PHONE = 0.019
"""To charge a phone once (EPA, Greenhouse Gas Equivalencies Calculator, 2024)."""

_LEAST = 1e-5  # kWh: half a thousandth of a phone


def equivalents(kwh: float, co2e_g: float) -> str:
    """What it compares to, in one line, with the sources; "" for what is too little to compare."""
    if kwh < _LEAST:
        return ""
    metres = co2e_g / GRAMS_PER_KM * 1000
    way = f"{_figure(metres / 1000)} km" if metres >= 1000 else f"{_figure(metres)} m"
    return f"as much as charging a phone {_figure(kwh / KWH_PER_PHONE)} times, or {way} by car (EPA: 19 Wh; 249 g/km)"


def _figure(value: float) -> str:
    """Two digits, or as many as stand before the point."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
