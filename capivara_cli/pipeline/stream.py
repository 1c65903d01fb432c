"""A plan over one stream: to standard output, or rotated into a folder of shards."""

from __future__ import annotations

import tempfile
from pathlib import Path
from shutil import copyfile
from typing import BinaryIO, cast

from capivara_cli import console
from capivara_cli.pipeline.books import Report, keeping_rejects, new_report
from capivara_cli.pipeline.chain import Chain
from capivara_cli.pipeline.corpus_stages import corpus_of, one_per_shard, parts_of, survey_env
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.fingerprint import fingerprint
from capivara_cli.pipeline.local_store import LocalStore
from capivara_cli.pipeline.output_folder import Contents, Done, OutputFolder, alone
from capivara_cli.pipeline.source import counted
from capivara_cli.shards.archive import ShardReader, ShardWriter, Stream
from capivara_cli.shards.history import History
from capivara_cli.shards.manifest import MANIFEST, Manifest, ShardEntry, append
from capivara_cli.storage.claims import Claim, Claims
from capivara_cli.storage.files import replacing, sweep


def streamed(chain: Chain, samples: Stream) -> Stream:
    """The samples of a stream after every step. Before a step that has to see all of them, they go through a file."""
    first, *cut = parts_of(chain)
    made = first.over(samples)
    for part in cut:
        made = _spooled(part, made)
    return made


def _spooled(part: Chain, samples: Stream) -> Stream:
    corpus, step = corpus_of(part), part.steps[0]
    with tempfile.TemporaryFile() as spool:  # it has no name, so a kill leaves nothing
        file = cast(BinaryIO, spool)
        writer = ShardWriter(file, [])
        for sample in samples:
            writer.write(sample)
        writer.finish()
        env = survey_env(part)
        with env.costs.steps.at(env.number):
            survey = corpus.survey(_again(file), step.options, env)
            ((_, decision),) = one_per_shard(corpus.decide([lambda: survey], step.options, env), ["the stream"], step)
        yield from part.over(_again(file, part.envs[0]), (survey, decision))


def _again(file: BinaryIO, env: Env | None = None) -> Stream:
    file.seek(0)
    reader = ShardReader(file, "the spooled stream")
    return counted(reader, env) if env else iter(reader)


SHARD_SIZE = 1000
"""Samples per shard where the input has no shards to mirror: a stream written to a folder, and ``pack``."""


def run_stream(chain: Chain, history: History, samples: Stream, out: BinaryIO) -> Report:
    """Write the samples after every step as one tar to a stream; the end marker follows only when no step failed."""
    report = new_report(chain, "-")
    writer = ShardWriter(out, history + chain.described)
    out.flush()  # the next command reads the history now, and may load its model while this one loads
    with keeping_rejects(chain, "stream.tar"):
        for sample in console.track(streamed(chain, samples), chain.name):
            writer.write(sample)
        report.add(chain.close_books())
        report.refuse_if_nothing_worked()
        writer.finish()
        out.flush()
    return report


def rotate(chain: Chain, history: History, samples: Stream, folder: Path) -> Report:
    """Write a stream to shards of equal size. A stream cannot be replayed: a killed run starts again from its top.

    A plan whose first stage begins the stream (``pack``) can replay it: when the folder is complete and the files to
    read are the same, nothing is done again.
    """
    size = getattr(chain.steps[0].options, "shard_size", SHARD_SIZE)
    mark = fingerprint(chain)
    contents = Contents(chain.described, mark, [], [])
    before = Manifest.load(folder) if folder.is_dir() else None
    report = new_report(chain, str(folder))
    if chain.steps[0].stage.begins and before and before.complete and before.fingerprint == mark:
        report.resumed = len(before.done)
        return report
    manifest = OutputFolder(LocalStore(folder), contents).check() or Manifest(chain.described, mark, None)
    sweep(folder)
    _restart(manifest, folder)
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
            entry = manifest.done[name] = ShardEntry(name, None, written=writer.written, size=length)
            append(folder / MANIFEST, entry)
            number += 1
        report.add(chain.close_books())
        report.shards = number
        report.refuse_if_nothing_worked()
    manifest.shards = number
    _save(manifest, folder)
    return report


def _restart(manifest: Manifest, folder: Path) -> None:
    """Say that the folder is not complete, then delete the shards of an earlier run."""
    manifest.shards = None
    _save(manifest, folder)
    if manifest.done:
        for name in manifest.done:
            (folder / name).unlink(missing_ok=True)
        manifest.done.clear()
        _save(manifest, folder)


def _save(manifest: Manifest, folder: Path) -> None:
    with replacing(folder / MANIFEST) as out:
        out.write(manifest.text())


def rotate_remote(chain: Chain, history: History, samples: Stream, out: str) -> Report:
    """Write a stream to remote shards of equal size: all are made here, and uploaded when the stream has ended well."""
    from capivara_cli.pipeline.remote_store import RemoteStore  # the network's libraries, for those who need them

    mark = fingerprint(chain)
    begins = chain.steps[0].stage.begins  # and can be replayed; a pipe cannot
    store = RemoteStore(out, mark)
    made = store.workshop / "stream"
    with alone(Claims(made), store.shown):
        before = OutputFolder(store, Contents(chain.described, mark, [], [])).check()
        if begins and before and before.complete and all(map(store.is_whole, before.done.values())):
            report = new_report(chain, store.shown)
            report.resumed = len(before.done)
            return report
        report = rotate(chain, history, samples, made)
        report.out = store.shown
        found = Manifest.load(made)
        if found is None:
            raise RuntimeError(f"{made}: no manifest after all shards were made")
        names = list(found.done)
        entries = list(found.done.values())
        folder = OutputFolder(store, Contents(chain.described, mark, names, [None] * len(names)))
        folder.open(afresh=not begins)

        def make(index: int, claim: Claim) -> Done:
            copyfile(made / names[index], store.workshop / names[index])
            return Done(entries[index])

        folder.fill(make, range(len(names)))
    store.close(folder.settle())
    return report
