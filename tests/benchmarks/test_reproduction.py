"""The papers in miniature: the page matches the results, and a smaller run shows the same directions."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import variants
from support.made import ROOT

from benchmarks.reproduce import cells, page, plan, tables, work, world
from benchmarks.reproduce.statistics import OPPOSITE, SAME, UNKNOWN, Interval, Results, interval, verdict
from capivara_cli.shards.sample import Caption

RESULTS = ROOT / "benchmarks" / "reproduce" / "results.json"
KEPT_RESULTS = RESULTS.with_name("kept.json")
PAGE = ROOT / "docs" / "reproduction.md"


# --- the committed results ---
def test_the_page_matches_the_results() -> None:
    assert page.page(RESULTS, KEPT_RESULTS) == PAGE.read_text("utf-8"), "run: python -m benchmarks.reproduce --write"


@pytest.mark.parametrize(("path", "stored"), [(RESULTS, plan.cells()), (KEPT_RESULTS, plan.kept_cells())])
def test_every_cell_of_the_plan_is_in_the_results_with_every_seed(path: Path, stored: dict[str, plan.Cell]) -> None:
    results = Results.of(path)
    assert len(results.seeds) == 3
    for seed in results.seeds:
        assert list(seed.cells) == list(stored)
        for cell in stored.values():
            assert list(seed.cells[cell.name]["recall"]) == list(cell.scored), cell.name


def test_cells_that_were_run_since_are_added(tmp_path: Path) -> None:
    everything = json.loads(RESULTS.read_text("utf-8"))
    fewer = {**everything, "cells": {name: found for name, found in everything["cells"].items() if name != "rank"}}
    stored = tmp_path / "results.json"
    stored.write_text(json.dumps(fewer))
    asked = work.Plan(tmp_path / "out")
    for name in ("rank", "opt-pt"):
        for where, found in zip(asked.worlds, everything["cells"][name], strict=True):
            path = cells.Job(where, plan.cells()[name]).path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(found))
    (asked.out / "spent.jsonl").write_text('{"what": "rank, seed 0", "seconds": 90, "cpu": 60}\n')
    collected = json.loads(work.collected(asked, stored))
    assert collected["cells"] == everything["cells"]
    assert list(collected["cells"]) == list(everything["cells"])
    added = collected["about"].pop("added")
    assert (added[-1]["cells"], added[-1]["cpu_seconds"]) == (["rank"], 60)
    assert [*everything["about"].pop("added", []), added[-1]] == added and collected["about"] == everything["about"]
    stored.write_text(json.dumps(collected))
    assert "added" not in json.loads(work.collected(asked, stored))["about"]
    path.write_text(json.dumps({**found, "recall": {"pt": [1, 2]}}))
    with pytest.raises(SystemExit, match="opt-pt: other results"):
        work.collected(asked, stored)


def test_the_committed_results_show_the_main_directions() -> None:
    results = Results.of(RESULTS)
    for lang in plan.LANGUAGES:
        gain = results.difference(
            lambda s, lang=lang: s.recall("base", lang), lambda s, lang=lang: s.recall(f"opt-{lang}", lang)
        )
        assert gain.low > 10, lang
    kept = results.difference(lambda s: s.recall("base", "en"), lambda s: s.recall("opt-pt", "en"))
    lost = results.difference(lambda s: s.recall("base", "en"), lambda s: s.recall("nothing-kept", "en"))
    assert kept.mean > -4 and lost.high < -10
    translated = results.difference(lambda s: s.recall("english-capivara"), lambda s: s.recall("opt-pt"))
    assert translated.low > 20


# --- the same again, small ---
ALL_OF_IT = variants.only_with_all("the committed results and the parts of the benchmark, below and above")


@pytest.fixture(scope="module")
def reduced(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    out = tmp_path_factory.mktemp("reproduction")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.reproduce", "--reduced", "--out", str(out)],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return out, done.stdout


def _scores(said: str) -> dict[str, dict[str, float]]:
    found = {}
    for line in said.splitlines():
        name, _, rest = line.partition(": ")
        found[name] = {key: float(value) for key, value in (part.split() for part in rest.split(", "))}
    return found


@ALL_OF_IT
def test_reduced_the_directions_hold(reduced: tuple[Path, str]) -> None:
    found = _scores(reduced[1])
    base, tuned = found["base"], found["opt-pt"]
    assert list(found) == list(plan.REDUCED)
    assert tuned["pt"] > base["pt"] + 2
    assert tuned["en"] > base["en"] - 6
    assert tuned["pt"] > found["english-capivara"]["pt"] + 8


@ALL_OF_IT
def test_reduced_resumes_with_the_missing_cell(reduced: tuple[Path, str]) -> None:
    out, said = reduced
    folder = out / "seed0" / "cells"
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    kept = json.loads((folder / "base.json").read_text())
    (folder / "base.json").unlink()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.reproduce", "--reduced", "--out", str(out)],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout == said
    assert json.loads((folder / "base.json").read_text()) == kept
    after = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert {name for name in before if before[name] != after[name]} == {"base.json"}


# --- its parts ---
CAPTIONS = (
    Caption("vague", "en", "alt"),
    Caption("a ball", "en", "human"),
    Caption("uma bola", "pt", "human"),
    Caption("the ball", "en", "toy:pt-en", of="uma bola"),
    Caption("a photo of a ball", "en", "toy-captioner", prefix="a photo of"),
    Caption("a picture of a ball", "en", "toy-captioner", prefix="a picture of"),
    Caption("vago", "pt", "toy:en-pt", of="vague"),
    Caption("bola", "pt", "toy:en-pt", of="a ball"),
    Caption("foto de bola", "pt", "toy:en-pt", of="a photo of a ball"),
    Caption("imagem de bola", "pt", "toy:en-pt", of="a picture of a ball"),
    Caption("a ball in a photo", "en", "toy:pt-en", of="foto de bola"),
    Caption("a round thing", "en", "rewrite:eda", of="a ball"),
)


@pytest.mark.parametrize(
    ("name", "chosen"),
    [
        ("alt", ["vague", "vago"]),
        ("with-1", ["vague", "a photo of a ball", "vago", "foto de bola"]),
        ("synthetic", ["a photo of a ball", "a picture of a ball", "foto de bola", "imagem de bola"]),
        (
            "best-3-hi-by-original",
            ["vague", "a photo of a ball", "a picture of a ball", "vago", "foto de bola", "imagem de bola"],
        ),
        ("native", ["a ball", "uma bola"]),
        ("aligned", ["a ball", "the ball", "bola", "uma bola"]),
        ("eda", ["a ball", "a round thing", "bola"]),
    ],
)
def test_what_is_trained_on(name: str, chosen: list[str]) -> None:
    assert [each.text for each in world._picked(CAPTIONS, plan.DATA[name])] == chosen


def test_every_cell_trains_on_captions_that_there_are() -> None:
    for cell in (*plan.cells().values(), *plan.kept_cells().values()):
        assert cell.data in {"", *plan.DATA}, cell.name


def test_interval_is_students() -> None:
    found = interval([1.0, 2.0, 3.0])
    assert found.mean == 2.0
    assert found.low == pytest.approx(2 - 4.303 / 3**0.5, abs=1e-9)
    assert str(found) == "+2.0 [-0.5, +4.5]"


@pytest.mark.parametrize(
    ("low", "high", "says", "expected"),
    [
        (0.5, 3, "up", SAME), (-3, -0.5, "up", OPPOSITE), (-1, 3, "up", UNKNOWN),
        (-3, -0.5, "down", SAME), (0.5, 3, "down", OPPOSITE), (-1, 3, "down", UNKNOWN),
        (-1, 1.5, "none", SAME), (0.1, 1.5, "none", SAME), (0.1, 2.5, "none", OPPOSITE), (-1, 2.5, "none", UNKNOWN),
        (1, 2, "", ""),
    ],
)  # fmt: skip
def test_verdict(low: float, high: float, says: plan.Any, expected: str) -> None:
    assert verdict(Interval((low + high) / 2, low, high), says) == expected


def test_where_a_curve_reaches_english() -> None:
    assert tables.reached([(50, 20.0), (100, 40.0), (1000, 60.0)], 50.0) == "about 320"
    assert tables.reached([(50, 20.0), (100, 40.0)], 50.0) == "more than 100"
    assert tables.reached([(50, 60.0), (100, 70.0)], 50.0) == "fewer than 50"


def test_a_stored_cell_is_not_trained_again(tmp_path: Path) -> None:
    job = cells.Job(world.World(tmp_path, 0, world.REDUCED), plan.cells()["opt-pt"])
    job.path.parent.mkdir(parents=True)
    job.path.write_text('{"recall": {"pt": [1, 2]}}')
    assert cells.run(job) == {"recall": {"pt": [1, 2]}}
