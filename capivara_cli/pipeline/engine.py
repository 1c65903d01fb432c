"""Run a plan over a stream or a folder of shards.

``capivara a | capivara b`` and ``capivara run 'a | b'`` run the same code and write the same bytes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from capivara_cli import console, registry
from capivara_cli.costs import ledger
from capivara_cli.costs.costs import Costs
from capivara_cli.errors import CapivaraError, UsageError, resumable
from capivara_cli.pipeline import partition
from capivara_cli.pipeline.books import Report, RunBooks, new_report
from capivara_cli.pipeline.chain import Chain
from capivara_cli.pipeline.fingerprint import PlanIdentity, identity_of, named_paths
from capivara_cli.pipeline.options import Settings, check_options
from capivara_cli.pipeline.output_folder import exclusive, output_names
from capivara_cli.pipeline.sharded_plan import ShardedPlan
from capivara_cli.pipeline.source import DEFAULT_INPUT, check_packed, default_inputs, joined
from capivara_cli.pipeline.stage import Step
from capivara_cli.pipeline.stores import store_of
from capivara_cli.pipeline.stream import (
    finished_report,
    removed_if_empty,
    run_stream,
    write_remote_shards,
    write_shards,
)
from capivara_cli.pipeline.workers.job import Job
from capivara_cli.shards.archive import Stream
from capivara_cli.shards.history import History
from capivara_cli.shards.inputs import find_shards, local_paths
from capivara_cli.shards.names import plain_name
from capivara_cli.storage.claims import Claims
from capivara_cli.urls import is_url, public_url

_PATIENCE = 2.0  # s: how long an interrupted run waits to write its records into the manifest


def run(
    steps: Sequence[Step], inputs: Sequence[str], settings: Settings, out: BinaryIO | None, costs: Costs | None = None
) -> Report:
    """Run a plan over the inputs: to the stream ``out`` if it is given, else to the folder ``settings.out``.

    Raises ``CapivaraError`` for inputs or outputs that cannot be used.
    """
    chain = Chain(steps, settings, costs or Costs())
    for step in steps:
        check_options(step.options)
    sources = sources_of(chain, inputs)
    begins = steps[0].stage.begins
    shards = [] if begins else find_shards(sources)
    chain.check()  # it may download a model, so the inputs come first
    registry.check("engines", settings.engine)
    if chain.reads_captions:
        check_packed(shards)
    chain.envs[0].inputs = sources
    if settings.energy:
        ledger.check(ledger.folders_of(str(path) for text in sources for path in local_paths(text)))
    if out is not None:
        check_single_process(chain)
        with joined(shards, chain.envs[0], chain.reads_captions) as (history, samples):
            return run_stream(chain, history, samples, out, shards)
    place = settings.out or default_folder(sources, chain.steps)
    if not settings.out:
        console.say(f"capivara {chain.name}: writing to {place}/")
    remote = is_url(place)
    place = place if remote else str(Path(place))
    _check_remote(chain, shards, place) if remote else check_not_input(Path(place), shards)
    if settings.energy and remote:
        ledger.check([place])
    if settings.overwrite and not remote:
        _check_overwritable(chain, sources, Path(place))
    if not begins and shards != ["-"]:
        return run_folder(chain, shards, place)
    check_single_process(chain)
    identity = identity_of(chain)
    if not remote and (finished := finished_report(chain, Path(place), identity)) is not None:
        return finished
    with joined(shards, chain.envs[0], chain.reads_captions) as (history, samples):
        return write_stream(chain, history, samples, place, identity)


def write_stream(
    chain: Chain, history: History, samples: Stream, place: str, identity: PlanIdentity | None = None
) -> Report:
    """Write one stream to shards of equal size in a folder, a path or URL. Raises ``CapivaraError`` for other content.

    ``identity``: that of the plan, if it is known.
    """
    if is_url(place):
        return write_remote_shards(chain, history, samples, place)
    with removed_if_empty(Path(place)), exclusive(Claims(Path(place)), place):
        chain.costs.record_result_at(out=place)
        return write_shards(chain, history, samples, Path(place), identity or identity_of(chain))


def sources_of(chain: Chain, inputs: Sequence[str]) -> list[str]:
    """The inputs of a plan.

    If it begins a stream, raises ``UsageError`` if no input is named, ``CapivaraError`` if one cannot be read.
    """
    if not chain.steps[0].stage.begins:
        return default_inputs(inputs)
    if not inputs:
        command = chain.name if len(chain.steps) == 1 else f"run '{chain.name}'"
        raise UsageError(
            f"{chain.steps[0].name}: no input is named", f"for example: capivara {command} photos/captions.csv"
        )
    check_sources = getattr(chain.steps[0].options, "check_sources", None)
    if check_sources is not None:
        with chain.steps[0].stage.blamed():
            check_sources(inputs)
    return list(inputs)


def check_not_input(folder: Path, shards: Sequence[str]) -> None:
    """Raise ``CapivaraError`` if the output folder holds the input shards."""
    if folder.resolve() in {Path(shard).resolve().parent for shard in shards if "://" not in shard and shard != "-"}:
        raise CapivaraError(f"--out {folder}: is also the input", "choose another folder with --out")


def _check_overwritable(chain: Chain, sources: Sequence[str], folder: Path) -> None:
    """Raise ``CapivaraError`` if the folder that ``--overwrite`` may empty is read: as an input or by an option."""
    named = [path for text in sources for path in local_paths(text)]
    named += [path for step in chain.steps for _, path in named_paths(step.options)]
    for path in named:
        if folder.resolve() in (path.resolve(), *path.resolve().parents):
            raise CapivaraError(
                f"--overwrite: {path} is read, and is in --out {folder}", "choose another folder with --out"
            )


def check_single_process(chain: Chain) -> None:
    """Raise ``UsageError`` for several workers or a share: only one process can write a stream."""
    settings = chain.settings
    if settings.workers > 1 or settings.engine != "local" or settings.share:
        raise UsageError(
            f"{chain.name}: one stream cannot be shared by several processes",
            "read a folder of shards and write one: capivara … shards --out DIR --workers 4",
        )


def _check_remote(chain: Chain, shards: Sequence[str], out: str) -> None:
    """Raise ``CapivaraError`` if the remote folder cannot be written to or holds the input shards."""
    from capivara_cli.storage.remote.upload import check_writable  # imports network libraries

    check_writable(out)
    if any(public_url(shard).rpartition("/")[0] == out.rstrip("/") for shard in shards):
        raise CapivaraError(f"--out {out}: is also the input", "choose another folder with --out")
    if is_url(chain.settings.rejects):
        raise CapivaraError(f"--rejects {chain.settings.rejects}: is kept on this machine", "name a local folder")


def default_folder(sources: Sequence[str], steps: Sequence[Step]) -> str:
    """The default output folder: "shards-caption" for ``shards/`` and a step ``caption``; "shards-run" for several."""
    if steps[0].stage.begins:
        return DEFAULT_INPUT
    base = "stdin" if sources[0] == "-" else plain_name(public_url(sources[0]).rstrip("/")).removesuffix(".tar")
    if "://" in base or any(mark in base for mark in "*?[{"):
        base = Path(base.rpartition("/")[0]).name or DEFAULT_INPUT
    return f"{base}-{steps[0].name if len(steps) == 1 else 'run'}"


def run_folder(chain: Chain, shards: Sequence[str], out: str) -> Report:
    """Write one output shard per input shard, of the same name, to the folder ``out``, a path or URL.

    Shards that are done are skipped. Other processes may write some of them at the same time.
    """
    settings = chain.settings
    identity = identity_of(chain)
    store = store_of(out, identity.fingerprint)
    report = new_report(chain, store.display_name)
    books = RunBooks(report, console.Progress(chain.name))
    plan = ShardedPlan(chain, shards, output_names(shards), store, books, identity)
    share = partition.share_of(settings.share, len(shards))
    with resumable(plan.stored):
        report.resumed = plan.open()
        books.expect([shards[index] for index in share.indices if not plan.out.is_done(index)], plan.readings)
        if not is_url(out):
            chain.costs.record_result_at(lambda: report.tallies[0].read, out=out)
        report.complete = _filled(plan, share, books, settings)
    if not report.complete:
        console.say(share.remark(plan.out.done))
    report.raise_if_all_failed()
    return report


def _filled(plan: ShardedPlan, share: partition.Share, books: RunBooks, settings: Settings) -> bool:
    """Write the shards of this process and its workers; return whether the folder is complete."""
    complete = False
    try:
        if settings.workers > 1 or settings.engine != "local":
            registry.load("engines", settings.engine).run(Job.of(plan, share), plan, books, settings)
        else:
            plan.run(share.indices)
        complete = plan.settle()
    finally:
        if not complete:
            with contextlib.suppress(OSError, CapivaraError):  # show the error that stopped the work instead
                plan.settle(patience=_PATIENCE)
        plan.close()
        books.progress.close()
    return complete
