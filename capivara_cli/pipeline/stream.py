"""A plan over one stream: to standard output, or rotated into a folder of shards."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import BinaryIO, cast

from capivara_cli import console
from capivara_cli.pipeline.books import Report, keeping_rejects, new_report
from capivara_cli.pipeline.chain import Chain
from capivara_cli.pipeline.corpus_stages import corpus_of, one_per_shard, parts_of, survey_env
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.fingerprint import fingerprint
from capivara_cli.pipeline.output_folder import Contents, SharedFolder
from capivara_cli.pipeline.source import counted
from capivara_cli.shards.archive import ShardReader, ShardWriter, Stream
from capivara_cli.shards.history import History
from capivara_cli.shards.manifest import Manifest
from capivara_cli.storage.files import replacing, sweep


def streamed(chain: Chain, samples: Stream) -> Stream:
    """The samples of a stream after every step; before one that has to see all of them they go to a file and back."""
    first, *cut = parts_of(chain)
    made = first.over(samples)
    for part in cut:
        made = _spooled(part, made)
    return made


def _spooled(part: Chain, samples: Stream) -> Stream:
    corpus, step = corpus_of(part), part.steps[0]
    with tempfile.TemporaryFile() as spool:  # has no name: a kill leaves nothing
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
