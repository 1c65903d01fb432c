"""What training would take: features computed once, then steps; memory and disk by what is tuned."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from capivara_cli import console
from capivara_cli.cli.dry_run import past, trial_client
from capivara_cli.cli.dry_run.assumed import BASE_BYTES, Model, clip_model
from capivara_cli.cli.dry_run.census import Census, census_of
from capivara_cli.cli.dry_run.machine import Machine, machine
from capivara_cli.cli.dry_run.rehearsal import Rehearsal, Row
from capivara_cli.models.run_folder import RunDir
from capivara_cli.pipeline import source
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings
from capivara_cli.shards.inputs import find_shards

_TOKENS = 16
"""Of a caption, on average."""
_TOKEN_BYTES = 0.7e6
"""What the graph of a token takes in a text tower of 12 layers, 768 wide, in float32."""
_MOST = {"cuda": 0.9, "cpu": 0.6}
"""Of the free memory, what training takes at most when nothing is said."""
_WIDTH, _LAYERS, _PROJECTION = 768, 12, 819_200
"""Of the default model's text tower; others are taken to be like it."""
_FRAME = 3 * 224 * 224


class Wanted(NamedTuple):
    """One run: its options, its folder as it is now, and the shared settings with its seed."""

    options: Any
    run: RunDir
    settings: Settings


@dataclass(frozen=True)
class Job:
    """A run in numbers: pairs of a step, steps that are left, and images trained on and held out."""

    images: float
    heldout: float
    batch: int
    steps: int
    done: int


def rehearse(wanted: Sequence[Wanted], inputs: Sequence[str], env: Env, rehearsal: Rehearsal) -> None:
    """Add the rows of all runs; they share their features, and their rate, as they differ in language and seed only."""
    sources = source.default_inputs(inputs)
    census = rehearsal.planned(sources) or census_of(find_shards(sources))
    rehearsal.count(sources, census)
    first = wanted[0]
    where = machine(env.device)
    jobs = [_job(each, census) for each in wanted]
    known = past.of_training(first.options, first.run.path.parent, where.device)
    begun = any(job.steps for job in jobs)
    tried = _tried(first, census, rehearsal) if begun and known is None else trial_client.Tried([])
    trainable, total = _parameters(first.options, tried, known)
    disk = _store_bytes(first.options, census)
    shared = f"features {sources} {first.options.model} {first.options.pretrained} {first.options.captions.views}"
    if begun and shared not in rehearsal.known:
        rehearsal.known[shared] = True
        rehearsal.rows.append(replace(_features(first.options, census, tried, where), disk=disk))
    for each, job in zip(wanted, jobs, strict=True):
        row = _row(each, job, known.pair if known else None, tried, where)
        memory = known.peak if known else _memory(each.options, job, trainable, total, tried, where)
        kept = _checkpoint_bytes(each.options, trainable) if job.steps else 0.0
        rehearsal.rows.append(replace(row, memory=memory, disk=kept))
        rehearsal.check_memory(memory, where.memory)
        disk += kept
    rehearsal.check_room(str(first.run.path.parent), disk)
    rehearsal.runs += [str(each.run) for each in wanted]


def _tried(wanted: Wanted, census: Census, rehearsal: Rehearsal) -> trial_client.Tried:
    """Some steps; once for runs that differ in the seed only."""
    key = f"train {census.origin} {wanted.options.request}"
    if key not in rehearsal.known:
        console.say(f"train: trying {trial_client.TRAINING_SAMPLES} of your samples …")
        rehearsal.known[key] = tried = trial_client.attempt(census.origin, [], wanted.settings, wanted.options)
        if tried.why:
            rehearsal.remark(tried.remark("train"))
    found: trial_client.Tried = rehearsal.known[key]
    return found


def _job(wanted: Wanted, census: Census) -> Job:
    options, run = wanted.options, wanted.run
    captions = sum(census.captions_in(lang) for lang in options.languages)
    images = census.samples * min(1.0, captions)
    heldout = (
        images * options.selection.heldout if options.selection.heldout < 1 else min(images, options.selection.heldout)
    )
    images = min(images - heldout, options.captions.shots) if options.captions.shots else images - heldout
    done = options.schedule.steps if run.finished else max(run.checkpoint_steps(), default=0)
    return Job(
        images,
        heldout,
        round(min(options.schedule.batch_size, max(2.0, images))),
        max(0, options.schedule.steps - done),
        done,
    )


def _row(wanted: Wanted, job: Job, known: past.Past | None, tried: trial_client.Tried, where: Machine) -> Row:
    name = f"train {wanted.run}, steps of {job.batch:,}"
    if not job.steps:
        return Row(name, 0, 0, 0.0, "done", f"{job.done:,} steps in {wanted.run}/", 0.0, done=job.done)
    watts = where.watts(BASE_BYTES, tried.train["threads"] if tried.train else None)
    if known is not None:
        pair, source, start, watts = known.seconds, "past", 0.0, known.watts
        basis = f"{known.folder}, the middle of {known.samples:,} steps"
    elif tried.train is not None and tried.train["seconds"]:
        pair = statistics.median(tried.train["seconds"]) / tried.train["pairs"]
        source, start = "measured", tried.train["loading"]
        basis = f"{len(tried.train['seconds'])} steps of {tried.train['pairs']} pairs, {where.device}"
    else:
        gflop = _gflop(wanted.options)
        pair, source, start = gflop * 1e9 / where.flops, "assumed", 0.0
        basis = f"{gflop:,.3g} GFLOP per pair at {where.flops / 1e12:,.3g} TFLOP/s ({where.name})"
    step = job.batch * pair
    validations = job.steps / wanted.options.selection.val_every if wanted.options.selection.val else 0.0
    seconds = start + job.steps * step + validations * job.heldout * pair / 2  # forward only
    return Row(name, job.steps, 0, seconds, source, basis, watts, done=job.done, start=start)


def _gflop(options: Any) -> float:
    """Operations of a pair: forward, backward to the inputs, and to the weights where all of them are trained."""
    model = clip_model(options.model)
    passes = 2 + (options.tuning.peft in ("lit", "full")) + options.resources.grad_checkpointing
    images = model.image * 3 if options.tuning.peft == "full" else 0.0
    kept = options.keep.keep_share * (options.keep.keep_weight > 0) if options.kept else 0.0
    return model.caption * (passes + kept) + images


def _features(options: Any, census: Census, tried: trial_client.Tried, where: Machine) -> Row:
    """Embedding each image that has no embedding by this model, and cutting captions into tokens."""
    known = next((share for name, share in census.embedded.items() if name == options.model), 0.0)
    images = census.samples * (1 - known) if not options.captions.views else census.samples * options.captions.views
    name = "train: features"
    if tried.train is not None:
        each = tried.train["reading"] / max(1, tried.train["samples"])
        basis = f"{tried.train['samples']} of your samples"
        return Row(name, census.samples, 0, census.samples * each, "measured", basis, where.watts(BASE_BYTES))
    model: Model = clip_model(options.model)
    gflop = 0.0 if options.tuning.peft == "full" else model.image
    basis = f"{gflop:,.3g} GFLOP per image without an embedding; nothing where an earlier run has left its features"
    return Row(name, images, 0, images * gflop * 1e9 / where.flops, "assumed", basis, where.watts(BASE_BYTES))


def _parameters(options: Any, tried: trial_client.Tried, known: past.PastRun | None) -> tuple[float, float]:
    """Trained ones, and all: of a run that was or was tried, else by the method on a tower like the default model's."""
    if known is not None:
        return known.trainable, known.total
    if tried.train is not None:
        return tried.train["parameters"]["trainable"], tried.train["parameters"]["total"]
    total = clip_model(options.model).parameters * 1e9
    layers, width = _LAYERS, _WIDTH
    counts = {
        "lora": layers * 2 * 2 * width * options.tuning.lora_r,
        "adapter": layers * 2 * (2 * width * options.tuning.adapter_dim + width + options.tuning.adapter_dim),
        "compacter": layers * 2 * (4 * width + options.tuning.phm_dim**3 * 2),
        "soft-prompt": options.tuning.prompt_tokens * width,
        "layernorm": layers * 4 * width,
        "lit": 0.76 * total,
        "full": total,
    }
    projects = options.tuning.peft == "lora" if options.tuning.projection is None else options.tuning.projection
    scaled = min(total, counts[options.tuning.peft] + _PROJECTION * projects)
    return scaled, total


def _memory(options: Any, job: Job, trainable: float, total: float, tried: trial_client.Tried, where: Machine) -> float:
    """Weights, gradients and AdamW's moments of what is trained, and the graphs, as far as these are let grow."""
    from capivara_cli.training.memory import parse_size

    if options.resources.memory:
        return float(parse_size(options.resources.memory))
    kind = "cuda" if where.device.startswith("cuda") else "cpu"
    fixed = BASE_BYTES + 4 * total + 12 * trainable
    if tried.train is not None:
        fixed = max(fixed, tried.peak)
    graphs = job.batch * _TOKENS * _TOKEN_BYTES * min(1.0, total / 0.366e9) * (0.5 if kind == "cuda" else 1.0)
    return fixed + min(graphs, _MOST[kind] * where.memory)


def _store_bytes(options: Any, census: Census) -> float:
    """The feature store: a vector of 512 float16 numbers per image and view, tokens and texts of all captions."""
    captions = sum(census.captions.values())
    image = _FRAME if options.tuning.peft == "full" else 1024 * max(1, options.captions.views)
    return census.samples * (image + captions * (_TOKENS * 4 + 110) + 60)


def _checkpoint_bytes(options: Any, trainable: float) -> float:
    """The last two checkpoints (weights and two moments), the best weights, and the adapter."""
    written = options.schedule.steps // options.resources.checkpoint_every if options.resources.checkpoint_every else 0
    kept = min(2, written) * 12 * trainable
    return kept + 4 * trainable * (1 + bool(options.selection.val))


def planned_run(wanted: Sequence[Wanted]) -> dict[str, Any]:
    """What ``train`` would return, as far as other commands ask for it."""
    folders = [str(each.run) for each in wanted]
    return {"run": folders[0], "runs": [{"run": folder} for folder in folders]}
