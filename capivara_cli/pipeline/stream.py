"""Run a plan over one stream, and write a stream or a folder of shards of equal size."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from shutil import copyfile
from typing import BinaryIO, cast

from capivara_cli import console
from capivara_cli.pipeline.books import Report, new_report
from capivara_cli.pipeline.chain import Chain
from capivara_cli.pipeline.corpus_stages import corpus_of, one_per_shard, parts_of, survey_env
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.fingerprint import PlanIdentity, identity_of, is_same
from capivara_cli.pipeline.folder_store import Contents, FinishedFile
from capivara_cli.pipeline.local_store import LocalStore
from capivara_cli.pipeline.output_folder import OutputFolder, exclusive
from capivara_cli.pipeline.rejects import is_whole, reject_folders, storing_rejects
from capivara_cli.pipeline.source import counted
from capivara_cli.pipeline.stage import SurveyedShard
from capivara_cli.shards.archive import ShardReader, ShardWriter, Stream
from capivara_cli.shards.counts import total_of
from capivara_cli.shards.history import History
from capivara_cli.shards.manifest import MANIFEST, Manifest, ShardEntry, append
from capivara_cli.storage.claims import Claim, Claims
from capivara_cli.storage.digests import digest_text, new_hash
from capivara_cli.storage.files import replacing, sweep


def streamed(chain: Chain, samples: Stream) -> Stream:
    """Yield the samples of a stream after all steps. Before a corpus stage, they are stored in a temporary file."""
    first, *others = parts_of(chain)
    stream = first.over(samples)
    for part in others:
        stream = _spooled(part, stream)
    return stream


def _spooled(part: Chain, samples: Stream) -> Stream:
    """Store the samples in a temporary file; survey and decide; then run the steps of ``part`` over the file."""
    corpus, step = corpus_of(part), part.steps[0]
    with tempfile.TemporaryFile() as spool:  # it has no name, so a kill leaves nothing
        file = cast(BinaryIO, spool)
        writer = ShardWriter(file, [])
        for sample in samples:
            writer.write(sample)
        writer.finish()
        env = survey_env(part)
        with env.costs.steps.at(env.number):
            survey = corpus.survey(_reread(file), step.options, env)
            ((_, decision),) = one_per_shard(corpus.decide([lambda: survey], step.options, env), ["the stream"], step)
        samples = console.track(_reread(file, part.envs[0]), part.name, writer.written)
        yield from part.over(samples, SurveyedShard(survey, decision))


def _reread(file: BinaryIO, env: Env | None = None) -> Stream:
    file.seek(0)
    reader = ShardReader(file, "the spooled stream")
    return counted(reader, env, captions=False) if env else iter(reader)


def _tracked(chain: Chain, samples: Stream, shards: Sequence[str] = ()) -> Stream:
    """``streamed``, with the progress: the samples read from ``shards``, or those that a stage makes from sources."""
    if chain.steps[0].stage.begins:
        return console.track(streamed(chain, samples), chain.name)
    return streamed(chain, console.track(samples, chain.name, partial(total_of, shards)))


SHARD_SIZE = 1000
"""Samples per shard if the input has no shards: a stream written to a folder, and ``pack``."""


def run_stream(chain: Chain, history: History, samples: Stream, out: BinaryIO, shards: Sequence[str] = ()) -> Report:
    """Write the samples after all steps as one tar to a stream; the end marker is written only if no step failed.

    ``shards``: where the samples are from, for the progress.
    """
    report = new_report(chain, "-")
    writer = ShardWriter(out, history + chain.described)
    out.flush()  # the next command reads the history now, so both load their models at the same time
    with storing_rejects(chain, "stream.tar"):
        for sample in _tracked(chain, samples, shards):
            writer.write(sample)
        report.add(chain.close_books())
        report.raise_if_all_failed()
        writer.finish()
        out.flush()
    return report


def finished_report(chain: Chain, folder: Path, identity: PlanIdentity) -> Report | None:
    """The report of a folder that an earlier run of this plan finished; None if its shards must be written (again).

    Only a plan that begins a stream (``pack``) can tell: its sources are the same. Damage is reported to the user.
    Nothing is written, except the time of the manifest once its shards were verified: the disk may be read-only.
    """
    store = LocalStore(folder)
    before = store.load({}) if chain.steps[0].stage.begins and folder.is_dir() else None
    if before is None or not before.complete or not is_same(before.fingerprint, identity.fingerprint):
        return None
    if not all(is_whole(each / "stream.tar") for each in reject_folders(chain)):
        return None
    if damaged := [name for name, entry in before.done.items() if not store.is_whole(entry)]:
        console.say(f"{folder}: {damaged[0]} missing, or damaged since it was finished: all shards are made again")
        return None
    store.confirm()
    report = new_report(chain, str(folder))
    report.resumed = len(before.done)
    return report


def write_shards(chain: Chain, history: History, samples: Stream, folder: Path, identity: PlanIdentity) -> Report:
    """Write a stream to a folder of shards of equal size. A killed run starts again: a stream cannot be read twice.

    ``finished_report`` says whether that is needed.
    """
    size = getattr(chain.steps[0].options, "shard_size", SHARD_SIZE)
    report = new_report(chain, str(folder))
    manifest = _own_manifest(chain, folder, identity)
    sweep(folder)
    _restart(manifest, folder)
    with storing_rejects(chain, "stream.tar"):
        stream = _tracked(chain, samples)
        sample = next(stream, None)
        number = 0
        while sample is not None or number == 0:
            name = f"{number:05d}.tar"
            digest = new_hash()
            with replacing(folder / name) as out:
                writer = ShardWriter(out, history + chain.described, digest)
                while sample is not None and writer.written < size:
                    writer.write(sample)
                    sample = next(stream, None)
                writer.finish()
                length = out.tell()
            entry = manifest.done[name] = ShardEntry(
                name, None, written=writer.written, size=length, digest=digest_text(digest)
            )
            append(folder / MANIFEST, entry)
            number += 1
        report.add(chain.close_books())
        report.shards = number
        report.raise_if_all_failed()
    manifest.shards = number
    _save(manifest, folder)
    return report


@contextlib.contextmanager
def removed_if_empty(folder: Path) -> Iterator[None]:
    """Remove a folder that is made inside, if an error ends the work before a shard with a sample is finished."""
    is_new = not folder.exists()
    try:
        yield
    except BaseException:
        if is_new and folder.is_dir():
            found = Manifest.load(folder)
            shards = list(found.done.values()) if found else []
            if not any(each.written for each in shards):
                with contextlib.suppress(OSError):  # what another program put there stays
                    for path in (folder / MANIFEST, *_shards_in(folder, found)):
                        path.unlink(missing_ok=True)
                    folder.rmdir()
        raise


def _own_manifest(chain: Chain, folder: Path, identity: PlanIdentity) -> Manifest:
    """The manifest of a folder, or a new one. The result of another plan that is to be replaced is deleted.

    Raises ``CapivaraError`` if the folder has other content.
    """
    overwrite = chain.settings.overwrite
    contents = Contents(chain.described, identity.fingerprint, [], [], files=identity.files, overwrite=overwrite)
    store = LocalStore(folder)
    new = Manifest(chain.described, identity.fingerprint, None, files=dict(identity.files))
    if (found := OutputFolder(store, contents).check()) is not None:
        new.done = found.done
    elif (other := store.load({})) is not None:
        store.remove_result(other)
        if other.done:
            console.say(f"{folder}: the result of {other.steps} is replaced")
    return new


def _restart(manifest: Manifest, folder: Path) -> None:
    """Mark the folder as incomplete, then delete the shards of an earlier run."""
    manifest.shards = None
    _save(manifest, folder)
    for path in _shards_in(folder, manifest):
        path.unlink(missing_ok=True)
    if manifest.done:
        manifest.done.clear()
        _save(manifest, folder)


def _shards_in(folder: Path, manifest: Manifest | None) -> set[Path]:
    """The shards of a manifest, and those that no line names: a kill or a full disk between the renaming and the line
    leaves one."""
    named = () if manifest is None else (folder / name for name in manifest.done)
    return {*folder.glob("[0-9][0-9][0-9][0-9][0-9].tar"), *named}


def _save(manifest: Manifest, folder: Path) -> None:
    with replacing(folder / MANIFEST) as out:
        out.write(manifest.text())


def write_remote_shards(chain: Chain, history: History, samples: Stream, out: str) -> Report:
    """Write a stream to shards of equal size, and upload all of them when the stream has ended without an error."""
    from capivara_cli.pipeline.remote_store import RemoteStore  # imports network libraries

    identity = identity_of(chain)
    begins = chain.steps[0].stage.begins  # its sources can be read again; a pipe cannot
    store = RemoteStore(out, identity.fingerprint)

    def contents(names: Sequence[str]) -> Contents:
        inputs, overwrite = [None] * len(names), chain.settings.overwrite
        return Contents(chain.described, identity.fingerprint, names, inputs, files=identity.files, overwrite=overwrite)

    local = store.work_folder / "stream"
    with exclusive(Claims(local), store.display_name):
        before = OutputFolder(store, contents([])).check()
        if begins and before and before.complete and all(map(store.is_whole, before.done.values())):
            store.sweep()
            store.confirm()
            report = new_report(chain, store.display_name)
            report.resumed = len(before.done)
            return report
        uploading = finished_report(chain, local, identity)
        report = uploading or write_shards(chain, history, samples, local, identity)
        report.out = store.display_name
        found = Manifest.load(local)
        if found is None:
            raise RuntimeError(f"{local}: no manifest after all shards were written")
        names = list(found.done)
        entries = list(found.done.values())
        folder = OutputFolder(store, contents(names))
        folder.open(restart=not begins)
        if damaged := folder.damaged:
            console.say(f"{store.display_name}: {damaged[0]} missing, or damaged since it was finished: made again")

        def write(index: int, claim: Claim) -> FinishedFile:
            copyfile(local / names[index], store.work_folder / names[index])
            return FinishedFile(entries[index])

        folder.fill(write, range(len(names)))
    store.close(folder.settle())
    return report
