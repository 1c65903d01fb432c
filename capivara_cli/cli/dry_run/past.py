"""This machine's own past runs: what the same work took, by the records that lie beside its results."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capivara_cli.costs import ledger
from capivara_cli.errors import CapivaraError
from capivara_cli.models.run_folder import RunDir
from capivara_cli.pipeline.stage import Step
from capivara_cli.shards.manifest import MANIFEST

_FOLDERS = 200
"""Folders that are looked into, at most."""
_SCALED = {"caption": "n", "rewrite": "n"}
"""Options that the time is taken to be proportional to."""


@dataclass(frozen=True)
class Past:
    """Seconds per sample, start included, watts, and the folder it was learnt from."""

    seconds: float
    watts: float
    folder: Path
    samples: int


@dataclass(frozen=True)
class PastRun:
    """A run of training: seconds of a pair (``pair.samples`` steps were counted), most bytes, parameters."""

    pair: Past
    peak: float
    trainable: float
    total: float


def of_plan(steps: Sequence[Step], near: Iterable[Path], device: str, seed: int) -> Past | None:
    """The largest past run of the same steps on the same device, in folders ``near`` or beside them."""
    wanted = [step.describe(seed) for step in steps]
    found = [
        Past(_scale(plan, wanted) * record["seconds"] / record["samples"], _watts(record), folder, record["samples"])
        for folder in _around(near)
        if (plan := _plan_of(folder)) is not None and _alike(plan, wanted)
        for record in _of_steps(_records(folder), [step.name for step in steps])
        if _usable(record, device)
    ]
    return max(found, key=lambda each: each.samples, default=None)


def of_training(options: Any, runs: Path, device: str) -> PastRun | None:
    """The longest run of the same model and method in the folder of all runs."""
    same = ("model", "pretrained", "peft", "objective", "precision", "align", "text_sampling")
    best: PastRun | None = None
    for folder in _children(runs):
        try:
            run = RunDir(folder)
            records = [each for each in _records(folder) if each["stage"] == "train" and _device(each, device)]
        except CapivaraError:
            continue
        request = run.document.get("request", {})
        if not run.finished or not records or any(request.get(key) != options.request.get(key) for key in same):
            continue
        lines = run.read_metrics()
        times = sorted(line["timing"]["seconds"] for line in lines[1:])
        if not times or (best is not None and len(times) <= best.pair.samples):
            continue
        step = times[len(times) // 2] / run.document["batch"]["size"]
        peak = max(line["timing"].get("peak_bytes", 0) for line in lines)
        counts = run.document["parameters"]
        best = PastRun(Past(step, _watts(records[-1]), folder, len(times)), peak, counts["trainable"], counts["total"])
    return best


def _around(near: Iterable[Path]) -> Iterator[Path]:
    """Each folder, then those beside it and those of runs' data."""
    seen: dict[Path, None] = {}
    for folder in near:
        seen[folder] = None
        seen.update(dict.fromkeys(_children(folder.absolute().parent)))
    for runs in list(dict.fromkeys(folder.absolute().parent / "runs" for folder in list(seen))):
        for run in _children(runs):
            seen.update(dict.fromkeys(_children(run)))
    yield from list(seen)[: 4 * _FOLDERS]


def _children(folder: Path) -> list[Path]:
    try:
        return [path for path in sorted(folder.iterdir())[:_FOLDERS] if path.is_dir()]
    except OSError:
        return []


def _plan_of(folder: Path) -> list[dict[str, Any]] | None:
    """The steps that made a folder: the first line of its manifest, without reading the rest."""
    try:
        with open(folder / MANIFEST, "rb") as lines:
            plan = json.loads(next(lines, b"{}"))["plan"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return plan if isinstance(plan, list) and all(isinstance(step, dict) for step in plan) else None


def _alike(plan: Sequence[dict[str, Any]], wanted: Sequence[dict[str, Any]]) -> bool:
    return len(plan) == len(wanted) and all(map(_same_step, plan, wanted))


def _same_step(one: dict[str, Any], other: dict[str, Any]) -> bool:
    name = other["step"]
    if one.get("step") != name:
        return False
    aside = _SCALED.get(name)
    before, now = ({key: value for key, value in each["options"].items() if key != aside} for each in (one, other))
    return before == now


def _scale(plan: Sequence[dict[str, Any]], wanted: Sequence[dict[str, Any]]) -> float:
    """How much more there is to make of each sample; of several steps, the largest."""
    factors = [1.0]
    for one, other in zip(plan, wanted, strict=True):
        if (key := _SCALED.get(other["step"])) is not None:
            factors.append(other["options"][key] / max(1, one["options"][key]))
    return factors[-1] if len(plan) == 1 else max(factors)


def _records(folder: Path) -> list[Any]:
    try:
        return [each for each in ledger.read(folder) if "unfinished" not in each]
    except CapivaraError:
        return []  # a damaged ledger teaches nothing, and is said by the commands that need it


def _of_steps(records: Sequence[Any], names: Sequence[str]) -> list[Any]:
    """What the last run of a plan with these steps took as a whole, as one record; none when there is no such run."""
    plans: dict[str, list[Any]] = {}
    for each in records:
        plans.setdefault(str(each.get("plan", each["id"])), []).append(each)
    same = [plan for plan in plans.values() if [each["stage"] for each in plan] == [*names]]
    return [{**plan[0], **{key: sum(each[key] for each in plan) for key in ("seconds", "kwh")}} for plan in same[-1:]]


def _usable(record: Any, device: str) -> bool:
    return bool(record.get("samples")) and record["seconds"] > 0 and _device(record, device)


def _device(record: Any, device: str) -> bool:
    """Whether a record is of this device; one that does not say is taken to be."""
    return record.get("device") in (None, "", device)


def _watts(record: Any) -> float:
    return record["kwh"] * 3.6e6 / max(record["seconds"], 1e-9)
