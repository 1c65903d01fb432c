"""What a plan of stages would take: checked as the plan itself is, counted, tried, and added up step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from capivara_cli import console, registry
from capivara_cli.cli.dry_run import past, trial_client
from capivara_cli.cli.dry_run.assumed import BASE_BYTES, assumed
from capivara_cli.cli.dry_run.census import Census, Origin, census_of
from capivara_cli.cli.dry_run.effects import Effect, effect_of
from capivara_cli.cli.dry_run.machine import Machine, machine
from capivara_cli.cli.dry_run.rehearsal import Rehearsal, Row
from capivara_cli.cli.dry_run.sources import census_of_sources
from capivara_cli.pipeline import engine, output_folder, partition
from capivara_cli.pipeline.chain import Chain
from capivara_cli.pipeline.corpus_stages import parts_of, wants_all
from capivara_cli.pipeline.fingerprint import fingerprint
from capivara_cli.pipeline.options import Settings
from capivara_cli.pipeline.output_folder import Contents, SharedFolder
from capivara_cli.pipeline.passes import Passes
from capivara_cli.pipeline.stage import Step
from capivara_cli.shards.inputs import find_shards
from capivara_cli.shards.manifest import Manifest
from capivara_cli.urls import is_url

_RULED = ("split", "pack")
"""Stages whose effect on the counts is known better by rule than by some samples."""


@dataclass(frozen=True)
class Work:
    """What is left to do: ``census`` without what is ``done`` (samples); ``out`` "-" is a stream."""

    chain: Chain
    sources: list[str]
    census: Census
    out: str
    done: float = 0.0
    done_census: Census | None = None


def rehearse(
    steps: Sequence[Step], inputs: Sequence[str], settings: Settings, rehearsal: Rehearsal, *, streams: bool
) -> dict[str, Any]:
    """Add what the plan would take to the rehearsal. Raises what the plan itself would raise before it begins."""
    work = _work(steps, inputs, settings, rehearsal, streams)
    rehearsal.count(work.sources, work.census)
    before = len(rehearsal.rows)
    after = _add_rows(work, settings, rehearsal)
    if after.samples and work.out != "-":
        rehearsal.check_room(work.out, _disk(work, after))
        origin = Origin(work.census.origin.sources, (*work.census.origin.steps, *steps))
        rest = work.done_census.shards if work.done_census else ()
        rehearsal.made[work.out] = replace(after, shards=(*after.shards, *rest), origin=origin, how="planned")
    read = work.census.samples
    return {"out": work.out, "read": round(read), "written": round(after.samples), "rows": len(rehearsal.rows) - before}


def _work(
    steps: Sequence[Step], inputs: Sequence[str], settings: Settings, rehearsal: Rehearsal, streams: bool
) -> Work:
    """What ``engine.run`` checks, in its order, on folders that are there or would be."""
    chain = Chain(steps, settings)
    for step in steps:
        rehearsal.check(partial(step.stage.check, step.options))
    registry.check("engines", settings.engine)
    sources = engine.sources_of(chain, inputs)
    begins = steps[0].stage.begins
    chain.envs[0].inputs = sources
    planned = rehearsal.planned(sources)
    shards = [] if begins or planned else find_shards(sources)
    if streams or begins or shards == ["-"]:
        engine.check_alone(chain)
    out = "-" if streams else settings.out or engine.default_folder(sources, steps)
    if begins and out != "-" and not is_url(out):
        SharedFolder(Path(out), Contents(chain.described, fingerprint(chain), [], [])).check()
    census = planned or (census_of_sources(sources, steps[0].options) if begins else census_of(shards))
    if streams or is_url(out) or planned:
        return Work(chain, sources, census, out)
    folder = Path(out)
    engine.check_not_input(folder, shards)
    return _remaining(Work(chain, sources, census, out), shards, settings)


def _remaining(work: Work, shards: Sequence[str], settings: Settings) -> Work:
    """Without the shards that an earlier run of the same plan has finished, and those that are others' share."""
    folder, chain, census = Path(work.out), work.chain, work.census
    if chain.steps[0].stage.begins:
        before = Manifest.load(folder) if folder.is_dir() else None
        if before and before.complete and before.fingerprint == fingerprint(chain):
            return replace(work, census=replace(census, shards=()), done=census.samples, done_census=census)
        return work
    share = partition.of(settings.share, len(shards))
    passes = Passes(chain, shards, output_folder.output_names(shards), folder, _Nobody(), fingerprint(chain))
    passes.out.check()
    passes.out.refresh()
    finished = [passes.out.is_done(index) for index in range(len(shards))]
    left = tuple(census.shards[index] for index in share.indices if not finished[index])
    done = tuple(count for count, over in zip(census.shards, finished, strict=True) if over)
    return replace(work, census=replace(census, shards=left), done=sum(done), done_census=replace(census, shards=done))


class _Nobody:
    """Watches no work."""

    def started(self, name: str) -> None: ...

    def advance(self) -> None: ...

    def finished(self, name: str, tallies: Any) -> None: ...


def _add_rows(work: Work, settings: Settings, rehearsal: Rehearsal) -> Census:
    steps, where = list(work.chain.steps), machine(work.chain.envs[0].device)
    if not work.census.samples:
        return _nothing_left(work, rehearsal)
    near = [Path(work.out), *(Path(source) for source in work.sources)]
    if settings.workers > 1 or settings.engine != "local":
        rehearsal.remark(f"times are those of one process; {settings.workers} workers share the work")
    known = past.of_plan(steps, near, where.device, settings.seed)
    each = [known if len(steps) == 1 else past.of_plan([step], near, where.device, settings.seed) for step in steps]
    untried = trial_client.Tried([None] * len(steps))
    tried = untried if known is not None or all(each) else _tried(work, settings, rehearsal)
    effects = _effects(work, tried)
    weights = sum(assumed(step, e.before, _each(e), where).memory for step, e in zip(steps, effects, strict=True))
    memory = (tried.peak if all(tried.steps) and tried.peak else BASE_BYTES + weights) * settings.workers
    rows = [
        _row(step, effect, measured, before, where, memory)
        for step, effect, measured, before in zip(steps, effects, tried.steps, each, strict=True)
    ]
    after = effects[-1].after
    if known is not None and len(steps) > 1:
        rows = [_joint(work, known, after)]
    disk = _disk(work, after)
    rows[-1] = replace(rows[-1], memory=memory, disk=disk, done=work.done)
    rehearsal.rows += rows
    rehearsal.check_memory(memory, where.memory)
    return after


def _nothing_left(work: Work, rehearsal: Rehearsal) -> Census:
    basis = f"{work.done:,.0f} samples in {work.out}/"
    rehearsal.rows.append(Row(work.chain.name, 0, 0, 0.0, "done", basis, 0.0, done=work.done))
    return work.census


def _tried(work: Work, settings: Settings, rehearsal: Rehearsal) -> trial_client.Tried:
    console.say(f"{work.chain.name}: trying it on up to {trial_client.SAMPLES} samples …")
    tried = trial_client.attempt(work.census.origin, work.chain.steps, settings)
    if tried.why:
        rehearsal.remark(tried.remark(work.chain.name))
    return tried


def _effects(work: Work, tried: trial_client.Tried) -> list[Effect]:
    """Of each step, on the counts that the steps before it leave."""
    found: list[Effect] = []
    census = work.census
    for step, measured in zip(work.chain.steps, tried.steps, strict=True):
        effect = _as_measured(step, effect_of(step, census), measured)
        found.append(effect)
        census = effect.after
    return found


def _as_measured(step: Step, effect: Effect, measured: trial_client.Measured | None) -> Effect:
    """With what came of the samples it was tried on, where the rule of the stage does not know it exactly."""
    if measured is None or step.name == "split" or wants_all(step):
        return effect
    if step.name == "pack":
        census = replace(effect.after, sample_bytes=measured.growth or effect.after.sample_bytes)
        return effect if not measured.captions else replace(effect, after=replace(census, captions=measured.captions))
    before = effect.before
    after = replace(
        effect.after,
        shards=tuple(count * measured.kept for count in before.shards),
        captions=measured.captions,
        sample_bytes=max(0.0, before.sample_bytes + measured.growth),
        how="planned",
    )
    gained = sum(max(0.0, count - before.captions.get(kind, 0.0)) for kind, count in measured.captions.items())
    return replace(effect, after=after, captions=gained * before.samples or effect.captions)


def _row(
    step: Step, effect: Effect, measured: trial_client.Measured | None, before: past.Past | None, where: Machine,
    memory: float,
) -> Row:  # fmt: skip
    samples, captions = effect.before.samples, sum(effect.after.captions.values()) * effect.after.samples
    if before is not None:
        basis = f"{before.folder}, {before.samples:,} samples on {where.device}"
        return Row(step.name, samples, captions, samples * before.seconds, "past", basis, before.watts)
    if measured is not None:
        basis = f"on {measured.samples} of your samples, {console.duration(measured.start)} to start, on {where.device}"
        seconds = measured.start + samples * measured.seconds
        watts = where.watts(memory, measured.threads)
        return Row(step.name, samples, captions, seconds, "measured", basis, watts, start=measured.start)
    guess = assumed(step, effect.before, _each(effect), where)
    return Row(step.name, samples, captions, samples * guess.seconds, "assumed", guess.basis, where.watts(memory))


def _each(effect: Effect) -> float:
    return effect.captions / effect.before.samples if effect.before.samples else 0.0


def _joint(work: Work, known: past.Past, after: Census) -> Row:
    samples, captions = work.census.samples, sum(after.captions.values()) * after.samples
    basis = f"{known.folder}, {known.samples:,} samples through the same plan"
    return Row(work.chain.name, samples, captions, samples * known.seconds, "past", basis, known.watts)


def _disk(work: Work, after: Census) -> float:
    """The result, and what a plan keeps beside it while it runs: the shards before a step that has to see all."""
    if work.out == "-":
        return 0.0
    copies = sum(bool(part.steps) for part in parts_of(work.chain)[:-1])
    return after.size + copies * max(work.census.size, after.size)
