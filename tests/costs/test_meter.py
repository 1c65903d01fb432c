"""What work costs: of this process alone, so that what runs together can be added up."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.made import a_footprint

from capivara_cli import console
from capivara_cli.costs import Meter, carbon_intensity, codecarbon_counter, cpu_power, meter, process_tree, worker_costs
from capivara_cli.costs.carbon_intensity import Intensity
from capivara_cli.costs.cpu_power import Processor
from capivara_cli.costs.footprint import Power, judged
from capivara_cli.costs.sampler import WATTS_PER_GB, Watch
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.pipeline.options import Settings

CHIP = Processor("a processor", 100.0, 20, "modelled: made for a test")


@pytest.fixture
def chip(monkeypatch: pytest.MonkeyPatch) -> Processor:
    """A processor that all know, in a process that has begun long ago."""
    with Meter("before"):
        pass
    monkeypatch.setattr(cpu_power, "here", lambda: CHIP)
    return CHIP


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(console, "say", lines.append)
    return lines


def burn(seconds: float) -> None:
    until = time.process_time() + seconds
    while time.process_time() < until:
        pass


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
        ({"region": "quebec"}, UsageError, "--region quebec: of which country?"),
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
    assert judged([Power.measured("a", 1, 0), Power.measured("b", 5, 9)]) is True
    assert judged([]) is None


def test_a_second_of_the_processor_costs_its_part_of_the_tdp(chip: Processor) -> None:
    with Meter("train", Intensity(100.0, "BRA", "a table")) as measuring:
        began = process_tree.cpu_seconds()
        burn(0.2)
        cost = measuring.footprint()
    assert 0.2 <= cost.cpu_seconds <= process_tree.cpu_seconds() - began + 0.1
    assert cost.kwh_cpu == pytest.approx(cost.cpu_seconds * 5.0 / 3.6e6, rel=1e-2)  # 100 W of 20 threads
    assert (cost.source, cost.hardware, cost.kwh_gpu) == ("modelled", "a processor", 0.0)
    assert cost.power == {"cpu": CHIP.source, "gpu": None, "ram": "modelled: 0.375 W per GB resident"}
    assert (cost.intensity, cost.country, cost.intensity_source) == (100.0, "BRA", "a table")
    assert cost.co2e_g == pytest.approx(100 * (cost.kwh_cpu + cost.kwh_ram))
    assert cost.plausible is True and cost.watts["processor"] == pytest.approx(
        cost.kwh_cpu * 3.6e6 / cost.seconds, rel=0.02
    )


def test_a_gpu_without_a_counter_is_not_passed_over(chip: Processor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meter, "_device", lambda gpu: "mps")
    with Meter("train") as measuring:
        cost = measuring.footprint()
    assert (cost.device, cost.kwh_gpu) == ("mps", 0.0)
    assert cost.power["gpu"] == "NOT COUNTED: there is no counter that can be read"


def test_more_power_than_all_threads_can_draw_is_said_aloud(
    chip: Processor, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Meter("train") as measuring:
        later = process_tree.cpu_seconds() + 1000.0
        monkeypatch.setattr(process_tree, "cpu_seconds", lambda alive=(): later)
        cost = measuring.footprint()
    assert cost.plausible is False
    assert len(said) == 1 and said[0].startswith("warning: the power that was found for the processor: ")
    assert said[0].endswith("W, and it draws 0 to 100 W: do not publish this footprint")


def test_commands_that_were_run_count(chip: Processor) -> None:
    code = "import time\nwhile time.process_time() < 0.3: pass"
    with Meter("footprint") as measuring:
        subprocess.run([sys.executable, "-c", code], check=True)
        cost = measuring.footprint()
    assert 0.3 <= cost.cpu_seconds < 0.8


def test_between_two_stages_of_a_command_nothing_is_lost() -> None:
    with Meter("adapt") as whole:
        burn(0.05)
        with Meter("caption") as first:
            one = first.footprint()
        burn(0.15)
        with Meter("translate") as second:
            two = second.footprint()
        began = whole._begun
    assert one.cpu_seconds >= 0.05 and two.cpu_seconds >= 0.15
    ended = meter._account.ended
    assert ended is not None
    assert one.cpu_seconds + two.cpu_seconds == pytest.approx(ended.cpu - began.cpu, abs=2e-3)
    assert one.seconds + two.seconds == pytest.approx(ended.at - began.at, abs=2e-3)


def test_the_first_account_of_a_process_begins_with_the_process(tmp_path: Path) -> None:
    code = (
        "import time\nwhile time.process_time() < 0.4: pass\nfrom capivara_cli.costs import Meter\n"
        "with Meter('x', now=NOW) as m: cost = m.footprint()\nprint(cost.cpu_seconds, cost.seconds)"
    )

    def spent(now: bool) -> list[float]:
        words = [sys.executable, "-c", code.replace("NOW", str(now))]
        return [float(each) for each in subprocess.run(words, capture_output=True, cwd=tmp_path).stdout.split()]

    assert min(spent(False)) >= 0.4
    assert spent(True)[0] < 0.2


def test_what_is_measured_from_now_on_leaves_out_what_was_before(chip: Processor) -> None:
    with Meter("footprint"):
        burn(0.2)
        with Meter("a command", now=True) as measuring:
            assert measuring.footprint().cpu_seconds < 0.1


def test_without_tracking_no_thread_is_started() -> None:
    before = {thread.name for thread in threading.enumerate()}
    with Meter("pack", tracked=False):
        assert {thread.name for thread in threading.enumerate()} <= before


def test_memory_is_counted_over_time_and_shared_pages_once(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SimpleNamespace(now=100.0)
    held = {1: 2_000_000_000, 2: 1_000_000_000}
    monkeypatch.setattr("capivara_cli.costs.sampler.time", SimpleNamespace(monotonic=lambda: clock.now))
    monkeypatch.setattr(process_tree, "processes", lambda: [1, 2])
    monkeypatch.setattr(process_tree, "resident_bytes", lambda processes: sum(held[each] for each in processes))
    watch = Watch()
    watch._at = 96.0
    assert watch.look().gb_seconds == pytest.approx(4.0 * 3.0 / 2)  # grown from nothing in four seconds
    clock.now = 110.0
    assert watch.look().gb_seconds == pytest.approx(6.0 + 30.0)
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


def tracked(watts: float, mode: str = "intel_rapl") -> codecarbon_counter.Tracker:
    """A tracker that has seen the whole machine for ten seconds, 40 of them busy on some processor."""
    made = codecarbon_counter.Tracker()
    data = SimpleNamespace(cpu_energy=watts * 10 / 3.6e6)
    made._tracker = SimpleNamespace(
        stop=lambda: None, final_emissions_data=data, _hardware=[SimpleNamespace(), SimpleNamespace(_mode=mode)]
    )
    made._since = (time.monotonic() - 10.0, process_tree.busy_seconds() - 40.0)
    return made


def test_of_a_measured_processor_our_part_of_the_busy_time_is_ours(chip: Processor) -> None:
    with Meter("train") as measuring:
        measuring._tracker = tracked(60.0)
        burn(0.2)
        cost = measuring.footprint()
    assert cost.source == "measured" and cost.plausible is True
    assert cost.power["cpu"] == "measured: intel_rapl by codecarbon, our part of the busy time"
    assert cost.kwh_cpu * 3.6e6 == pytest.approx(cost.cpu_seconds * 600 / 40, rel=0.05)
    assert cost.watts == {"processor": pytest.approx(60.0, rel=0.2)}  # by a clock that goes on


def test_codecarbons_guesses_are_not_called_measured() -> None:
    assert tracked(60.0, "cpu_load").stop() is None
    assert tracked(60.0, "constant").stop() is None
    short = tracked(60.0)
    short._since = (time.monotonic() - 2.0, process_tree.busy_seconds() - 2.0)
    assert short.stop() is None


def test_a_meter_leaves_nothing_behind(tmp_path: Path) -> None:
    code = "from capivara_cli.costs import Meter\nwith Meter('x') as m: m.footprint()\nimport sys; print(*sys.modules)"
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
    """Of an actor that descends from this process memory and GPUs are seen from here; of others all counts."""
    monkeypatch.setattr(process_tree, "processes", lambda: [1, 7])
    own = a_footprint(cpu_seconds=1.0, kwh_cpu=0.1, kwh_gpu=0.2, kwh_ram=0.3, hardware="A")
    cost = a_footprint(cpu_seconds=5.0, kwh_cpu=1.0, kwh_gpu=2.0, kwh_ram=4.0, hardware="B").to_json()
    worker_costs.tell("this", 7, True, {**cost, "cpu_seconds": 1.0})
    worker_costs.tell("this", 7, True, cost)  # in place of the first
    assert worker_costs.added(own, ended=False).cpu_seconds == 1.0  # it is alive, and seen
    found = worker_costs.added(own, ended=True)
    assert (found.cpu_seconds, found.kwh_cpu, found.kwh_gpu, found.kwh_ram) == (6.0, 1.1, 0.2, 0.3)
    assert worker_costs.added(own, ended=True) == own  # once
    worker_costs.tell("another", 7, False, cost)
    assert worker_costs.added(own, ended=False).cpu_seconds == 6.0
    found = worker_costs.added(own, ended=True)
    assert (found.kwh_gpu, found.kwh_ram, found.hardware, found.seconds) == (2.2, 4.3, "A + B", own.seconds)
