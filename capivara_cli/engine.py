"""A plan over a stream or a folder of shards: reading, the chain of stages, the books, resume.

``capivara a | capivara b`` and ``capivara run 'a | b'`` go through the same chain and write the same bytes.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from capivara_cli import console, journal
from capivara_cli.chain import Chain, Report, counts, keeping_rejects, new_report
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.fingerprint import fingerprint, input_identity
from capivara_cli.journal import Journal
from capivara_cli.shards import (
    History,
    Manifest,
    ShardReader,
    ShardWriter,
    Stream,
    find_shards,
    reading,
    replacing,
    sweep,
)
from capivara_cli.stage import Env, Settings, Step, Tally

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
                for sample in reader:
                    self._env.tally.read += 1
                    yield sample
                _note_ignored(reader.ignored, reader.duplicates, self._env)


def _note_ignored(ignored: Counter[str], duplicates: int, env: Env) -> None:
    for kind, count in ignored.items():
        env.note(f"ignored {kind}", count)
    if duplicates:
        env.tally.read += duplicates
        env.tally.dropped["duplicate key"] += duplicates


def run(steps: Sequence[Step], inputs: Sequence[str], settings: Settings, out: BinaryIO | None) -> Report:
    """Run a plan over the inputs: to the stream ``out`` when it is given, else to a folder."""
    chain = Chain(steps, settings)
    chain.check()
    begins = steps[0].stage.begins
    sources = list(inputs) if begins else default_inputs(inputs)
    if not sources:
        raise UsageError(f"{steps[0].name}: of what?", f"name it: capivara {chain.name} photos/captions.csv")
    shards = [] if begins else find_shards(sources)
    chain.envs[0].inputs = sources
    if out is not None:
        with _together(shards, chain.envs[0]) as (history, samples):
            return run_stream(chain, history, samples, out)
    folder = Path(settings.out or default_folder(sources, chain.steps))
    if not settings.out:
        console.say(f"capivara {chain.name}: writing to {folder}/")
    if folder.resolve() in {Path(shard).resolve().parent for shard in shards if "://" not in shard and shard != "-"}:
        raise CapivaraError(f"--out {folder}: is also the input", "name another folder")
    if begins or shards == ["-"]:
        with _together(shards, chain.envs[0]) as (history, samples):
            return rotate(chain, history, samples, folder)
    return run_folder(chain, shards, folder)


@contextlib.contextmanager
def _together(shards: Sequence[str], env: Env) -> Iterator[tuple[History, Stream]]:
    """All shards as one stream, with the history of the first; no shards is an empty stream."""
    if not shards:
        yield [], iter(())
        return
    with reading(shards[0]) as first:

        def samples() -> Stream:
            yield from _counted(first, env)
            for shard in shards[1:]:
                with reading(shard) as reader:
                    yield from _counted(reader, env)

        yield first.history, samples()


def default_folder(sources: Sequence[str], steps: Sequence[Step]) -> str:
    """``shards/`` and one step ``caption`` -> ``shards-caption``; several steps -> ``shards-run``."""
    if steps[0].stage.begins:
        return DEFAULT_INPUT
    base = "stdin" if sources[0] == "-" else sources[0].rstrip("/").removesuffix(".tar")
    if "://" in base or any(mark in base for mark in "*?[{"):
        base = Path(base.rpartition("/")[0]).name or DEFAULT_INPUT
    return f"{base}-{steps[0].name if len(steps) == 1 else 'run'}"


def run_stream(chain: Chain, history: History, samples: Stream, out: BinaryIO) -> Report:
    """The samples through the chain into one tar on a stream; the end marker only when everything went well."""
    report = new_report(chain, "-")
    writer = ShardWriter(out, history + chain.described)
    out.flush()  # the next command learns its history now, and may load its model while ours loads
    with keeping_rejects(chain, "stream.tar"):
        for sample in console.track(chain.over(samples), chain.name):
            writer.write(sample)
        report.add(chain.close_books())
        report.refuse_if_nothing_worked()
        writer.finish()
        out.flush()
    return report


def _counted(reader: ShardReader, env: Env) -> Stream:
    """The samples of a reader; at its end, what it passed over goes into the first step's books."""
    yield from reader
    _note_ignored(reader.ignored, reader.duplicates, env)


def run_folder(chain: Chain, shards: Sequence[str], folder: Path) -> Report:
    """Each shard to one of the same name, all or nothing; those the manifest has are skipped."""
    names = _output_names(shards)
    manifest = open_manifest(folder, chain.described, fingerprint(chain), len(shards))
    report = new_report(chain, str(folder))
    progress = console.Progress(chain.name)
    for shard, name in zip(shards, names, strict=True):
        identity = input_identity(shard)
        if (entry := manifest.done.get(name)) and entry["input"] == identity and (folder / name).is_file():
            report.resumed += 1
            continue
        mark = {"fingerprint": manifest.fingerprint, "input": identity}
        with chain.journaled(Journal(folder / name, mark)):
            tallies, size = _one_shard(chain, shard, folder / name, progress)
        report.add(tallies)
        manifest.finish(_entry(name, identity, tallies, size))
        journal.remove(folder / name)
    progress.close()
    report.refuse_if_nothing_worked()
    return report


def _one_shard(chain: Chain, shard: str, target: Path, progress: console.Progress) -> tuple[list[Tally], int]:
    with reading(shard) as reader, keeping_rejects(chain, target.name), replacing(target) as out:
        writer = ShardWriter(out, reader.history + chain.described)
        for sample in chain.over(_counted(reader, chain.envs[0])):
            writer.write(sample)
            progress.advance()
        tallies = chain.close_books()
        writer.finish()
        return tallies, out.tell()


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
    manifest = open_manifest(folder, chain.described, mark, None)
    if manifest.done:
        _clear(manifest)
    with keeping_rejects(chain, "stream.tar"):
        stream = console.track(chain.over(samples), chain.name)
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


def _clear(manifest: Manifest) -> None:
    for name in manifest.done:
        (manifest.folder / name).unlink(missing_ok=True)
    manifest.done.clear()
    manifest.save()


def open_manifest(folder: Path, plan: History, mark: str, shards: int | None) -> Manifest:
    """The manifest of an output folder: a new one, or the same plan's to go on with; anything else is an error."""
    manifest = Manifest.load(folder) if folder.is_dir() else None
    if manifest is None:
        if folder.is_dir() and any(folder.glob("*.tar")):
            raise CapivaraError(
                f"{folder}: holds shards and no manifest.jsonl, so not made by capivara", "name another --out"
            )
        manifest = Manifest(folder, plan, mark, shards)
    elif manifest.fingerprint != mark:
        names = " | ".join(step.get("step", "?") for step in manifest.plan)
        raise CapivaraError(
            f"{folder}: holds the result of another plan or other options ({names})",
            "name another --out, or delete that folder first",
        )
    manifest.shards = shards
    sweep(folder) if folder.is_dir() else None
    for name in manifest.done:
        journal.remove(folder / name)
    manifest.save()
    return manifest


def _entry(name: str, identity: dict[str, Any], tallies: Sequence[Tally], size: int) -> dict[str, Any]:
    return {
        "shard": name,
        "input": identity,
        "read": tallies[0].read,
        "written": tallies[-1].written,
        "bytes": size,
        "steps": [counts(tally) for tally in tallies],
    }


def _output_names(shards: Sequence[str]) -> list[str]:
    """The base names of the shards; where two folders have the same name, led by the folder's."""
    names = [shard.rstrip("/").rpartition("/")[2].removesuffix(".gz") for shard in shards]
    names = [name if name.endswith(".tar") else f"{name}.tar" for name in names]
    if len(set(names)) < len(names):
        names = [f"{Path(shard).parent.name}-{name}" for shard, name in zip(shards, names, strict=True)]
    for name, count in Counter(names).items():
        if count > 1:
            raise CapivaraError(f"{count} inputs would all be written to {name}", "process the folders one by one")
    return names
