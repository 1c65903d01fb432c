"""What work costs: of this process alone, so that what runs together can be added up."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from support.made import a_footprint

from capivara_cli import console
from capivara_cli.costs import carbon_intensity, codecarbon_counter, cpu_power, meter, process_tree, sampler
from capivara_cli.costs.carbon_intensity import Intensity
from capivara_cli.costs.costs import Costs
from capivara_cli.costs.cpu_power import Processor
from capivara_cli.costs.footprint import Power, all_plausible
from capivara_cli.costs.sampler import WATTS_PER_GB, Sampler
from capivara_cli.costs.worker_costs import WorkerCosts
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.pipeline.options import Settings

CHIP = Processor("a processor", 100.0, 20, "modelled: made for a test")


@dataclass
class Machine:
    """A clock, and counters of seconds that processors were busy: for us (``cpu``), and for the whole machine."""

    now: float = 1000.0
    cpu: float = 50.0
    busy: float = 5000.0
    age: float = 100.0
    gigabytes: float = 2.0

    def work(self, seconds: float, cpu: float, busy: float = 0.0) -> None:
        self.now, self.cpu, self.busy = self.now + seconds, self.cpu + cpu, self.busy + busy

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine of the test's own, with one known processor: what else runs here changes no figure."""
    made = Machine()
    for module in (meter, sampler, codecarbon_counter):
        monkeypatch.setattr(module, "time", made)
    monkeypatch.setattr(cpu_power, "this_processor", lambda: CHIP)
    monkeypatch.setattr(process_tree, "cpu_seconds", lambda alive=(): made.cpu)
    monkeypatch.setattr(process_tree, "busy_seconds", lambda: made.busy)
    monkeypatch.setattr(process_tree, "age", lambda: made.age)
    monkeypatch.setattr(process_tree, "processes", lambda: [1])
    monkeypatch.setattr(process_tree, "resident_bytes", lambda processes: made.gigabytes * 1e9)
    return made


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(console, "say", lines.append)
    return lines


def of(**given: str) -> Intensity:
    return carbon_intensity.of(Settings(**given))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "place", "grams", "source"),
    [
        ({}, "world", 475.0, "codecarbon's world average (IEA)"),
        ({"country": "bra"}, "BRA", 98.348, "codecarbon's table, BRA 2023"),
        ({"intensity": "77"}, "as given", 77.0, "--intensity"),
        ({"intensity": "0", "country": "isl"}, "ISL", 0.0, "--intensity"),
        ({"country": "USA", "region": "Alabama"}, "USA, alabama", 323.854, "codecarbon's table, USA, alabama"),
        ({"country": "USA", "region": "al"}, "USA, alabama", 323.854, "codecarbon's table, USA, alabama"),
        ({"country": "CHN", "region": "Hebei"}, "CHN, hebei", 651.6, "codecarbon's table, CHN, hebei"),
        ({"country": "SWE", "region": "SE3"}, "SWE, se3", 27.0, "codecarbon's table, SWE, se3"),
    ],
)  # fmt: skip
def test_the_carbon_intensity_and_who_says_so(given: dict[str, str], place: str, grams: float, source: str) -> None:
    assert of(**given) == Intensity(grams, place, source)


def test_a_canadian_province_is_the_mean_of_its_sources() -> None:
    natural_gas, petroleum = 2.8 * 743.8415916, 0.1 * 816.6885263  # British Columbia, percent of 99.9
    assert of(country="CAN", region="british columbia").grams == pytest.approx(
        (natural_gas + petroleum) / 99.9, abs=1e-3
    )


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"country": "BRZ"}, CapivaraError, "there is no country 'BRZ'"),
        ({"country": "USA", "region": "alabam"}, CapivaraError, "did you mean alabama?"),
        ({"country": "BRA", "region": "bahia"}, CapivaraError, "there are for CAN, CHN, FIN, NOR, SWE, USA"),
        ({"region": "quebec"}, UsageError, "--region quebec: needs --country"),
        ({"intensity": "low"}, UsageError, "--intensity low: not a number of grams"),
        ({"intensity": "-1"}, UsageError, "--intensity -1: not a number"),
        ({"intensity": "inf"}, UsageError, "--intensity inf: not a number"),
    ],
)
def test_what_is_wrong_with_a_place(given: dict[str, str], error: type[CapivaraError], message: str) -> None:
    with pytest.raises(error) as raised:
        of(**given)
    assert message in raised.value.message


def test_a_countrys_name_is_told_its_code() -> None:
    with pytest.raises(CapivaraError) as raised:
        of(country="Brazil")
    assert raised.value.hint == "--country BRA"


@pytest.mark.parametrize(
    ("model", "entry"),
    [
        ("AMD EPYC 7763 64-Core Processor", ("AMD EPYC 7763", 280.0)),
        ("AMD Ryzen 9 5950X 16-Core Processor", ("AMD Ryzen 9 5950X", 105.0)),
        ("Intel(R) Xeon(R) Processor", None),  # any of hundreds
        ("a processor that nobody has made", None),
        ("", None),
    ],
)
def test_a_processor_is_found_by_its_name_if_only_one_fits(model: str, entry: tuple[str, float] | None) -> None:
    assert cpu_power.table_entry(model) == entry


def test_power_that_a_device_cannot_draw() -> None:
    assert Power.measured("card", 900.0, 260.0).plausible is False
    assert Power.measured("card", 5.0, 260.0).plausible is False
    assert Power.measured("card", 200.0, 260.0).plausible is True
    assert Power.measured("card", 200.0, 0.0).plausible is None
    assert str(Power.measured("card", 900.0, 260.0)) == "card: 900 W, and it draws 13 to 286 W"
    assert all_plausible([Power.measured("a", 1, 0), Power.measured("b", 5, 9)]) is True
    assert all_plausible([]) is None


def test_a_second_of_the_processor_costs_its_part_of_the_tdp(machine: Machine) -> None:
    with Costs().meter("train", Intensity(100.0, "BRA", "a table")) as measuring:
        machine.work(seconds=10.0, cpu=4.0)
        cost = measuring.footprint()
    assert (cost.seconds, cost.cpu_seconds) == (10.0, 4.0)
    assert cost.kwh_cpu == 4.0 * 5.0 / 3.6e6  # 100 W of 20 threads
    assert cost.kwh_ram == pytest.approx(10.0 * 2.0 * 0.375 / 3.6e6)
    assert (cost.source, cost.hardware, cost.kwh_gpu) == ("modelled", "a processor", 0.0)
    assert cost.power == {"cpu": CHIP.source, "gpu": None, "ram": "modelled: 0.375 W per GB resident"}
    assert (cost.intensity, cost.country, cost.intensity_source) == (100.0, "BRA", "a table")
    assert cost.co2e_g == pytest.approx(100 * (cost.kwh_cpu + cost.kwh_ram))
    assert cost.plausible is True and cost.watts == {"processor": 2.0}


def test_a_reading_while_torch_is_being_imported(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    half = ModuleType("torch")  # no ``cuda`` yet
    half.__spec__ = ModuleSpec("torch", None)
    half.__spec__._initializing = True  # type: ignore[attr-defined]  as importlib sets it
    monkeypatch.setitem(sys.modules, "torch", half)
    with Costs().meter("train") as measuring:
        machine.work(seconds=1.0, cpu=1.0)
        assert measuring.so_far().device == "cpu"


def test_a_gpu_without_a_counter_is_not_passed_over(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "_device", lambda gpu: "mps")
    with Costs().meter("train") as measuring:
        machine.work(seconds=1.0, cpu=1.0)
        cost = measuring.footprint()
    assert (cost.device, cost.kwh_gpu) == ("mps", 0.0)
    assert cost.power["gpu"] == "NOT COUNTED: there is no counter that can be read"


def test_more_power_than_all_threads_can_draw_is_said_aloud(machine: Machine, said: list[str]) -> None:
    with Costs().meter("train") as measuring:
        machine.work(seconds=10.0, cpu=1000.0)
        cost = measuring.footprint()
    assert cost.plausible is False
    assert said == [
        "warning: the power that was found for the processor: 500 W, and it draws 0 to 100 W: "
        "do not publish this footprint"
    ]


def test_commands_that_were_run_count() -> None:
    code = "import time\nwhile time.process_time() < 0.3: pass"
    before = process_tree.cpu_seconds()
    with Costs().meter("footprint", now=True) as measuring:
        subprocess.run([sys.executable, "-c", code], check=True)
        cost = measuring.footprint()
    assert 0.3 <= cost.cpu_seconds <= process_tree.cpu_seconds() - before + 1e-3  # it is rounded


def test_between_two_stages_of_a_command_nothing_is_lost(machine: Machine) -> None:
    costs = Costs()
    with costs.meter("adapt"):
        machine.work(seconds=1.0, cpu=0.5)
        with costs.meter("caption") as first:
            machine.work(seconds=2.0, cpu=1.5)
            one = first.footprint()
        machine.work(seconds=4.0, cpu=2.5)
        with costs.meter("translate") as second:
            machine.work(seconds=8.0, cpu=3.5)
            two = second.footprint()
    assert (one.seconds, one.cpu_seconds) == (3.0, 2.0)
    assert (two.seconds, two.cpu_seconds) == (12.0, 6.0)


def test_the_first_account_of_a_process_begins_with_the_process(machine: Machine) -> None:
    machine.age = 3.0
    costs = Costs()
    with costs.meter("caption") as first:
        machine.work(seconds=1.0, cpu=1.0)
        one = first.footprint()
    with costs.meter("translate") as second:
        machine.work(seconds=1.0, cpu=1.0)
        two = second.footprint()
    assert (one.seconds, one.cpu_seconds) == (4.0, 51.0)
    assert (two.seconds, two.cpu_seconds) == (1.0, 1.0)


@pytest.mark.parametrize(("age", "now"), [(3.0, True), (10.0, False)])
def test_an_account_from_now_on_and_one_of_an_old_process_leave_out_what_was_before(
    age: float, now: bool, machine: Machine
) -> None:
    machine.age = age
    with Costs().meter("a command", now=now) as measuring:
        machine.work(seconds=1.0, cpu=0.5)
        cost = measuring.footprint()
    assert (cost.seconds, cost.cpu_seconds) == (1.0, 0.5)


def test_the_age_of_a_process_includes_its_start() -> None:
    code = (
        "import time\nfrom capivara_cli.costs.costs import Costs\nwhile time.process_time() < 0.4: pass\n"
        "with Costs().meter('x') as m: cost = m.footprint()\nprint(cost.cpu_seconds, cost.seconds)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert min(map(float, ran.stdout.split())) >= 0.4


def test_without_tracking_no_thread_is_started() -> None:
    before = {thread.name for thread in threading.enumerate()}
    with Costs().meter("pack", tracked=False):
        assert {thread.name for thread in threading.enumerate()} <= before


def test_memory_is_counted_over_time(machine: Machine) -> None:
    watch = Sampler()
    watch._at, machine.gigabytes = machine.now - 4.0, 3.0
    assert watch.sample().gb_seconds == pytest.approx(4.0 * 3.0 / 2)  # grown from nothing in four seconds
    machine.now += 10.0
    assert watch.sample().gb_seconds == pytest.approx(6.0 + 30.0)
    assert WATTS_PER_GB == 3 / 8


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="only Linux splits shared pages")
def test_memory_that_a_child_shares_is_not_counted_twice() -> None:
    hold = "import sys, os; held = bytearray(200_000_000); os.fork() and print('x', flush=True); sys.stdin.read()"
    child = subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    family = [each for each in process_tree.processes() if each != os.getpid()]
    both = process_tree.resident_bytes(family)
    child.communicate(b"")
    assert len(family) == 2
    assert 200e6 < both < 260e6


def tracked(machine: Machine, watts: float, mode: str = "intel_rapl") -> codecarbon_counter.Tracker:
    """A tracker that begins now, and that will have counted ten seconds of the whole processor."""
    made = codecarbon_counter.Tracker()
    data = SimpleNamespace(cpu_energy=watts * 10 / 3.6e6)
    made._tracker = SimpleNamespace(
        stop=lambda: None, final_emissions_data=data, _hardware=[SimpleNamespace(), SimpleNamespace(_mode=mode)]
    )
    made._since = (machine.now, machine.busy)
    return made


def test_of_a_measured_processor_our_part_of_the_busy_time_is_ours(machine: Machine) -> None:
    with Costs().meter("train") as measuring:
        measuring._tracker = tracked(machine, 60.0)
        machine.work(seconds=10.0, cpu=8.0, busy=40.0)
        cost = measuring.footprint()
    assert cost.source == "measured" and cost.plausible is True
    assert cost.power["cpu"] == "measured: intel_rapl by codecarbon, our part of the busy time"
    assert cost.kwh_cpu * 3.6e6 == pytest.approx(600 * 8 / 40)
    assert cost.watts == {"processor": 60.0}


def test_codecarbons_guesses_are_not_called_measured(machine: Machine) -> None:
    guesses = [tracked(machine, 60.0, mode) for mode in ("cpu_load", "constant")]
    short = tracked(machine, 60.0)
    machine.work(seconds=2.0, cpu=2.0, busy=8.0)
    assert short.stop() is None
    machine.work(seconds=8.0, cpu=2.0, busy=32.0)
    assert [each.stop() for each in guesses] == [None, None]


def test_a_meter_leaves_nothing_behind(tmp_path: Path) -> None:
    code = (
        "from capivara_cli.costs.costs import Costs\nwith Costs().meter('x') as m: m.footprint()\n"
        "import sys; print(*sys.modules)"
    )
    there = dict(os.environ, TMPDIR=str(tmp_path), HOME=str(tmp_path))
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=there)
    assert ran.stderr == "" and not {"codecarbon", "pandas", "torch"} & set(ran.stdout.split())
    assert list(tmp_path.iterdir()) == []


def test_codecarbon_itself_says_nothing_and_leaves_nothing(tmp_path: Path) -> None:
    code = (
        "import time\nfrom capivara_cli.costs import codecarbon_counter as tracker\ntracker.AFTER = 0.0\n"
        "it = tracker.Tracker()\nit.start()\nwhile it._tracker is None: time.sleep(0.05)\n"
        "assert it.stop() is None\nprint('stopped')"
    )
    there = dict(os.environ, TMPDIR=str(tmp_path), HOME=str(tmp_path))
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=there)
    assert (ran.stdout, ran.stderr) == ("stopped\n", "")
    assert list(tmp_path.iterdir()) == []


def test_what_others_tell_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory and GPUs of an actor that is a child of this process are sampled here; of other actors all is added."""
    monkeypatch.setattr(process_tree, "processes", lambda: [1, 7])
    worker_costs = WorkerCosts()
    own = a_footprint(cpu_seconds=1.0, kwh_cpu=0.1, kwh_gpu=0.2, kwh_ram=0.3, hardware="A")
    cost = a_footprint(cpu_seconds=5.0, kwh_cpu=1.0, kwh_gpu=2.0, kwh_ram=4.0, hardware="B").to_json()
    worker_costs.report("this", 7, True, {**cost, "cpu_seconds": 1.0})
    worker_costs.report("this", 7, True, cost)  # in place of the first
    assert worker_costs.added(own, ended=False).cpu_seconds == 1.0  # it is alive, and seen
    found = worker_costs.added(own, ended=True)
    assert (found.cpu_seconds, found.kwh_cpu, found.kwh_gpu, found.kwh_ram) == (6.0, 1.1, 0.2, 0.3)
    assert worker_costs.added(own, ended=True) == own  # once
    worker_costs.report("another", 7, False, cost)
    assert worker_costs.added(own, ended=False).cpu_seconds == 6.0
    found = worker_costs.added(own, ended=True)
    assert (found.kwh_gpu, found.kwh_ram, found.hardware, found.seconds) == (2.2, 4.3, "A + B", own.seconds)


def test_what_a_worker_told_is_forgotten_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process id that a child had is later one of another machine's: then its memory and GPUs count."""
    monkeypatch.setattr(process_tree, "processes", lambda: [1, 7])
    told, own = WorkerCosts(), a_footprint(kwh_gpu=0.0)
    cost = a_footprint(kwh_gpu=2.0).to_json()
    told.report("this", 7, True, cost)
    assert told.added(own, ended=True).kwh_gpu == 0.0
    told.report("this", 7, False, cost)
    assert told.added(own, ended=True).kwh_gpu == 2.0
    told.report("this", 8, True, cost)  # on this machine, but no child
    assert told.added(own, ended=True).kwh_gpu == 2.0


@pytest.mark.parametrize(
    ("described", "watts", "per_thread"),
    [
        (("AMD EPYC 7763 64-Core Processor", 1, False), 280.0, 280.0 / 32),
        (("AMD EPYC 7763 64-Core Processor", 2, False), 560.0, 560.0 / 32),
        (("AMD EPYC 7763 64-Core Processor", 2, True), 4.0 * 32, 4.0),
        (("a processor that nobody has made", 2, False), 4.0 * 32, 4.0),
    ],
    ids=["one processor", "two processors", "a virtual machine", "an unknown one"],
)
def test_the_power_of_a_thread(
    described: tuple[str, int, bool], watts: float, per_thread: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu_power, "described", lambda: described)
    monkeypatch.setattr(os, "cpu_count", lambda: 32)
    found = cpu_power.this_processor.__wrapped__()
    assert (found.watts, found.threads, found.watts_per_thread) == (watts, 32, per_thread)
    assert ("virtual machine" in found.source) is described[2]


@pytest.mark.parametrize(("watts", "plausible"), [(13.0, True), (12.9, False), (286.0, True), (286.1, False)])
def test_the_bounds_of_what_a_device_draws_are_plausible(watts: float, plausible: bool) -> None:
    assert Power.measured("card", watts, 260.0).plausible is plausible
