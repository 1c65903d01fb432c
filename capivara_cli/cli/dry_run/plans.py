"""Estimates a plan of stages: checks it like a real run, counts its input, tries it, and adds a row per step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from capivara_cli import console, registry
from capivara_cli.cli.dry_run import trial_client
from capivara_cli.cli.dry_run.census import Census, Origin, census_of
from capivara_cli.cli.dry_run.rehearsal import EstimateRow, Rehearsal, unknown
from capivara_cli.cli.dry_run.sources import census_of_sources
from capivara_cli.pipeline import engine, output_folder, partition
from capivara_cli.pipeline.chain import Chain
from capivara_cli.pipeline.corpus_stages import needs_corpus, parts_of
from capivara_cli.pipeline.device import free_memory
from capivara_cli.pipeline.fingerprint import fingerprint, identity_of, is_same
from capivara_cli.pipeline.folder_store import Contents
from capivara_cli.pipeline.local_store import LocalStore
from capivara_cli.pipeline.options import Settings
from capivara_cli.pipeline.output_folder import OutputFolder
from capivara_cli.pipeline.sharded_plan import ShardedPlan
from capivara_cli.pipeline.source import check_packed
from capivara_cli.pipeline.stage import Step
from capivara_cli.shards.inputs import find_shards
from capivara_cli.shards.manifest import Manifest
from capivara_cli.urls import is_url


@dataclass(frozen=True)
class RemainingWork:
    """The part of a plan that is left to do. ``census`` is without the ``done`` samples; ``out`` "-" is a stream."""

    chain: Chain
    sources: list[str]
    census: Census
    out: str
    done: float = 0.0
    done_census: Census | None = None


def rehearse(
    steps: Sequence[Step], inputs: Sequence[str], settings: Settings, rehearsal: Rehearsal, *, streams: bool
) -> dict[str, Any]:
    """Add the rows of a plan to the rehearsal. Raises the errors that the plan itself would raise before it begins."""
    work = _work(steps, inputs, settings, rehearsal, streams)
    rehearsal.count(work.sources, work.census)
    before = len(rehearsal.rows)
    after = _add_rows(work, settings, rehearsal)
    if work.out != "-":
        if after.known:
            rehearsal.check_room(work.out, _disk(work, after))
        origin = Origin(work.census.origin.sources, (*work.census.origin.steps, *steps))
        done = work.done_census.shards if work.done_census else ()
        shards = (*after.shards, *done) if after.known else ()
        rehearsal.outputs[work.out] = replace(after, shards=shards, origin=origin)
    return {
        "out": work.out,
        "read": round(work.census.samples),
        "written": round(after.samples),
        "rows": len(rehearsal.rows) - before,
    }


def _work(
    steps: Sequence[Step], inputs: Sequence[str], settings: Settings, rehearsal: Rehearsal, streams: bool
) -> RemainingWork:
    """Make the checks of ``engine.run``, in its order, on folders that exist or that earlier commands would make."""
    chain = Chain(steps, settings)
    for step in steps:
        rehearsal.check(partial(step.stage.check, step.options))
    registry.check("engines", settings.engine)
    sources = engine.sources_of(chain, inputs)
    begins = steps[0].stage.begins
    chain.envs[0].inputs = sources
    planned = rehearsal.planned(sources)
    shards = [] if begins or planned else find_shards(sources)
    if chain.reads_captions:
        check_packed(shards)
    if streams or begins or shards == ["-"]:
        engine.check_single_process(chain)
    out = "-" if streams else settings.out or engine.default_folder(sources, steps)
    if begins and out != "-" and not is_url(out):
        identity = identity_of(chain)
        contents = Contents(
            chain.described, identity.fingerprint, [], [], files=identity.files, overwrite=settings.overwrite
        )
        OutputFolder(LocalStore(Path(out)), contents).check()
    census = planned or (census_of_sources(sources, steps[0].options) if begins else census_of(shards))
    if streams or is_url(out) or planned:
        return RemainingWork(chain, sources, census, out)
    folder = Path(out)
    engine.check_not_input(folder, shards)
    return _remaining(RemainingWork(chain, sources, census, out), shards, settings)


def _remaining(work: RemainingWork, shards: Sequence[str], settings: Settings) -> RemainingWork:
    """The work without the shards that an earlier run finished, and without the shares of other processes."""
    folder, chain, census = Path(work.out), work.chain, work.census
    if chain.steps[0].stage.begins:
        before = Manifest.load(folder) if folder.is_dir() else None
        if before and before.complete and is_same(before.fingerprint, fingerprint(chain)):
            return replace(work, census=replace(census, shards=()), done=census.samples, done_census=census)
        return work
    share = partition.share_of(settings.share, len(shards))
    plan = ShardedPlan(
        chain, shards, output_folder.output_names(shards), LocalStore(folder), _NoBooks(), identity_of(chain)
    )
    plan.out.check()
    plan.out.refresh()
    finished = [plan.out.is_done(index) for index in range(len(shards))]
    left = tuple(census.shards[index] for index in share.indices if not finished[index])
    done = tuple(count for count, over in zip(census.shards, finished, strict=True) if over)
    return replace(work, census=replace(census, shards=left), done=sum(done), done_census=replace(census, shards=done))


class _NoBooks:
    """``Books`` for a plan that does not run."""

    def started(self, name: str) -> None: ...

    def advance(self, count: int = 1) -> None: ...

    def finished(self, name: str, tallies: Any) -> None: ...


def _add_rows(work: RemainingWork, settings: Settings, rehearsal: Rehearsal) -> Census:
    """Add a row for each step; return the census after the last step."""
    steps, census = work.chain.steps, work.census
    if census.known and not census.samples:
        basis = f"{work.done:,.0f} samples in {work.out}/"
        rehearsal.rows.append(EstimateRow(work.chain.name, 0, 0, 0.0, "done", basis, done=work.done))
        return census
    if settings.workers > 1 or settings.engine != "local":
        rehearsal.remark(f"times are those of one process; {settings.workers} workers share the work")
    tried = _tried(work, settings, rehearsal)
    rows = []
    for step, measured in zip(steps, tried.steps, strict=True):
        after = _after(step, census, measured)
        rows.append(_row(step, census, after, measured, tried.reason))
        census = after
    if all(tried.steps):
        memory = float(tried.peak * settings.workers)
        rows[-1] = replace(rows[-1], memory=memory)
        rehearsal.check_memory(memory, free_memory(work.chain.envs[0].device))
    disk = _disk(work, census) if census.known else None
    rehearsal.rows += [*rows[:-1], replace(rows[-1], disk=disk, done=work.done)]
    return census


def _tried(work: RemainingWork, settings: Settings, rehearsal: Rehearsal) -> trial_client.Tried:
    steps = work.chain.steps
    if not work.census.known:
        return trial_client.Tried([None] * len(steps), why="its input is not known")
    console.say(f"{work.chain.name}: trying it on up to {trial_client.SAMPLES} samples …")
    tried = trial_client.attempt(work.census.origin, steps, settings)
    if not all(tried.steps):
        rehearsal.remark(f"{work.chain.name}: could not be tried: {tried.reason}")
    for step in steps:
        if getattr(step.options, "against", ""):
            rehearsal.remark(f"{step.name}: tried without --against, so its time and what it drops are not included")
    return tried


def _after(step: Step, census: Census, measured: trial_client.StepTrial | None) -> Census:
    """The census after a step, extrapolated from the samples of the trial."""
    share = step.stage.keeps(step.options) if step.stage.keeps else None
    if census.known and share is not None:
        return replace(census, shards=tuple(count * share for count in census.shards), how="planned")
    if not census.known or measured is None:
        return Census.unknown(census.origin)
    if step.stage.begins:
        captions = measured.captions or census.captions
        return replace(census, captions=captions, sample_bytes=measured.growth or census.sample_bytes, how="planned")
    return replace(
        census,
        shards=tuple(count * measured.kept for count in census.shards),
        captions=measured.captions,
        sample_bytes=max(0.0, census.sample_bytes + measured.growth),
        how="planned",
    )


def _row(step: Step, census: Census, after: Census, measured: trial_client.StepTrial | None, why: str) -> EstimateRow:
    if not census.known or measured is None:
        return unknown(step.name, census.samples if census.known else None, why)
    basis = f"on {measured.samples} of your samples, {console.duration(measured.start)} to start"
    if needs_corpus(step):
        basis += "; of all samples it may keep another share"
    captions = sum(after.captions.values()) * after.samples
    seconds = measured.start + census.samples * measured.seconds
    return EstimateRow(
        step.name, census.samples, captions, seconds, "measured", basis, measured.watts, start=measured.start
    )


def _disk(work: RemainingWork, after: Census) -> float:
    """Bytes of the result, and of the shards that are stored before each corpus stage while the plan runs."""
    if work.out == "-":
        return 0.0
    copies = sum(bool(part.steps) for part in parts_of(work.chain)[:-1])
    return after.size + copies * max(work.census.size, after.size)
