"""What work costs: measured where codecarbon has seen enough of it, modelled where it has not."""

from __future__ import annotations

import time
from types import SimpleNamespace

import pytest

from capivara_cli.energy import Meter

DATA = SimpleNamespace(cpu_energy=1e-3, gpu_energy=2e-3, ram_energy=4e-3, gpu_model="", cpu_model="a processor")


def measured(seconds: float, tracked: float) -> Meter:
    """A meter that was begun so long ago, and whose tracker so long ago."""
    meter = Meter("train")
    with meter:
        now, cpu = time.monotonic(), meter._started[1]
        meter._started = (now - seconds, cpu)
        meter._tracker = SimpleNamespace(stop=lambda: None, final_emissions_data=DATA)
        meter._tracked_from = (now - tracked, cpu)
    return meter


def test_what_came_before_the_tracker_is_filled_in_at_its_mean_power():
    cost = measured(40.0, 20.0).footprint()
    assert (cost.source, cost.hardware) == ("codecarbon", "a processor")
    assert cost.kwh_gpu == pytest.approx(4e-3, rel=1e-2)
    assert cost.kwh_ram == pytest.approx(8e-3, rel=1e-2)


def test_a_tracker_that_saw_too_little_is_not_believed():
    cost = measured(12.0, 1.0).footprint()
    assert cost.source == "modelled"
    assert cost.kwh_gpu == 0.0
    assert cost.kwh_ram == pytest.approx(12.0 * 10 / 3.6e6, rel=1e-2)
