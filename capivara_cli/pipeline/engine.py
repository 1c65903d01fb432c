"""A plan over a stream or a folder of shards: reading, the chain of stages, the books, resume.

``capivara a | capivara b`` and ``capivara run 'a | b'`` go through the same chain and write the same bytes.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from capivara_cli import console, registry
from capivara_cli.costs import live_record
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.pipeline import partition
from capivara_cli.pipeline.chain import Chain, Report, keeping_rejects, new_report
from capivara_cli.pipeline.fingerprint import fingerprint
from capivara_cli.pipeline.output_folder import Contents, SharedFolder
from capivara_cli.pipeline.passes import Passes, counted, streamed
from capivara_cli.pipeline.stage import Env, Settings, Step, Tally
from capivara_cli.pipeline.workers.job import Job
from capivara_cli.shards.archive import MANIFEST, History, Manifest, ShardWriter, Stream, find_shards, reading
from capivara_cli.storage.claims import Claims
from capivara_cli.storage.files import replacing, sweep
from capivara_cli.urls import base_name, is_url, public_url

_PATIENCE = 2.0  # s: that a run which was stopped waits to put its work down
DEFAULT_INPUT = "shards"
SHARD_SIZE = 1000
"""Samples per shard where the input has no shards to mirror: a stream written to a folder, and ``pack``."""


def default_inputs(inputs: Sequence[str]) -> list[str]:
    """The inputs as given; without any, standard input if something is piped in, else ``shards/``."""
    if inputs:
        return list(inputs)
    try:
        mode = os.fstat(0).st_mode
    except OSError:  # standard input is closed
        return [DEFAULT_INPUT]
    piped = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISREG(mode)
    return ["-"] if piped else [DEFAULT_INPUT]


class Source:
    """The samples of all inputs, one shard after the other, counted in ``env``; for commands that end a stream."""

    def __init__(self, inputs: Sequence[str], env: Env) -> None:
        self.shards = find_shards(default_inputs(inputs))
        self.history: History = []
        self._env = env

    def __iter__(self) -> Stream:
        for number, shard in enumerate(self.shards):
            with reading(shard) as reader:
                if number == 0:
                    self.history = reader.history
                for sample in counted(reader, self._env):
                    self._env.tally.read += 1
                    yield sample


def run(steps: Sequence[Step], inputs: Sequence[str], settings: Settings, out: BinaryIO | None) -> Report:
    """Run a plan over the inputs: to the stream ``out`` when it is given, else to a folder."""
    chain = Chain(steps, settings)
    chain.check()
    registry.check("engines", settings.engine)
    sources = sources_of(chain, inputs)
    begins = steps[0].stage.begins
    shards = [] if begins else find_shards(sources)
    chain.envs[0].inputs = sources
    if out is not None:
        check_alone(chain)
        with _together(shards, chain.envs[0]) as (history, samples):
            return run_stream(chain, history, samples, out)
    if is_url(settings.out):
        return _to_remote(chain, shards, settings.out)
    folder = Path(settings.out or default_folder(sources, chain.steps))
    if not settings.out:
        console.say(f"capivara {chain.name}: writing to {folder}/")
    check_not_input(folder, shards)
    if begins or shards == ["-"]:
        check_alone(chain)
        with _together(shards, chain.envs[0]) as (history, samples), _alone(folder):
            live_record.goes_to(out=str(folder))
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
        with _together(shards, chain.envs[0]) as (history, samples):
            return remote.rotate(chain, history, samples, out)
    return remote.run_folder(chain, shards, out)


@contextlib.contextmanager
def _together(shards: Sequence[str], env: Env) -> Iterator[tuple[History, Stream]]:
    """All shards as one stream, with the history of the first; no shards is an empty stream."""
    if not shards:
        yield [], iter(())
        return
    with reading(shards[0]) as first:

        def samples() -> Stream:
            yield from counted(first, env)
            for shard in shards[1:]:
                with reading(shard) as reader:
                    yield from counted(reader, env)

        yield first.history, samples()


def default_folder(sources: Sequence[str], steps: Sequence[Step]) -> str:
    """``shards/`` and one step ``caption`` -> ``shards-caption``; several steps -> ``shards-run``."""
    if steps[0].stage.begins:
        return DEFAULT_INPUT
    base = "stdin" if sources[0] == "-" else public_url(sources[0]).rstrip("/").removesuffix(".tar")
    if "://" in base or any(mark in base for mark in "*?[{"):
        base = Path(base.rpartition("/")[0]).name or DEFAULT_INPUT
    return f"{base}-{steps[0].name if len(steps) == 1 else 'run'}"


def run_stream(chain: Chain, history: History, samples: Stream, out: BinaryIO) -> Report:
    """The samples through the chain into one tar on a stream; the end marker only when everything went well."""
    report = new_report(chain, "-")
    writer = ShardWriter(out, history + chain.described)
    out.flush()  # the next command learns its history now, and may load its model while ours loads
    with keeping_rejects(chain, "stream.tar"):
        for sample in console.track(streamed(chain, samples), chain.name):
            writer.write(sample)
        report.add(chain.close_books())
        report.refuse_if_nothing_worked()
        writer.finish()
        out.flush()
    return report


def run_folder(chain: Chain, shards: Sequence[str], folder: Path) -> Report:
    """Each shard to one of the same name, all or nothing; those that are done are skipped, and others may help."""
    settings = chain.settings
    report = new_report(chain, str(folder))
    books = Books(report, console.Progress(chain.name))
    passes = Passes(chain, shards, output_names(shards), folder, books, fingerprint(chain))
    share = partition.of(settings.share, len(shards))
    report.resumed = passes.open()
    live_record.goes_to(lambda: report.tallies[0].read, out=str(folder))
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


@dataclass
class Books:
    """What this process, or the workers it started, did: for the summary and on the screen."""

    report: Report
    progress: console.Progress

    def started(self, name: str) -> None:
        """A shard is begun."""

    def advance(self, count: int = 1) -> None:
        self.progress.advance(count)

    def finished(self, name: str, tallies: Sequence[Tally]) -> None:
        self.report.add(tallies)


def rotate(chain: Chain, history: History, samples: Stream, folder: Path) -> Report:
    """A stream into shards of equal size. It cannot be replayed, so a killed run starts again from the top.

    What begins a stream (``pack``) can: finished, and with the same files to read, it is not done again.
    """
    size = getattr(chain.steps[0].options, "shard_size", SHARD_SIZE)
    mark = fingerprint(chain)
    before = Manifest.load(folder) if folder.is_dir() else None
    report = new_report(chain, str(folder))
    if chain.steps[0].stage.begins and before and before.complete and before.fingerprint == mark:
        report.resumed = len(before.done)
        return report
    manifest = _open_manifest(folder, chain.described, mark)
    if manifest.done:
        _clear(manifest)
    with keeping_rejects(chain, "stream.tar"):
        stream = console.track(streamed(chain, samples), chain.name)
        waiting = next(stream, None)
        number = 0
        while waiting is not None or number == 0:
            name = f"{number:05d}.tar"
            with replacing(folder / name) as out:
                writer = ShardWriter(out, history + chain.described)
                while waiting is not None and writer.written < size:
                    writer.write(waiting)
                    waiting = next(stream, None)
                writer.finish()
                length = out.tell()
            manifest.finish({"shard": name, "input": None, "written": writer.written, "bytes": length})
            number += 1
        report.add(chain.close_books())
        report.shards = number
        report.refuse_if_nothing_worked()
    manifest.shards = number
    manifest.save()
    return report


def _open_manifest(folder: Path, plan: History, mark: str) -> Manifest:
    """The manifest of a folder that one process fills from a stream."""
    files = SharedFolder(folder, Contents(plan, mark, [], []))
    files.check()
    sweep(folder)
    manifest = Manifest.load(folder) or Manifest(folder, plan, mark, None)
    manifest.shards = None
    manifest.save()
    return manifest


def _clear(manifest: Manifest) -> None:
    for name in manifest.done:
        (manifest.folder / name).unlink(missing_ok=True)
    manifest.done.clear()
    manifest.save()


def output_names(shards: Sequence[str]) -> list[str]:
    """The base names of the shards; where two folders have the same name, led by the folder's."""
    names = [base_name(shard).removesuffix(".gz") for shard in shards]
    names = [name if name.endswith(".tar") else f"{name}.tar" for name in names]
    if len(set(names)) < len(names):
        names = [f"{Path(public_url(shard)).parent.name}-{name}" for shard, name in zip(shards, names, strict=True)]
    for name, count in Counter(names).items():
        if count > 1:
            raise CapivaraError(f"{count} inputs would all be written to {name}", "process the folders one by one")
    return names
