"""What work costs: seconds, kilowatt-hours and grams of CO2e, measured by codecarbon, offline and in the background."""

from __future__ import annotations

import json
import resource
import threading
import time
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any

from capivara_cli.errors import unknown

WORLD_INTENSITY = 475.0
"""g CO2e per kWh, the world average that codecarbon uses where it knows no better."""

_TRACK_AFTER = 10.0  # s: codecarbon takes 4 s to find its power model; work shorter than this is modelled instead
_TRACKED_AT_LEAST = 5.0  # s: what codecarbon has seen of less says nothing about the rest
_WATTS_PER_THREAD = 4.0  # codecarbon's constant for a processor whose model it does not know
_WATTS_MEMORY = 10.0  # codecarbon's constant for the memory of one process
_JOULES_PER_KWH = 3.6e6


@dataclass(frozen=True)
class Footprint:
    """The cost of one piece of work: energy in kWh, ``intensity`` in g CO2e per kWh.

    ``source`` is "codecarbon" (its power readings or model, for the whole run) or "modelled" (too short for a tracker:
    processor seconds times 4 W, and 10 W of memory, codecarbon's constants for unknown hardware; graphics
    processors count as 0).
    """

    stage: str
    seconds: float
    cpu_seconds: float
    kwh_cpu: float
    kwh_gpu: float
    kwh_ram: float
    intensity: float
    country: str
    source: str
    hardware: str

    @property
    def kwh(self) -> float:
        return self.kwh_cpu + self.kwh_gpu + self.kwh_ram

    @property
    def co2e_g(self) -> float:
        """Grams of CO2 equivalent."""
        return self.kwh * self.intensity

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "kwh": self.kwh, "co2e_g": self.co2e_g}

    def __str__(self) -> str:
        return f"{self.kwh * 1000:.3g} Wh, {self.co2e_g:.2g} g CO2e ({self.source})"


class Meter:
    """Measures the work inside ``with Meter(...)``: this process and the commands it ran.

    Costs nothing at the start: codecarbon is imported in a thread once the work has lasted 10 s, and what came before
    is filled in at the mean power seen since. It keeps quiet, opens no socket and writes no file.
    """

    def __init__(self, stage: str, country: str = "", *, tracked: bool = True) -> None:
        self.stage = stage
        self.country = country.upper()
        self.intensity = intensity(self.country)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._track, name="capivara-energy", daemon=True)
        self._wanted = tracked
        self._tracker: Any = None
        self._tracked_from = (0.0, 0.0)
        self._started = (0.0, 0.0)

    def __enter__(self) -> Meter:
        self._started = (time.monotonic(), _cpu_seconds())
        if self._wanted:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()

    def footprint(self) -> Footprint:
        """What the work cost up to now; ends the measurement."""
        self._stopped.set()
        if self._wanted:
            self._thread.join(timeout=6.0)
        seconds = time.monotonic() - self._started[0]
        cpu = _cpu_seconds() - self._started[1]
        tracked = time.monotonic() - self._tracked_from[0]
        data = self._stop_tracker()
        if data is None or tracked < _TRACKED_AT_LEAST:
            energy = (cpu * _WATTS_PER_THREAD / _JOULES_PER_KWH, 0.0, seconds * _WATTS_MEMORY / _JOULES_PER_KWH)
            source, hardware = "modelled", "unknown"
        else:
            share = tracked / seconds
            cpu_share = max(_cpu_seconds() - self._tracked_from[1], 1e-9) / max(cpu, 1e-9)
            energy = (data.cpu_energy / min(cpu_share, 1.0), data.gpu_energy / share, data.ram_energy / share)
            source, hardware = "codecarbon", data.gpu_model or data.cpu_model or "unknown"
        return Footprint(
            self.stage,
            round(seconds, 3),
            round(cpu, 3),
            *energy,
            self.intensity,
            self.country or "world",
            source,
            hardware,
        )

    def _track(self) -> None:
        if self._stopped.wait(_TRACK_AFTER):
            return
        import logging

        from codecarbon import OfflineEmissionsTracker

        # After the import, which resets it, and before the tracker, which logs while it is being made.
        logging.getLogger("codecarbon").setLevel(logging.CRITICAL)
        tracker = OfflineEmissionsTracker(
            country_iso_code=self.country or "USA",  # only its energy is used: the intensity is ours
            tracking_mode="process",
            output_methods=[],
            measure_power_secs=15,
            log_level="critical",
            allow_multiple_runs=True,
        )
        begun = (time.monotonic(), _cpu_seconds())
        tracker.start()
        self._tracked_from = begun
        self._tracker = tracker

    def _stop_tracker(self) -> Any:
        """codecarbon's data, None when there is none: it swallows its own errors, so its word is not enough."""
        if self._tracker is None:
            return None
        self._tracker.stop()
        return getattr(self._tracker, "final_emissions_data", None)


def _cpu_seconds() -> float:
    """Processor seconds of this process and of the children it has waited for."""
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime


def intensity(country: str) -> float:
    """g CO2e per kWh of a country (ISO 3166 alpha-3), from codecarbon's table; "" is the world average.

    Raises ``CapivaraError`` for a code the table does not have, where codecarbon itself would go on with the average.
    """
    if not country:
        return WORLD_INTENSITY
    spec = find_spec("codecarbon")
    folder = Path((spec.submodule_search_locations or [""])[0] if spec else "")
    table = json.loads((folder / "data" / "private_infra" / "global_energy_mix.json").read_text("utf-8"))
    if country not in table:
        raise unknown("country", country, table, "ISO 3166 alpha-3, as in --country BRA")
    return float(table[country]["carbon_intensity"])
