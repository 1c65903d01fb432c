"""A plan over a stream or a folder of shards: reading, the chain of stages, the books, resume.

``capivara a | capivara b`` and ``capivara run 'a | b'`` go through the same chain and write the same bytes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from capivara_cli import console, registry
from capivara_cli.costs.costs import Costs
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.pipeline import partition
from capivara_cli.pipeline.books import Books, Report, new_report
from capivara_cli.pipeline.chain import Chain
from capivara_cli.pipeline.fingerprint import fingerprint
from capivara_cli.pipeline.options import Settings
from capivara_cli.pipeline.output_folder import output_names
from capivara_cli.pipeline.passes import Passes
from capivara_cli.pipeline.source import DEFAULT_INPUT, default_inputs, together
from capivara_cli.pipeline.stage import Step
from capivara_cli.pipeline.stream import rotate, run_stream
from capivara_cli.pipeline.workers.job import Job
from capivara_cli.shards.inputs import find_shards
from capivara_cli.shards.manifest import MANIFEST
from capivara_cli.storage.claims import Claims
from capivara_cli.urls import is_url, public_url

_PATIENCE = 2.0  # s: that a run which was stopped waits to put its work down


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
    if is_url(settings.out):
        return _to_remote(chain, shards, settings.out)
    folder = Path(settings.out or default_folder(sources, chain.steps))
    if not settings.out:
        console.say(f"capivara {chain.name}: writing to {folder}/")
    check_not_input(folder, shards)
    if begins or shards == ["-"]:
        check_alone(chain)
        with together(shards, chain.envs[0]) as (history, samples), _alone(folder):
            chain.costs.record_result_at(out=str(folder))
            return rotate(chain, history, samples, folder)
    return run_folder(chain, shards, folder)


def sources_of(chain: Chain, inputs: Sequence[str]) -> list[str]:
    """What a plan reads. Raises ``UsageError`` when it begins a stream and nothing is named."""
    if not chain.steps[0].stage.begins:
        return default_inputs(inputs)
    if not inputs:
        raise UsageError(f"{chain.steps[0].name}: of what?", f"name it: capivara {chain.name} photos/captions.csv")
    return list(inputs)


def check_not_input(folder: Path, shards: Sequence[str]) -> None:
    """Raise when a plan would write among the shards that it reads."""
    if folder.resolve() in {Path(shard).resolve().parent for shard in shards if "://" not in shard and shard != "-"}:
        raise CapivaraError(f"--out {folder}: is also the input", "name another folder")


def check_alone(chain: Chain) -> None:
    """A stream is one piece of work: say so to who asked for several workers."""
    settings = chain.settings
    if settings.workers > 1 or settings.engine != "local" or settings.share:
        raise UsageError(
            f"{chain.name}: one stream cannot be shared by several processes",
            "read a folder of shards and write one: capivara … shards --out DIR --workers 4",
        )


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep others from writing a stream into the same folder."""
    claims = Claims(folder)
    try:
        with claims.waiting(MANIFEST, patience=0) as claim:
            if claim is None:
                raise CapivaraError(f"{folder}: another process is writing it", "name another --out, or wait")
            yield
    finally:
        claims.close()


def _to_remote(chain: Chain, shards: Sequence[str], out: str) -> Report:
    from capivara_cli.pipeline import remote_folder as remote  # the network's libraries, for those who need them

    if any(remote.is_in(shard, out) for shard in shards):
        raise CapivaraError(f"--out {out}: is also the input", "name another folder")
    if chain.steps[0].stage.begins or shards == ["-"]:
        with together(shards, chain.envs[0]) as (history, samples):
            return remote.rotate(chain, history, samples, out)
    return remote.run_folder(chain, shards, out)


def default_folder(sources: Sequence[str], steps: Sequence[Step]) -> str:
    """``shards/`` and one step ``caption`` -> ``shards-caption``; several steps -> ``shards-run``."""
    if steps[0].stage.begins:
        return DEFAULT_INPUT
    base = "stdin" if sources[0] == "-" else public_url(sources[0]).rstrip("/").removesuffix(".tar")
    if "://" in base or any(mark in base for mark in "*?[{"):
        base = Path(base.rpartition("/")[0]).name or DEFAULT_INPUT
    return f"{base}-{steps[0].name if len(steps) == 1 else 'run'}"


def run_folder(chain: Chain, shards: Sequence[str], folder: Path) -> Report:
    """Each shard to one of the same name, all or nothing; those that are done are skipped, and others may help."""
    settings = chain.settings
    report = new_report(chain, str(folder))
    books = Books(report, console.Progress(chain.name))
    passes = Passes(chain, shards, output_names(shards), folder, books, fingerprint(chain))
    share = partition.of(settings.share, len(shards))
    report.resumed = passes.open()
    chain.costs.record_result_at(lambda: report.tallies[0].read, out=str(folder))
    complete = False
    try:
        if settings.workers > 1 or settings.engine != "local":
            registry.load("engines", settings.engine).run(Job.of(passes, share), passes, books, settings)
        else:
            passes.run(share.indices)
        complete = passes.settle()
    finally:
        if not complete:
            with contextlib.suppress(OSError, CapivaraError):  # what stopped the work is the error to show
                passes.settle(patience=_PATIENCE)
        books.progress.close()
    if not complete:
        console.say(share.remark(passes.out.done))
    report.refuse_if_nothing_worked()
    return report
