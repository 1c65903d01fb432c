"""A GPU that several processes work on, by a driver made for the test."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from capivara_cli.costs.gpu_energy import Gpu, Gpus

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


def test_without_a_driver_there_are_none() -> None:
    assert Gpus(None).all == []
