"""All work in order, in a few processes of one thread each: models, data, choices of captions, cells."""

from __future__ import annotations

import json
import platform
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from benchmarks.reproduce import cells, towers, world
from benchmarks.reproduce.cells import Job
from benchmarks.reproduce.plan import DATA, REDUCED, SMALL, Cell, kept_cells
from benchmarks.reproduce.plan import cells as all_cells
from benchmarks.reproduce.world import World


@dataclass(frozen=True)
class Plan:
    """What is asked for: so many seeds of all cells in ``out``, a few cells of a small world (``reduced``), or the
    study of what captions are judged by and how many are kept (``kept``)."""

    out: Path
    seeds: int = 3
    processes: int = 2
    reduced: bool = False
    kept: bool = False

    @property
    def known(self) -> dict[str, Cell]:
        """Every cell that belongs to it, by name."""
        return kept_cells() if self.kept else all_cells()

    @property
    def worlds(self) -> list[World]:
        size = world.REDUCED if self.reduced else world.Size()
        return [World(self.out, seed, size) for seed in range(1 if self.reduced else self.seeds)]

    def cells(self, only: Sequence[str] | None = None) -> list[Cell]:
        known = self.known
        names = REDUCED if self.reduced else tuple(known)
        return [known[name] for name in names if not only or any(name.startswith(start) for start in only)]


def do(plan: Plan, only: Sequence[str] | None = None) -> bool:
    """Run the cells without a stored result, after what they need; False when one failed, which is reported."""
    jobs = [Job(where, cell) for cell in plan.cells(only) for where in plan.worlds]
    open_jobs = [job for job in jobs if not job.path.is_file()]
    if not open_jobs:
        return True
    sources = {DATA[job.cell.data].source for job in open_jobs if job.cell.data}
    builders: list[tuple[Any, ...]] = []
    if "direct" in sources:
        builders.append(("Portuguese captioner", towers.build_captioner, plan.out))
    if any(job.cell.model == SMALL for job in open_jobs):
        builders.append(("small tower", towers.build_small, plan.out))
    worlds = list(dict.fromkeys(job.world for job in open_jobs))
    made = [(f"data of seed {each.seed}", _make, each, tuple(sources)) for each in worlds]
    pairs = dict.fromkeys((job.world, job.cell.data, job.cell.model) for job in open_jobs if job.cell.data)
    chosen = [
        (f"captions {data}, seed {where.seed}", cells.prepare, where, data, model) for where, data, model in pairs
    ]
    trained = [(f"{job.cell.name}, seed {job.world.seed}", _cell, job) for job in open_jobs]
    forking = get_context("forkserver")
    forking.set_forkserver_preload(["torch", "open_clip", "transformers"])  # imported once, not in every process
    with ProcessPoolExecutor(min(plan.processes, len(open_jobs)), forking, initializer=cells.quiet) as pool:
        stages = (builders, made, chosen, trained)
        return all(_all(pool, stage, plan.out) for stage in stages)


def _make(where: World, sources: tuple[str, ...]) -> None:
    world.make(where, sources)
    world.make_test(where)


def _cell(job: Job) -> None:
    cells.run(job)


def _all(pool: ProcessPoolExecutor, tasks: Sequence[tuple[Any, ...]], out: Path) -> bool:
    """Run all tasks. A failed task is reported, and the others still run."""
    began, done, failed = time.monotonic(), 0, 0
    waiting = {pool.submit(_timed, *task): task[0] for task in tasks}
    for future in as_completed(waiting):
        error = future.exception()
        done += 1
        if error is not None:
            failed += 1
            sys.stderr.write(f"{waiting[future]}: {type(error).__name__}: {error}\n")
            continue
        left = (time.monotonic() - began) / done * (len(tasks) - done)
        name, (seconds, cpu) = waiting[future], future.result()
        with (out / "spent.jsonl").open("a", encoding="utf-8") as spent:
            spent.write(json.dumps({"what": name, "seconds": seconds, "cpu": cpu}) + "\n")
        sys.stderr.write(f"{name}: {seconds:.1f} s ({done} of {len(tasks)}, {left / 60:.0f} min left)\n")
    return not failed


def _timed(name: str, work: Callable[..., None], *arguments: Any) -> tuple[float, float]:
    began = time.perf_counter(), time.process_time()
    work(*arguments)
    return round(time.perf_counter() - began[0], 2), round(time.process_time() - began[1], 2)


# --- what was kept ---
def kept(plan: Plan) -> dict[str, list[dict[str, Any]]]:
    """Cell -> its results, one per seed; cells that some seed lacks are left out."""
    found = {}
    for cell in plan.cells():
        paths = [Job(where, cell).path for where in plan.worlds]
        if all(path.is_file() for path in paths):
            found[cell.name] = [json.loads(path.read_text("utf-8")) for path in paths]
    return found


def collected(plan: Plan, stored: Path) -> str:
    """The text of a file of results: what the page is made of, a line per cell.

    If only some cells were run, they are added to the results in ``stored``. Raises ``SystemExit`` if a cell that is
    there was run again and gave something else: then new and old cells cannot be compared.
    """
    found = kept(plan)
    if set(found) == set(plan.known):
        return _document(_about(plan) | ({} if plan.kept else {"portuguese_captioner_right": _right(plan)}), found)
    before = json.loads(stored.read_text("utf-8"))
    for name in set(found) & set(before["cells"]):
        if [each["recall"] for each in found[name]] != [each["recall"] for each in before["cells"][name]]:
            raise SystemExit(f"{name}: other results than in {stored}: run all cells")
    new = [name for name in found if name not in before["cells"]]
    added = [*before["about"].get("added", []), {**_about(plan), "cells": new}] if new else []
    every = before["cells"] | {name: found[name] for name in new}
    about = before["about"] | ({"added": added} if added else {})
    return _document(about, {name: every[name] for name in plan.known if name in every})


def _about(plan: Plan) -> dict[str, Any]:
    """Where and when it was run, and the processor time of all tasks."""
    import torch

    tasks: dict[str, list[float]] = {}  # one that was done before takes next to nothing the next time
    for each in map(json.loads, (plan.out / "spent.jsonl").read_text("utf-8").splitlines()):
        tasks.setdefault(each["what"], []).append(each["cpu"])
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "processor": _processor(),
        "date": time.strftime("%Y-%m-%d"),
        "seeds": plan.seeds,
        "tested": plan.worlds[0].size.tested,
        "cpu_seconds": round(sum(max(of_task) for of_task in tasks.values())),
    }


def _right(plan: Plan) -> float:
    right: float = json.loads((plan.out / towers.CAPTIONER / "done.json").read_text("utf-8"))["right"]
    return right


def _document(about: dict[str, Any], cells_found: dict[str, Any]) -> str:
    lines = [f"{json.dumps(name)}: {json.dumps(each)}" for name, each in cells_found.items()]
    return f'{{"about": {json.dumps(about)},\n"cells": {{\n' + ",\n".join(lines) + "\n}}\n"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def listed(plan: Plan) -> str:
    """A line per cell that is there: mean recall by language."""
    lines = []
    for name, found in kept(plan).items():
        means = {key: sum(sum(each["recall"][key]) / 2 for each in found) / len(found) for key in found[0]["recall"]}
        lines.append(f"{name}: " + ", ".join(f"{key} {value:.1f}" for key, value in means.items()) + "\n")
    return "".join(lines)
