"""A plan over a stream or a folder of shards: reading, the chain of stages, the books, resume.

``capivara a | capivara b`` and ``capivara run 'a | b'`` go through the same chain and write the same bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from capivara_cli import __version__, console
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.sample import Sample, encode_json
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


@dataclass
class Chain:
    """The steps of a plan with their environments, which live as long as the process: models load once."""

    steps: Sequence[Step]
    settings: Settings
    envs: list[Env] = field(init=False)

    def __post_init__(self) -> None:
        models: dict[Any, Any] = {}
        self.envs = [Env(self.settings, step.name, models) for step in self.steps]

    @property
    def name(self) -> str:
        return " | ".join(step.name for step in self.steps)

    @property
    def described(self) -> History:
        """What provenance records: the steps with everything that decides what they write."""
        return [{**step.describe(self.settings.seed), "version": __version__} for step in self.steps]

    def check(self) -> None:
        for step in self.steps:
            step.stage.check(step.options)

    def over(self, samples: Iterable[Sample]) -> Stream:
        """The samples after every step, each step's books kept."""
        stream = iter(samples)
        for step, env in zip(self.steps, self.envs, strict=True):
            stream = _written(step.stage.run(_read(stream, env), step.options, env), env)
        return stream

    def close_books(self) -> list[Tally]:
        """Close one shard's books. Raises ``RuntimeError`` when a step lost a sample: that is a bug, not bad input."""
        tallies = [env.next_shard() for env in self.envs]
        for step, tally in zip(self.steps, tallies, strict=True):
            if tally.read != tally.written + tally.dropped.total():
                raise RuntimeError(
                    f"{step.name} read {tally.read} samples, wrote {tally.written} and dropped {tally.dropped.total()}"
                )
        return tallies


def _read(samples: Stream, env: Env) -> Stream:
    for sample in samples:
        env.tally.read += 1
        yield sample


def _written(samples: Stream, env: Env) -> Stream:
    for sample in samples:
        env.tally.written += 1
        yield sample


@dataclass
class Report:
    """What a run did: per step and over all shards."""

    name: str
    out: str
    steps: list[str]
    tallies: list[Tally]
    inputs: Sequence[str] = ()
    shards: int = 0
    resumed: int = 0

    def add(self, tallies: Sequence[Tally]) -> None:
        for total, tally in zip(self.tallies, tallies, strict=True):
            total.add(tally)
        self.shards += 1

    def summary(self) -> dict[str, Any]:
        """Machine-readable: read by the first step, written by the last, dropped by all with reasons."""
        steps = [{"step": name, **_counts(tally)} for name, tally in zip(self.steps, self.tallies, strict=True)]
        return {
            "command": self.name,
            "out": self.out,
            "inputs": list(self.inputs),
            "read": self.tallies[0].read,
            "written": self.tallies[-1].written,
            "dropped": dict(sum((tally.dropped for tally in self.tallies), Counter())),
            "notes": dict(sum((tally.notes for tally in self.tallies), Counter())),
            "shards": self.shards,
            "resumed_shards": self.resumed,
            "steps": steps,
        }

    def refuse_if_nothing_worked(self) -> None:
        """Raise when every sample that reached a step failed there: that is no result."""
        for name, tally in zip(self.steps, self.tallies, strict=True):
            if tally.failed and tally.failed == tally.read:
                reasons = ", ".join(f"{reason} ({count})" for reason, count in tally.dropped.most_common(3))
                raise CapivaraError(f"{name}: none of the {tally.read} samples can be used: {reasons}")


def _counts(tally: Tally) -> dict[str, Any]:
    return {"read": tally.read, "written": tally.written, "dropped": dict(tally.dropped), "notes": dict(tally.notes)}


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
    report = _report(chain, "-")
    writer = ShardWriter(out, history + chain.described)
    out.flush()  # the next command learns its history now, and may load its model while ours loads
    with _keeping_rejects(chain, "stream.tar"):
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
    report = _report(chain, str(folder))
    progress = console.Progress(chain.name)
    for shard, name in zip(shards, names, strict=True):
        identity = _input_identity(shard)
        if (entry := manifest.done.get(name)) and entry["input"] == identity and (folder / name).is_file():
            report.resumed += 1
            continue
        tallies, size = _one_shard(chain, shard, folder / name, progress)
        report.add(tallies)
        manifest.finish(_entry(name, identity, tallies, size))
    progress.close()
    report.refuse_if_nothing_worked()
    return report


def _one_shard(chain: Chain, shard: str, target: Path, progress: console.Progress) -> tuple[list[Tally], int]:
    with reading(shard) as reader, _keeping_rejects(chain, target.name), replacing(target) as out:
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
    report = _report(chain, str(folder))
    if chain.steps[0].stage.begins and before and before.complete and before.fingerprint == mark:
        report.resumed = len(before.done)
        return report
    manifest = open_manifest(folder, chain.described, mark, None)
    if manifest.done:
        _clear(manifest)
    with _keeping_rejects(chain, "stream.tar"):
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


def _report(chain: Chain, out: str) -> Report:
    inputs = [source for source in chain.envs[0].inputs if Path(source).exists()]
    return Report(chain.name, out, [step.name for step in chain.steps], [Tally() for _ in chain.steps], inputs)


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
    manifest.save()
    return manifest


def fingerprint(chain: Chain) -> str:
    """A hash of the plan, its options, our version, and the size and time of every file they depend on."""
    files = [_file_marks(value) for step in chain.steps for value in asdict(step.options).values()]
    if chain.steps[0].stage.begins:
        files += [[source, *_every_file(Path(source))] for source in chain.envs[0].inputs]
    return hashlib.sha256(json.dumps([chain.described, files], sort_keys=True).encode()).hexdigest()


def _file_marks(value: Any) -> list[list[Any]]:
    """Size and time of the files under a path an option names (a model folder, a run): retrained means changed."""
    if not isinstance(value, str) or ("/" not in value and "." not in value):
        return []
    path = Path(value.partition(":")[2] or value)
    files = sorted(path.rglob("*"))[:1000] if path.is_dir() else [path] if path.is_file() else []
    kept = [each for each in files if each.is_file() and each.suffix in _MODEL_SUFFIXES]
    return [[each.name, (info := each.stat()).st_size, info.st_mtime_ns] for each in kept]


def _every_file(path: Path) -> list[list[Any]]:
    files = sorted(path.rglob("*")) if path.is_dir() else [path] if path.exists() else []
    return [[str(each), (info := each.stat()).st_size, info.st_mtime_ns] for each in files]


_MODEL_SUFFIXES = {".safetensors", ".bin", ".pt", ".argosmodel", ".txt", ".jsonl", ".model"}


def _input_identity(shard: str) -> dict[str, Any]:
    if "://" in shard:
        return {"name": shard}
    info = Path(shard).stat()
    return {"name": Path(shard).name, "size": info.st_size, "mtime_ns": info.st_mtime_ns}


def _entry(name: str, identity: dict[str, Any], tallies: Sequence[Tally], size: int) -> dict[str, Any]:
    return {
        "shard": name,
        "input": identity,
        "read": tallies[0].read,
        "written": tallies[-1].written,
        "bytes": size,
        "steps": [_counts(tally) for tally in tallies],
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


@contextlib.contextmanager
def _keeping_rejects(chain: Chain, name: str) -> Iterator[None]:
    """With ``--rejects DIR``: every dropped sample in DIR/<number>-<step>/<shard>, its reason in ``dropped.json``."""
    folder = chain.settings.rejects
    if not folder:
        yield
        return
    with contextlib.ExitStack() as stack:
        writers: list[ShardWriter] = []
        for number, (step, env) in enumerate(zip(chain.steps, chain.envs, strict=True), start=1):
            out = stack.enter_context(replacing(Path(folder) / f"{number}-{step.name}" / name))
            writers.append(ShardWriter(out, chain.described[:number]))
            env.reject = _rejecting(writers[-1], step.name)
        yield
        for writer, env in zip(writers, chain.envs, strict=True):
            writer.finish()
            env.reject = None


def _rejecting(writer: ShardWriter, step: str) -> Any:
    def reject(sample: Sample, reason: str) -> None:
        writer.write(sample.with_members(**{"dropped.json": encode_json({"step": step, "reason": reason})}))

    return reject
