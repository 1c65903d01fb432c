"""Records of what a chain cost: through folders, pipes and shared ledgers, none lost and none twice."""

from __future__ import annotations

import json
import multiprocessing
import os
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from reliability.running import run
from support import warm
from support.made import a_footprint, toy_like

from capivara_cli.costs import ledger, pipe_relay
from capivara_cli.costs.carbon_intensity import Intensity
from capivara_cli.costs.ledger import OwnCost
from capivara_cli.costs.per_step import StepCost
from capivara_cli.errors import CapivaraError
from capivara_cli.reports import footprint

CAPIVARA = shlex.join(warm.CAPIVARA)
FRESH = shlex.join(warm.FRESH)  # where the tree of processes is looked at


def entry(stage: str, name: str, **given: Any) -> ledger.LedgerRecord:
    return cast(ledger.LedgerRecord, {**a_footprint(stage).to_json(), "id": name, "samples": 100, **given})


def shell(line: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    given = {**os.environ, "CAPIVARA_CACHE": str(cwd / "cache"), **environment}
    ran = subprocess.run(["bash", "-c", f"set -o pipefail; {line}"], cwd=cwd, env=given, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran


def test_a_record_says_what_it_cost_and_where() -> None:
    assert a_footprint().to_json() == {
        "stage": "caption", "seconds": 10.0, "cpu_seconds": 8.0, "kwh_cpu": 0.25, "kwh_gpu": 0.5, "kwh_ram": 0.25,
        "intensity": 100.0, "country": "BRA", "intensity_source": "a table", "source": "modelled", "hardware": "x",
        "device": "cpu", "flops": None, "power": {}, "watts": {}, "plausible": None, "kwh": 1.0, "co2e_g": 100.0,
    }  # fmt: skip


def test_a_folder_keeps_the_records_of_what_it_was_made_from(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    first = ledger.record([], {"out": a, "read": 7}, OwnCost("1", a_footprint("caption")))
    second = ledger.record([a], {"out": b, "read": 6}, OwnCost("2", a_footprint("translate")))
    assert [each["stage"] for each in ledger.read(Path(b))] == ["caption", "translate"]
    assert ledger.read(Path(b)) == [first, second]
    assert (first["samples"], second["samples"]) == (7, 6)
    assert not list(tmp_path.glob("*/.*"))


def test_a_run_keeps_them_too_and_a_ledger_gets_one_line_each(tmp_path: Path) -> None:
    run, costs = tmp_path / "run", tmp_path / "costs.jsonl"
    run.mkdir()
    ledger.record([], {"run": str(run), "samples": 3}, OwnCost("1", a_footprint("train")), str(costs))
    ledger.record([str(run)], {"run": str(run)}, OwnCost("2", a_footprint("eval")), str(costs))
    assert (
        [each["stage"] for each in ledger.read(run)]
        == ["train", "eval"]
        == [each["stage"] for each in ledger.read(costs)]
    )


def _add(folder: str, number: int) -> None:
    ledger.record(
        [], {"out": folder, "read": number}, OwnCost(f"{number}", a_footprint(f"stage{number}")), f"{folder}/all.jsonl"
    )


def test_processes_that_end_together_lose_no_record(tmp_path: Path) -> None:
    several = multiprocessing.get_context("fork")
    workers = [several.Process(target=_add, args=(str(tmp_path), number)) for number in range(6)]
    for each in workers:
        each.start()
    for each in workers:
        each.join()
    expected = [f"stage{number}" for number in range(6)]
    assert sorted(each["stage"] for each in ledger.read(tmp_path)) == expected
    assert sorted(each["stage"] for each in ledger.read(tmp_path / "all.jsonl")) == expected


def test_sums_are_per_stage_and_of_all() -> None:
    records = [
        entry("caption", "1", flops=10),
        entry("train", "2", samples=50, source="measured"),
        entry("train", "3", samples=50),
    ]
    stages, total = ledger.sums(records)
    assert [(row["stage"], row["runs"], row["samples"], row["kwh"], row["flops"]) for row in (*stages, total)] == [
        ("caption", 1, 100, 1.0, 10), ("train", 2, 100, 2.0, 0), ("total", 3, 100, 3.0, 10),
    ]  # fmt: skip
    assert [row["kwh_per_1000"] for row in (*stages, total)] == [10.0, 20.0, 30.0]
    assert stages[1]["source"] == "measured, modelled"
    assert ledger.sums([entry("pack", "1", samples=None)])[1]["kwh_per_1000"] is None


def test_the_samples_of_a_chain_are_those_of_its_first_stage_that_counts_any() -> None:
    records = [entry("pack", "1", samples=None), entry("caption", "2", samples=40), entry("caption", "3", samples=10),
               entry("train", "4", samples=7)]  # fmt: skip
    stages, total = ledger.sums(records)
    assert [row["samples"] for row in (*stages, total)] == [0, 50, 7, 50]
    assert [row["kwh_per_1000"] for row in (*stages, total)] == [None, 40.0, 1000 / 7, 80.0]


def test_of_records_with_one_name_the_last_counts_in_the_place_of_the_first() -> None:
    records = [entry("a", "1", kwh=1.0), entry("b", "2"), entry("a", "1", kwh=3.0), entry("c", "3", plan="2")]
    assert [(each["id"], each["kwh"]) for each in ledger.unique(records)] == [("1", 3.0), ("3", 1.0)]


@pytest.mark.parametrize("key", ["id", "stage", "source", "seconds", "cpu_seconds", "kwh_cpu", "kwh_gpu", "kwh_ram",
                                 "kwh", "co2e_g"])  # fmt: skip
def test_a_record_without_a_key_or_with_a_text_for_a_number_is_named(key: str, tmp_path: Path) -> None:
    path = tmp_path / "footprint.jsonl"
    whole = dict(entry("train", "1"))
    path.write_text(json.dumps({**whole, key: ["x"]}) + "\n")
    with pytest.raises(CapivaraError, match=rf"{path}: not a ledger of footprints: '{key}' of a record is \['x'\]"):
        ledger.read(path)


def test_each_run_of_a_command_keeps_its_own_record(tmp_path: Path) -> None:
    """The records are in the order of the runs, which is not that of their names."""
    runs = [tmp_path / name for name in ("b", "a")]
    for each in runs:
        each.mkdir()
    summary = {"runs": [{"run": str(each), "samples": count} for each, count in zip(runs, (7, 5), strict=True)]}
    steps = {0: StepCost(3.0, 3.0, 0), 1: StepCost(1.0, 1.0, 0)}
    whole = ledger.record([], summary, OwnCost("x", a_footprint("train"), steps))
    found = [ledger.read(run) for run in runs]
    assert [[(each["samples"], each["kwh"], each["plan"]) for each in own] for own in found] == [
        [(7, 0.75, "x")], [(5, 0.25, "x")],
    ]  # fmt: skip
    assert (whole["id"], whole["kwh"], len(whole["steps"])) == ("x", 1.0, 2)


def test_another_price_leaves_the_energy() -> None:
    found = ledger.with_intensity(entry("train", "1"), Intensity(50.0, "as given", "--intensity"))
    assert (found["kwh"], found["co2e_g"], found["country"], found["intensity"]) == (1.0, 50.0, "as given", 50.0)


def test_records_of_an_older_version_are_read(tmp_path: Path) -> None:
    keys = ("id", "stage", "source", "seconds", "cpu_seconds", "kwh_cpu", "kwh_gpu", "kwh_ram", "kwh", "co2e_g")
    (tmp_path / "footprint.jsonl").write_text(json.dumps({key: entry("train", "1")[key] for key in keys}) + "\n")
    assert ledger.sums(ledger.read(tmp_path))[1]["samples"] == 0


def test_a_pipe_is_handed_what_its_writer_leaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPIVARA_CACHE", str(tmp_path))
    end, begin = os.pipe()
    try:
        assert pipe_relay.store_for_reader("a record\n", begin) and pipe_relay.store_for_reader("another\n", begin)
        name = f"/proc/self/fd/{end}"
        assert pipe_relay.take_from_writers([name]) == "a record\nanother\n"
        assert pipe_relay.take_from_writers([name]) == "" and not list(tmp_path.rglob("*.jsonl"))
    finally:
        os.close(end)
        os.close(begin)
    with open(tmp_path / "file", "wb") as file:
        assert not pipe_relay.store_for_reader("a record\n", file.fileno())


def test_the_folder_at_the_end_of_a_pipe_knows_all_commands(shards: Callable[..., Path], tmp_path: Path) -> None:
    shards(toy_like(20))
    split = f"{CAPIVARA} split --part train --fraction 0.5 shards"
    shell(f"{split} | {CAPIVARA} dedupe | {CAPIVARA} translate --translator toy --lang pt --out end", tmp_path)
    records = ledger.read(tmp_path / "end")
    assert [each["stage"] for each in records] == ["split", "dedupe", "translate"]
    assert not any("unknown_before" in each for each in records)
    assert not list((tmp_path / "cache").rglob("pipes/*"))
    shell(f"{CAPIVARA} dedupe end --out after", tmp_path)
    assert [each["stage"] for each in ledger.read(tmp_path / "after")] == ["split", "dedupe", "translate", "dedupe"]


def test_a_pipe_from_something_else_is_marked(shards: Callable[..., Path], tmp_path: Path) -> None:
    shards(toy_like(4))
    shell(f"cat shards/00000.tar | {CAPIVARA} dedupe --out end", tmp_path)
    (record,) = ledger.read(tmp_path / "end")
    assert record["unknown_before"] is True
    told = shell(f"{CAPIVARA} footprint end", tmp_path).stdout
    assert "dedupe read a pipe whose writer left no record: the cost before it is not counted\n" in told


def test_the_commands_of_a_pipe_add_up_to_the_whole(shards: Callable[..., Path], tmp_path: Path) -> None:
    shards(toy_like(200))
    pipe = (
        f"{FRESH} translate shards --translator toy --lang pt | {FRESH} dedupe "
        f"| {FRESH} translate --translator toy --lang hi,xh --out end"
    )
    shell(f"{FRESH} footprint --summary whole.json -- bash -c '{pipe}'", tmp_path, OMP_WAIT_POLICY="PASSIVE")
    whole = json.loads((tmp_path / "whole.json").read_text())
    _, parts = ledger.sums(ledger.read(tmp_path / "end"))
    assert parts["runs"] == 3
    assert parts["cpu_seconds"] == pytest.approx(whole["cpu_seconds"], rel=0.1, abs=0.3)
    assert parts["kwh"] == pytest.approx(whole["kwh"], rel=0.1)
    assert parts["seconds"] > 1.5 * whole["seconds"]  # they overlapped, which wall time alone cannot tell


def test_workers_are_counted_once(shards: Callable[..., Path], tmp_path: Path) -> None:
    shards(*[toy_like(6, 6 * number) for number in range(4)])
    line = f"{FRESH} translate shards --translator toy --lang pt --workers 2 --out end"
    shell(f"{FRESH} footprint --summary whole.json -- {line}", tmp_path)
    whole = json.loads((tmp_path / "whole.json").read_text())
    (record,) = ledger.read(tmp_path / "end")
    assert record["cpu_seconds"] == pytest.approx(whole["cpu_seconds"], rel=0.1, abs=0.4)  # twice would be 2 s more
    assert record["samples"] == 24


def test_the_steps_of_a_plan_share_what_it_cost() -> None:
    whole = a_footprint("run", flops=1000)
    one, other = whole.of_steps(["caption", "dedupe"], {0: StepCost(3.0, 9.0, 50), 1: StepCost(1.0, 1.0, 0)})
    assert (one.stage, one.seconds, one.cpu_seconds, one.flops) == ("caption", 7.5, 7.2, 1000)
    assert (other.stage, other.seconds, other.cpu_seconds, other.flops) == ("dedupe", 2.5, 0.8, None)
    assert one.kwh_cpu == pytest.approx(0.9 * 0.25)
    assert (one.kwh_gpu, one.kwh_ram) == (0.75 * 0.5, 0.75 * 0.25)
    assert one.kwh + other.kwh == pytest.approx(whole.kwh)
    assert whole.of_steps(["caption"], {0: StepCost(3.0, 9.0, 50)}) == [whole]
    assert whole.of_steps(["a", "b"], {}) == [whole]
    assert [each.seconds for each in whole.of_steps(["a", "b"], {1: StepCost(1.0, 1.0, 0)})] == [0.0, 10.0]


@pytest.mark.parametrize(
    ("workers", "first", "last"),
    [
        (1, "caption --captioner toy --n 1", "filter --model toy"),
        (2, "translate --translator toy --lang pt", "translate --translator toy --lang xh"),  # without torch
    ],
    ids=["1", "2"],
)
def test_a_plan_has_a_record_for_each_of_its_steps(
    workers: int, first: str, last: str, shards: Callable[..., Path], tmp_path: Path
) -> None:
    shards(toy_like(12), toy_like(12, 12))
    plan = f"{first} | dedupe --images exact | {last}"
    shell(f"{CAPIVARA} run '{plan}' shards --out out --workers {workers} --summary said.json", tmp_path)
    records = ledger.read(tmp_path / "out")
    assert [each["stage"] for each in records] == [first.split()[0], "dedupe", last.split()[0]]
    assert [each["samples"] for each in records] == [24, 24, 24]
    assert [bool(each["flops"]) for each in records] == [True, False, True]
    assert len({each["plan"] for each in records}) == 1
    said = json.loads((tmp_path / "said.json").read_text())["footprint"]
    assert said["steps"] == records
    assert sum(each["kwh"] for each in records) == pytest.approx(said["kwh"])
    assert all(each["seconds"] > 0 for each in records)


VALUES: list[Any] = [None, True, -1, float("nan"), float("inf"), "x", "", [], {}, [1], {"a": []}]


@pytest.mark.parametrize("key", [*a_footprint().to_json(), "id", "samples", "plan", "unfinished", "steps"])
def test_a_record_of_other_types_is_an_error_or_no_matter(key: str, tmp_path: Path) -> None:
    """It is an error of one line, or everything that reads records works."""
    for value in VALUES:
        (tmp_path / "footprint.jsonl").write_text(json.dumps({**entry("caption", "1"), key: value}) + "\n")
        try:
            records = ledger.read(tmp_path)
        except CapivaraError as error:
            assert f"{tmp_path / 'footprint.jsonl'}: not a ledger of footprints" in error.message
            assert error.hint == "delete it to start a new one"
            continue
        rows, total = ledger.sums(ledger.unique(records))
        assert footprint.page(rows, records, "markdown")
        assert (len(rows), total["kwh"] >= 0) == (len(records), True)


@pytest.mark.parametrize("text", ["[" * 99_999, "{", "1\n", '{"id": 5}\n', '{"id": "a"}\n', "\udcff"])
def test_a_damaged_ledger_is_known_before_the_work(text: str, shards: Callable[..., Path], tmp_path: Path) -> None:
    folder = shards(toy_like(3))
    for place, out in (("shards", "out"), ("out", "out"), ("out", f"file://{tmp_path}/out")):
        (tmp_path / "out").mkdir(exist_ok=True)
        ledger_file = tmp_path / place / "footprint.jsonl"
        ledger_file.write_bytes(text.encode("utf-8", "surrogateescape"))
        ran = run(["split", str(folder), "--out", out], tmp_path)
        assert (ran.code, ran.said.count("not a ledger of footprints")) in ((1, 1), (0, 0))
        assert (text == "1\n") == (ran.code == 0), ran.said
        assert ran.code == 0 or not list((tmp_path / "out").glob("*.tar"))
        ledger_file.unlink()
        shutil.rmtree(tmp_path / "out")


@pytest.mark.parametrize("name", ["footprint.json", "footprint.jsonl"])
@pytest.mark.parametrize("data", [b"\x00garbage\xff\n" * 20, b"\xff\xfe{", "{}".encode("utf-16"), b"\xed\xa0\x80"])
def test_a_ledger_that_is_no_text_is_one_error(data: bytes, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(CapivaraError, match=f"{name}: not a ledger of footprints"):
        ledger.check([tmp_path])
    if name == "footprint.jsonl":
        with pytest.raises(CapivaraError, match=f"{name}: not a ledger of footprints"):
            ledger.check([f"file://{tmp_path}"])
