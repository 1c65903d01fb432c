"""What work costs: seconds, kilowatt-hours, grams of CO2e and operations, of this process and the commands it ran."""

from __future__ import annotations

from capivara_cli.costs.footprint import Footprint
from capivara_cli.costs.meter import Meter

__all__ = ["Footprint", "Meter"]
