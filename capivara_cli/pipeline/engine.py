"""Runs a plan over a stream or a folder of shards: reading, the chain of stages, the books, resume.

``capivara a | capivara b`` and ``capivara run 'a | b'`` use the same chain and write the same bytes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from capivara_cli import console, registry
from capivara_cli.costs.costs import Costs
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.pipeline import partition
from capivara_cli.pipeline.books import Report, RunBooks, new_report
from capivara_cli.pipeline.chain import Chain
from capivara_cli.pipeline.fingerprint import fingerprint
from capivara_cli.pipeline.options import Settings
from capivara_cli.pipeline.output_folder import alone, output_names
from capivara_cli.pipeline.passes import Passes
from capivara_cli.pipeline.source import DEFAULT_INPUT, default_inputs, together
from capivara_cli.pipeline.stage import Step
from capivara_cli.pipeline.stores import store_of
from capivara_cli.pipeline.stream import rotate, rotate_remote, run_stream
from capivara_cli.pipeline.workers.job import Job
from capivara_cli.shards.inputs import find_shards
from capivara_cli.storage.claims import Claims
from capivara_cli.urls import is_url, public_url

_PATIENCE = 2.0  # s: that an interrupted run waits to enter its work in the manifest


def run(
    steps: Sequence[Step], inputs: Sequence[str], settings: Settings, out: BinaryIO | None, costs: Costs | None = None
) -> Report:
    """Run a plan over the inputs: to the stream ``out`` when it is given, else to a folder."""
    chain = Chain(steps, settings, costs or Costs())
    chain.check()
    registry.check("engines", settings.engine)
    sources = sources_of(chain, inputs)
    begins = steps[0].stage.begins
    shards = [] if begins else find_shards(sources)
    chain.envs[0].inputs = sources
    if out is not None:
        check_alone(chain)
        with together(shards, chain.envs[0]) as (history, samples):
            return run_stream(chain, history, samples, out)
    place = settings.out or default_folder(sources, chain.steps)
    if not settings.out:
        console.say(f"capivara {chain.name}: writing to {place}/")
    remote = is_url(place)
    place = place if remote else str(Path(place))
    _check_remote(chain, shards, place) if remote else check_not_input(Path(place), shards)
    if not begins and shards != ["-"]:
        return run_folder(chain, shards, place)
    check_alone(chain)
    with together(shards, chain.envs[0]) as (history, samples):
        if remote:
            return rotate_remote(chain, history, samples, place)
        with alone(Claims(Path(place)), place):
            chain.costs.record_result_at(out=place)
            return rotate(chain, history, samples, Path(place))


def sources_of(chain: Chain, inputs: Sequence[str]) -> list[str]:
    """The inputs of a plan. Raises ``UsageError`` for a plan that begins a stream from nothing."""
    if not chain.steps[0].stage.begins:
        return default_inputs(inputs)
    if not inputs:
        raise UsageError(f"{chain.steps[0].name}: of what?", f"name it: capivara {chain.name} photos/captions.csv")
    return list(inputs)


def check_not_input(folder: Path, shards: Sequence[str]) -> None:
    """Raise ``CapivaraError`` for an output folder that holds the input shards."""
    if folder.resolve() in {Path(shard).resolve().parent for shard in shards if "://" not in shard and shard != "-"}:
        raise CapivaraError(f"--out {folder}: is also the input", "name another folder")


def check_alone(chain: Chain) -> None:
    """Raise ``UsageError`` for several workers: a stream is one piece of work."""
    settings = chain.settings
    if settings.workers > 1 or settings.engine != "local" or settings.share:
        raise UsageError(
            f"{chain.name}: one stream cannot be shared by several processes",
            "read a folder of shards and write one: capivara … shards --out DIR --workers 4",
        )


def _check_remote(chain: Chain, shards: Sequence[str], out: str) -> None:
    """Raise ``CapivaraError`` for a remote folder that cannot be written to, or that holds the input shards."""
    from capivara_cli.storage.remote.upload import check_writable  # the network's libraries, for those who need them

    check_writable(out)
    if any(public_url(shard).rpartition("/")[0] == out.rstrip("/") for shard in shards):
        raise CapivaraError(f"--out {out}: is also the input", "name another folder")
    if is_url(chain.settings.rejects):
        raise CapivaraError(f"--rejects {chain.settings.rejects}: is kept on this machine", "name a local folder")


def default_folder(sources: Sequence[str], steps: Sequence[Step]) -> str:
    """``shards/`` and one step ``caption`` -> ``shards-caption``; several steps -> ``shards-run``."""
    if steps[0].stage.begins:
        return DEFAULT_INPUT
    base = "stdin" if sources[0] == "-" else public_url(sources[0]).rstrip("/").removesuffix(".tar")
    if "://" in base or any(mark in base for mark in "*?[{"):
        base = Path(base.rpartition("/")[0]).name or DEFAULT_INPUT
    return f"{base}-{steps[0].name if len(steps) == 1 else 'run'}"


def run_folder(chain: Chain, shards: Sequence[str], out: str) -> Report:
    """Make a shard from each shard, of the same name, in the folder ``out``, a path or a URL.

    Shards that are done are skipped; other processes may make some of them at the same time.
    """
    settings = chain.settings
    mark = fingerprint(chain)
    store = store_of(out, mark)
    report = new_report(chain, store.shown)
    books = RunBooks(report, console.Progress(chain.name))
    passes = Passes(chain, shards, output_names(shards), store, books, mark)
    share = partition.of(settings.share, len(shards))
    report.resumed = passes.open()
    if not is_url(out):
        chain.costs.record_result_at(lambda: report.tallies[0].read, out=out)
    complete = False
    try:
        if settings.workers > 1 or settings.engine != "local":
            registry.load("engines", settings.engine).run(Job.of(passes, share), passes, books, settings)
        else:
            passes.run(share.indices)
        complete = passes.settle()
    finally:
        if not complete:
            with contextlib.suppress(OSError, CapivaraError):  # the error that stopped the work is the one to show
                passes.settle(patience=_PATIENCE)
        passes.close()
        books.progress.close()
    if not complete:
        console.say(share.remark(passes.out.done))
    report.refuse_if_nothing_worked()
    return report
