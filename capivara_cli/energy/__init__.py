"""What work costs: seconds, kilowatt-hours, grams of CO2e and operations, of this process and the commands it ran."""

from __future__ import annotations

from capivara_cli.energy.cost import Footprint
from capivara_cli.energy.meter import Meter

__all__ = ["Footprint", "Meter"]
