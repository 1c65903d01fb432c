"""A GPU that several processes work on, by a driver made for the test."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from capivara_cli.costs import process_tree, sampler
from capivara_cli.costs.costs import Costs
from capivara_cli.costs.gpu_energy import Gpu, Gpus
from capivara_cli.costs.sampler import Usage

US, OTHERS = os.getpid(), os.getppid()


class Driver:
    """NVML with one GPU: what its counter says, in mJ, and who holds it."""

    NVMLError = OSError

    def __init__(self, users: list[int], counts: bool = True) -> None:
        self.users, self.counts = users, counts
        self.millijoules = 5_000_000
        self.milliwatts = 200_000

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 1

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetName(self, handle: int) -> str:  # noqa: N802
        return "A card"

    def nvmlDeviceGetPowerManagementLimit(self, handle: int) -> int:  # noqa: N802
        return 300_000

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:  # noqa: N802
        if not self.counts:
            raise OSError
        return self.millijoules

    def nvmlDeviceGetPowerUsage(self, handle: int) -> int:  # noqa: N802
        return self.milliwatts

    def nvmlDeviceGetComputeRunningProcesses(self, handle: int) -> list[SimpleNamespace]:  # noqa: N802
        return [SimpleNamespace(pid=pid) for pid in self.users]


def drawn(driver: Driver, joules: int = 1000) -> Gpu:
    gpus = Gpus(driver)
    driver.millijoules += joules * 1000
    gpus.sample([US], 5.0)
    return gpus.all[0]


@pytest.mark.parametrize(("users", "ours"), [([US], 1000.0), ([US, OTHERS], 500.0), ([OTHERS], 0.0)])
def test_what_it_draws_is_split_among_those_who_hold_it(users: list[int], ours: float) -> None:
    gpu = drawn(Driver(users))
    assert gpu.joules == ours
    assert (gpu.whole, gpu.seconds) == ((1000.0, 5.0) if ours else (0.0, 0.0))
    assert (gpu.name, gpu.limit) == ("A card", 300.0)


def test_without_a_counter_the_power_of_the_moment_counts() -> None:
    assert drawn(Driver([US], counts=False)).joules == 1000.0  # 200 W, 5 s


@pytest.mark.parametrize(
    ("users", "holds", "ours"), [([], True, 1000.0), ([], False, 0.0), ([999_999_999] * 2, True, 500.0)]
)
def test_in_a_container_open_files_tell(
    users: list[int], holds: bool, ours: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("capivara_cli.costs.gpu_energy._holds", lambda process, index: holds and process == US)
    assert drawn(Driver(users)).joules == ours


@pytest.mark.parametrize(
    ("devices", "error", "found"),
    [(["/dev/nvidia0"], None, ["A card"]), ([], None, []), (["/dev/nvidia0"], OSError(), [])],
    ids=["a card", "no device file", "a driver that does not start"],
)
def test_cards_are_looked_for_where_there_is_a_device_and_a_driver(
    devices: list[str], error: OSError | None, found: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    driver: Any = Driver([US])
    started: list[int] = []

    def start() -> None:
        started.append(1)
        if error:
            raise error

    driver.nvmlInit = start
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    monkeypatch.setattr("capivara_cli.costs.gpu_energy.Path", lambda path: SimpleNamespace(glob=lambda name: devices))
    assert [gpu.name for gpu in Gpus.of_this_machine().all] == found
    assert len(started) == len(devices)
    monkeypatch.setitem(sys.modules, "pynvml", None)  # not installed
    assert Gpus.of_this_machine().all == []


def test_without_a_driver_there_are_none() -> None:
    assert Gpus(None).all == []


def test_each_sample_adds_what_was_drawn_since_the_one_before() -> None:
    driver = Driver([US])
    gpus = Gpus(driver)
    for joules, users in ((100, [US]), (200, [US, OTHERS]), (400, [OTHERS]), (800, [US])):
        driver.users = users
        driver.millijoules += joules * 1000
        gpus.sample([US], 2.0)
    (gpu,) = gpus.all
    assert (gpu.joules, gpu.whole, gpu.seconds) == (100 + 100 + 800, 100 + 200 + 800, 6.0)


def test_several_processes_of_ours_have_a_share_each_and_never_more_than_all() -> None:
    driver = Driver([US, OTHERS, 7, 8])
    gpus = Gpus(driver)
    driver.millijoules += 1_000_000
    gpus.sample([US, 7], 1.0)
    assert gpus.all[0].joules == 500.0
    driver.users = [7, 7]  # one process with two contexts
    driver.millijoules += 1_000_000
    gpus.sample([US, 7], 1.0)
    assert gpus.all[0].joules == 1000.0


def test_two_of_our_processes_that_hold_a_card_use_no_more_than_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("capivara_cli.costs.gpu_energy._holds", lambda process, index: True)
    driver = Driver([])  # the driver of a container names nobody
    gpus = Gpus(driver)
    driver.millijoules += 1_000_000
    gpus.sample([US, OTHERS], 1.0)
    assert gpus.all[0].joules == 1000.0


def test_without_a_counter_each_sample_adds_to_those_before() -> None:
    driver = Driver([US], counts=False)
    gpus = Gpus(driver)
    driver.milliwatts = 100_000
    gpus.sample([US], 3.0)
    gpus.sample([US], 2.0)
    assert gpus.all[0].joules == 500.0


def test_a_command_on_a_gpu_costs_its_joules(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the driver to the record: 3,600 J of our share are a thousandth of a kilowatt-hour."""
    driver = Driver([US, OTHERS])
    monkeypatch.setattr(process_tree, "processes", lambda: [US])
    monkeypatch.setattr(sampler.Gpus, "of_this_machine", classmethod(lambda cls: cls(driver)))
    costs = Costs()
    with costs.meter("train", now=True, modelled=True) as measuring:
        driver.millijoules += 7_200_000
        costs.account.sampler._gpus.all[0].seconds = 0.0  # type: ignore[union-attr]
        monkeypatch.setattr(sampler, "time", type("Clock", (), {"monotonic": lambda: costs.account.sampler._at + 60.0}))
        cost = measuring.footprint()
    assert cost.kwh_gpu == pytest.approx(0.001)
    assert (cost.source, cost.device) == ("GPU measured, CPU modelled", "cuda")
    assert cost.hardware.startswith("A card + ")
    assert cost.watts["A card"] == pytest.approx(120.0)  # of the whole card, 7,200 J in 60 s
    assert cost.power["gpu"] == "measured: NVML, shared equally among the processes on it"


def test_usage_between_two_moments() -> None:
    assert Usage(1.0, 20.0, [1]).until(Usage(4.0, 50.0, [1, 2])) == Usage(3.0, 30.0, [1, 2])
