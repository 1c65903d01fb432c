"""capivara footprint: the chain summed, beside the paper's figures, and any command measured."""

from __future__ import annotations

import csv
import json
import os
import resource
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support import variants
from support.made import shard_bytes, toy_like
from support.warm import CAPIVARA, FRESH

from capivara_cli.reports import footprint as pages


def capivara(*words: str, cwd: Path, program: Sequence[str] = CAPIVARA) -> str:
    ran = subprocess.run([*program, *words], cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def children_seconds() -> float:
    """CPU seconds of all processes that this one has started and waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("words", [["runs/a", "--", "true"], ["--"]])
def test_results_and_a_command_are_not_summed_together(words: list[str], tmp_path: Path) -> None:
    ran = subprocess.run([*CAPIVARA, "footprint", *words], cwd=tmp_path, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("capivara: footprint takes either results, or -- and a command\n")


def entry(stage: str, **given: Any) -> dict[str, Any]:
    return {
        "id": stage, "stage": stage, "seconds": 7200.0, "cpu_seconds": 3600.0, "kwh_cpu": 0.1, "kwh_gpu": 0.3,
        "kwh_ram": 0.1, "kwh": 0.5, "co2e_g": 49.0, "intensity": 98.0, "country": "BRA",
        "intensity_source": "codecarbon's table, BRA 2023", "source": "GPU measured, CPU modelled",
        "hardware": "A card", "device": "cuda", "flops": 2 * 10**15, "samples": 2000,
        "power": {"cpu": "modelled: TDP", "gpu": "measured: NVML"}, "watts": {"A card": 150.0}, "plausible": True,
    } | given  # fmt: skip


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A run whose chain has two records, a second run that shares one of them, and a folder without any."""
    caption = entry("caption", source="modelled", flops=None, kwh=1.5, co2e_g=147.0)
    for name, records in (("a", [caption, entry("train")]), ("b", [caption, entry("train", id="train 2")])):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "footprint.json").write_text(json.dumps({"records": records}))
    (tmp_path / "runs" / "pt-data" / "train").mkdir(parents=True)
    (tmp_path / "runs" / "pt-data" / "train" / "footprint.jsonl").write_text(
        json.dumps(entry("dedupe", kwh=0.25)) + "\n"
    )
    return tmp_path


def test_a_chain_is_summed_with_what_runs_share_counted_once(runs: Path) -> None:
    told = json.loads(capivara("footprint", "runs/a", "runs/b", "--json", cwd=runs))
    assert [(row["stage"], row["runs"], row["kwh"]) for row in told["stages"]] == [
        ("caption", 1, 1.5),
        ("train", 2, 1.0),
    ]
    total = told["total"]
    assert (total["kwh"], total["co2e_g"], total["samples"], total["kwh_per_1000"]) == (2.5, 245.0, 2000, 1.25)
    assert total["flops"] == 4 * 10**15 and len(told["records"]) == 3


def test_the_table_says_what_it_rests_on(runs: Path) -> None:
    lines = capivara("footprint", "runs/a", cwd=runs).splitlines()
    assert lines[0].split() == [
        "stage", "runs", "samples", "time", "CPU", "time", "Wh", "CPU", "GPU", "memory", "Wh", "g", "CO2e",
        "Wh/1,000", "images", "FLOP", "power", "was",
    ]  # fmt: skip
    assert lines[3].split() == [
        "train", "1", "2,000", "2", "h", "00", "min", "1", "h", "00", "min", "100", "300", "100", "500", "49", "250",
        "2.00e+15", "GPU", "measured,", "CPU", "modelled",
    ]  # fmt: skip
    assert "carbon intensity: BRA, 98 g CO2e/kWh (codecarbon's table, BRA 2023)" in lines
    assert "as much as charging a phone 105 times, or 789 m by car (EPA: 19 Wh; 249 g/km)" in lines
    assert "GPU: measured: NVML" in lines and "processor: modelled: TDP" in lines


def test_the_papers_figures_stand_beside_it_with_their_errors(runs: Path) -> None:
    lines = [" ".join(line.split()) for line in capivara("footprint", "runs/a", "--paper", cwd=runs).splitlines()]
    assert "paper: CAPIVARA + Opt, the table 0.22 2 110 17 printed as kW; the text says 1.8" in lines
    opt = "1.8 2 900 (!) 139 the table says 0.22; the power of three cards: impossible"
    assert f"paper: CAPIVARA + Opt, the text {opt}" in lines
    assert "yours 0.5 2 250 49 GPU measured, CPU modelled" in lines
    assert lines[-1] == "(!): more power than its card can draw, 260 W"
    impossible = [each.what for each in pages.TABLE_5 if not each.power.plausible]
    assert impossible == ["CAPIVARA + LoRA", "CAPIVARA + Opt, the text"]


def test_another_grid_and_other_forms(runs: Path) -> None:
    rows = list(
        csv.DictReader(capivara("footprint", "runs/a", "--format", "csv", "--intensity", "10", cwd=runs).splitlines())
    )
    assert [(row["stage"], row["kwh"], row["co2e_g"], row["flops"]) for row in rows] == [
        ("caption", "1.5", "15.0", "0"),
        ("train", "0.5", "5.0", "2000000000000000"),
        ("total", "2.0", "20.0", "2000000000000000"),
    ]
    page = capivara("footprint", "runs/a", "--format", "md", "--country", "BRA", cwd=runs)
    assert page.startswith("| stage | runs | samples | time |") and "\n| --- | ---: |" in page
    assert "\n- carbon intensity: BRA, 98.348 g CO2e/kWh (codecarbon's table, BRA 2023)\n" in page


def test_of_a_folder_without_records_those_of_its_folders_count(runs: Path) -> None:
    told = json.loads(capivara("footprint", "runs/a", "runs/pt-data", "--json", cwd=runs))
    assert [row["stage"] for row in told["stages"]] == ["caption", "train", "dedupe"]


def test_what_is_implausible_is_marked(runs: Path) -> None:
    wrong = entry("train", plausible=False, watts={"A card": 900.0})
    (runs / "runs" / "a" / "footprint.json").write_text(json.dumps({"records": [wrong]}))
    assert "NOT PLAUSIBLE: train: A card 900 W: no such device draws that\n" in capivara(
        "footprint", "runs/a", cwd=runs
    )


def test_any_command_is_measured_with_all_that_it_starts(tmp_path: Path) -> None:
    burn = f"{sys.executable} -c 'import time\nwhile time.process_time() < 0.5: pass'"
    before = children_seconds()
    line = ("footprint", "--json", "--", "bash", "-c", f"{burn} & {burn} & wait")
    told = json.loads(capivara(*line, cwd=tmp_path, program=FRESH))
    assert told["measured"][0] == "bash" and told["exit_code"] == 0
    assert 1.0 <= told["cpu_seconds"] <= children_seconds() - before  # by the system, footprint itself included
    assert told["kwh"] == pytest.approx(told["kwh_cpu"] + told["kwh_gpu"] + told["kwh_ram"])


def test_what_measures_itself_is_not_entered_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "0.tar").write_bytes(shard_bytes(toy_like(2)))
    monkeypatch.setenv("CAPIVARA_LEDGER", "costs.jsonl")
    capivara("footprint", "--", *FRESH, "dedupe", "a", "--out", "b", cwd=tmp_path)
    costs = [json.loads(each)["stage"] for each in (tmp_path / "costs.jsonl").read_text().splitlines()]
    assert costs == ["dedupe"]


@pytest.mark.parametrize("form", ["text", "md"])
def test_the_papers_table_is_printed_on_request_only(form: str, runs: Path) -> None:
    words = ("footprint", "runs/a", "runs/b", "--format", form)
    short = capivara(*words, cwd=runs)
    assert "paper" not in short
    long = capivara(*words, "--paper", cwd=runs)
    assert long.startswith(short.rstrip("\n")) and "Table 5" in long and len(long.splitlines()) > 10


def test_without_training_the_papers_table_has_no_row_of_ours(runs: Path) -> None:
    told = capivara("footprint", "runs/pt-data", "--paper", cwd=runs)
    assert "Table 5" in told and "yours" not in told


def test_a_csv_file_has_no_second_table(runs: Path) -> None:
    ran = subprocess.run(
        [*CAPIVARA, "footprint", "runs/a", "--paper", "--format", "csv"], cwd=runs, capture_output=True, text=True
    )
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr == "capivara: --paper: a CSV file has one table\n  --format md or text\n"


@variants.only_with_all("tests/costs/test_ledger.py: the commands of a pipe add up to the whole")
def test_the_whole_method_adds_up_to_what_is_measured_from_outside(tmp_path: Path) -> None:
    """``adapt`` in miniature: the sum of its stages is what its whole process took, interpreter included."""
    line = shlex.split(
        "adapt toy:40 --lang pt --captioner toy --n 1 --translator toy --model toy --top-k 1 --steps 2 --lr 1e-2 "
        "--batch-size 8 --warmup 1 --eval toy:12 --eval-lang pt --name tiny --runs runs"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    before = children_seconds()
    subprocess.run(
        [*FRESH, "footprint", "--summary", "whole.json", "--", *FRESH, *line],
        cwd=tmp_path, check=True, capture_output=True, env=environment,
    )  # fmt: skip
    outside = children_seconds() - before
    whole = json.loads((tmp_path / "whole.json").read_text())
    parts = json.loads(capivara("footprint", "runs/tiny", "--json", cwd=tmp_path))
    stages = ["pack", "caption", "translate", "filter", "dedupe", "train", "eval"]
    assert [row["stage"] for row in parts["stages"]] == stages
    assert parts["total"]["kwh"] == pytest.approx(whole["kwh"], rel=0.1)
    assert parts["total"]["cpu_seconds"] == pytest.approx(whole["cpu_seconds"], rel=0.1)
    assert parts["total"]["cpu_seconds"] == pytest.approx(
        outside, rel=0.1, abs=0.5
    )  # by the system; ours not taken off
    assert parts["total"]["seconds"] == pytest.approx(whole["seconds"], rel=0.1, abs=0.5)
    assert [row["stage"] for row in parts["stages"] if row["flops"]] == [
        "caption", "translate", "filter", "train", "eval",
    ]  # fmt: skip
