"""Estimates ``train``: some steps run on a few samples, and their time is extrapolated."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from capivara_cli import console
from capivara_cli.cli.dry_run import trial_client
from capivara_cli.cli.dry_run.census import Census, census_of
from capivara_cli.cli.dry_run.rehearsal import EstimateRow, Rehearsal, unknown
from capivara_cli.cli.dry_run.trial_client import TrainingTrial, Tried
from capivara_cli.models.run_folder import RunDir
from capivara_cli.pipeline import source
from capivara_cli.pipeline.device import free_memory
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings
from capivara_cli.training.memory import parse_size
from capivara_cli.training.options import Options

_KEPT_CHECKPOINTS = 2


class PlannedRun(NamedTuple):
    """A run to estimate: its options, its folder, which may exist, and the shared settings with its seed."""

    options: Options
    run: RunDir
    settings: Settings


@dataclass(frozen=True)
class RunSize:
    """Image-text pairs per step, and the number of steps that are left and done."""

    batch: int
    steps: int
    done: int


def rehearse(planned: Sequence[PlannedRun], inputs: Sequence[str], env: Env, rehearsal: Rehearsal) -> None:
    """Add the rows of all runs. They share features and the trial, because only languages and seeds differ."""
    sources = source.default_inputs(inputs)
    census = rehearsal.planned(sources) or census_of(source.packed_shards(sources))
    rehearsal.count(sources, census)
    sizes = [_size(each, census) for each in planned]
    first = planned[0]
    begun = any(each.steps for each in sizes)
    tried = _tried(first, census, rehearsal) if begun else Tried([])
    shared = f"features {sources} {first.options.model} {first.options.pretrained} {first.options.captions.views}"
    if begun and shared not in rehearsal.known:
        rehearsal.known[shared] = True
        rehearsal.rows.append(_features(census, tried))
    for each, run_size in zip(planned, sizes, strict=True):
        row = _row(each, run_size, tried)
        rehearsal.rows.append(row)
        if row.memory is not None:
            rehearsal.check_memory(row.memory, free_memory(env.device))
    needed = sum(row.disk or 0.0 for row in rehearsal.rows[-len(planned) - 1 :])
    rehearsal.check_room(str(first.run.path.parent), needed)
    rehearsal.runs += [str(each.run) for each in planned]


def _size(planned: PlannedRun, census: Census) -> RunSize:
    options, run = planned.options, planned.run
    steps, batch = options.schedule.steps, options.schedule.batch_size
    ended = run.finished and not run.damage()
    done = 0 if run.outdated else steps if ended else max(run.checkpoint_steps(), default=0)
    if census.known:  # a batch has at most one pair per training image
        images = census.samples * min(1.0, sum(census.captions_in(lang) for lang in options.languages))
        heldout = options.selection.heldout
        images -= images * heldout if heldout < 1 else min(images, heldout)
        images = min(images, options.captions.shots or images)
        batch = round(min(batch, max(2.0, images)))
    return RunSize(batch, max(0, steps - done), done)


def _tried(planned: PlannedRun, census: Census, rehearsal: Rehearsal) -> Tried:
    """Try some steps of training; once for runs that differ only in the seed."""
    if not census.known:
        return Tried([], why="its input is not known")
    key = f"train {census.origin} {planned.options.request}"
    if key not in rehearsal.known:
        console.say(f"train: trying {trial_client.TRAINING_SAMPLES} of your samples …")
        rehearsal.known[key] = tried = trial_client.attempt(census.origin, [], planned.settings, planned.options)
        if tried.train is None:
            rehearsal.remark(f"train: could not be tried: {tried.reason}")
    found: Tried = rehearsal.known[key]
    return found


def _features(census: Census, tried: Tried) -> EstimateRow:
    """The row for embedding images without a stored embedding of this model, and tokenizing captions."""
    name, trial = "train: features", tried.train
    if trial is None:
        return unknown(name, census.samples if census.known else None, tried.reason)
    samples, seen = census.samples, max(1, trial["samples"])
    seconds, disk = samples * trial["features"] / seen, samples * trial["store_bytes"] / seen
    basis = f"measured on {trial['samples']} of your samples; takes no time if an earlier run has stored the features"
    return EstimateRow(name, samples, None, seconds, "measured", basis, trial["watts"], disk=disk)


def _row(planned: PlannedRun, size: RunSize, tried: Tried) -> EstimateRow:
    name, trial = f"train {planned.run}, steps of {size.batch:,}", tried.train
    if not size.steps:
        basis = f"{size.done:,} steps in {planned.run}/"
        return EstimateRow(name, 0, None, 0.0, "done", basis, done=size.done, disk=0.0)
    if trial is None or not trial["steps"]:
        return unknown(name, size.steps, tried.reason, size.done)
    memory = planned.options.resources.memory
    step = statistics.median(trial["steps"]) / trial["pairs"] * size.batch
    basis = f"{len(trial['steps'])} steps of {trial['pairs']} pairs"
    if planned.options.selection.val:
        basis += "; validation is not included"
    return EstimateRow(
        name, size.steps, None, trial["loading"] + size.steps * step, "measured", basis, trial["watts"],
        float(parse_size(memory) if memory else tried.peak), _disk(planned.options, trial), size.done, trial["loading"],
    )  # fmt: skip


def _disk(options: Options, trial: TrainingTrial) -> float:
    """Bytes of the run folder with its checkpoints."""
    every = options.resources.checkpoint_every
    kept = min(_KEPT_CHECKPOINTS, options.schedule.steps // every) if every else 0
    return trial["run_bytes"] + kept * trial["checkpoint_bytes"]


def planned_run(planned: Sequence[PlannedRun]) -> dict[str, Any]:
    """The keys of the summary of ``train`` that other commands need."""
    folders = [str(each.run) for each in planned]
    return {"run": folders[0], "runs": [{"run": folder} for folder in folders]}
