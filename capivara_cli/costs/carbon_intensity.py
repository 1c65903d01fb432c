"""The CO2e of a kilowatt-hour, and the source of that figure: codecarbon's tables, read without loading codecarbon."""

from __future__ import annotations

import functools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from capivara_cli.errors import CapivaraError, UsageError, unknown

AS_GIVEN = "as given"
"""The place of a grid that is given by ``--intensity`` alone."""
WORLD = "world"
_GRAMS_PER_POUND = 453.59237
_CANADA = {"coal": 995.725971, "petroleum": 816.6885263, "naturalGas": 743.8415916}
"""codecarbon's g CO2e per kWh for the energy sources of a Canadian province; other sources count as 0."""


class Place(Protocol):
    """The settings that say where the electricity comes from."""

    @property
    def country(self) -> str: ...
    @property
    def region(self) -> str: ...
    @property
    def intensity(self) -> str: ...


@dataclass(frozen=True)
class Intensity:
    """``grams`` of CO2e per kWh at a ``place`` ("BRA", "USA, california"), by ``source``."""

    grams: float
    place: str
    source: str

    @property
    def entry(self) -> dict[str, Any]:
        """The keys of a record that say where the electricity came from."""
        return {"intensity": self.grams, "country": self.place, "intensity_source": self.source}


def of(settings: Place) -> Intensity:
    """The carbon intensity by ``--intensity``, or by ``--country`` and ``--region``; by default the world average.

    Raises ``UsageError`` for a text that is no number and for a region without its country. Raises ``CapivaraError``
    for a code that is not in the table, where codecarbon itself would use the average.
    """
    country, region = settings.country.strip().upper(), settings.region.strip()
    if settings.intensity:
        place = ", ".join(part for part in (country, region) if part)
        return Intensity(_number(settings.intensity), place or AS_GIVEN, "--intensity")
    if region:
        if not country:
            raise UsageError(f"--region {region}: needs --country", "for example --country USA --region california")
        return _of_region(country, region)
    return of_country(country) if country else world()


def world() -> Intensity:
    """The world average, codecarbon's default."""
    grams = _table("carbon_intensity_per_source.json")["world_average"]
    return Intensity(float(grams), WORLD, "codecarbon's world average (IEA)")


def of_country(country: str) -> Intensity:
    """The yearly average of a country, by its ISO 3166 alpha-3 code."""
    table = _table("global_energy_mix.json")
    if country not in table:
        named = [code for code, entry in table.items() if entry["country_name"].upper() == country]
        hint = f"--country {named[0]}" if named else "ISO 3166 alpha-3, as in --country BRA"
        raise unknown("country", country, table, hint)
    entry = table[country]
    return Intensity(float(entry["carbon_intensity"]), country, f"codecarbon's table, {country} {entry['year']}")


def _of_region(country: str, region: str) -> Intensity:
    regions = _regions(country)
    if not regions:
        known = ", ".join(sorted(_REGIONAL))
        raise CapivaraError(f"--region {region}: there are no regions for {country!r}; there are for {known}")
    wanted = " ".join(region.lower().split())
    for name, (codes, grams) in regions.items():
        if wanted == name or wanted in codes:
            return Intensity(round(grams, 3), f"{country}, {name}", f"codecarbon's table, {country}, {name}")
    raise unknown(f"region of {country}", region, regions)


_Regions = dict[str, tuple[list[str], float]]
"""Name in lower case -> (other names and codes, g CO2e per kWh)."""


def _states() -> _Regions:
    table = _table("2023/usa_emissions.json")
    states = {name: entry for name, entry in table.items() if not name.startswith("_")}
    return {
        name: ([entry["regionCode"].lower()], entry["emissions"] * _GRAMS_PER_POUND / 1000)  # given in lb per MWh
        for name, entry in states.items()
    }


def _provinces_of_canada() -> _Regions:
    return {
        name: ([], sum(grams * mix.get(source, 0) for source, grams in _CANADA.items()) / mix["total"])
        for name, mix in _table("2023/canada_energy_mix.json").items()
    }


def _provinces_of_china() -> _Regions:
    entries = _table("2023/china_provincial_emissions.json")["data"]
    return {
        each["names"][0]: ([code.lower(), *each["names"]], each["emission_factor"]) for code, each in entries.items()
    }


def _zones(letters: str) -> _Regions:
    entries = _table("nordic_emissions.json")["data"]
    return {code.lower(): ([], each["emission_factor"]) for code, each in entries.items() if code.startswith(letters)}


_REGIONAL = {
    "USA": _states,
    "CAN": _provinces_of_canada,
    "CHN": _provinces_of_china,
    "SWE": lambda: _zones("SE"),
    "NOR": lambda: _zones("NO"),
    "FIN": lambda: _zones("FI"),
}
"""The countries for which codecarbon has figures by region."""


def _regions(country: str) -> _Regions:
    return _REGIONAL[country]() if country in _REGIONAL else {}


def _number(text: str) -> float:
    try:
        grams = float(text)
    except ValueError:
        grams = math.nan
    if not 0 <= grams < math.inf:
        raise UsageError(f"--intensity {text}: not a number of grams of CO2e per kWh", "for instance --intensity 98.3")
    return grams


@functools.cache
def _table(name: str) -> Mapping[str, Any]:
    path = data_folder() / "private_infra" / name
    try:
        found: Mapping[str, Any] = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise CapivaraError(f"{path}: codecarbon's table is not there", "pip install -U codecarbon") from error
    return found


def data_folder() -> Path:
    """The folder of codecarbon's tables, found without importing codecarbon, which takes a second."""
    spec = find_spec("codecarbon")
    return Path((spec.submodule_search_locations or [""])[0] if spec else "") / "data"
