"""A plan's result in a remote folder: every shard made here, sent when it is whole, and known by its entry there."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from capivara_cli import console
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.pipeline import journal, output_folder, partition, stream
from capivara_cli.pipeline.books import Report, counts, keeping_rejects, new_report
from capivara_cli.pipeline.chain import Chain
from capivara_cli.pipeline.corpus_stages import wants_all
from capivara_cli.pipeline.fingerprint import fingerprint, input_identity
from capivara_cli.pipeline.journal import Journal
from capivara_cli.pipeline.source import counted
from capivara_cli.shards.archive import ShardWriter, Stream, reading
from capivara_cli.shards.history import History
from capivara_cli.shards.manifest import MANIFEST, Manifest
from capivara_cli.shards.remote_inputs import ENTRIES, child, listing, load_manifest, text_of
from capivara_cli.storage import cache
from capivara_cli.storage.files import replace_text, replacing, sweep
from capivara_cli.storage.remote.upload import Stopped, check_writable, put_bytes, put_file, remove
from capivara_cli.urls import is_url, public_url

Entry = dict[str, Any]
_ASKING = 16
"""Threads that ask a server about one small thing each."""


def run_folder(chain: Chain, shards: Sequence[str], out: str) -> Report:
    """Each shard to a remote one of the same name; those that the folder has are skipped, and others may help."""
    _check(chain, out)
    out = out.rstrip("/")
    names = output_folder.output_names(shards)
    share = partition.of(chain.settings.share, len(shards))
    report = new_report(chain, out)
    progress = console.Progress(chain.name)
    mark = fingerprint(chain)
    with _spool(out, f"{mark} {share.text}") as spool:
        folder = RemoteFolder.open(out, chain.described, mark, len(shards))
        finished = folder.finished(dict(zip(names, shards, strict=True)))
        report.resumed = len(finished)
        folder.begin(names, finished)
        with Uploads(folder, spool) as uploads:
            for index in share.indices:
                if names[index] not in finished:
                    uploads.send(_made(chain, shards[index], names[index], spool, report, progress))
        progress.close()
        report.refuse_if_nothing_worked()
        if folder.learn() >= set(names):
            folder.finish(names)
        else:
            console.say(share.remark(len(folder.done)))
    return report


def _made(chain: Chain, shard: str, name: str, spool: Spool, report: Report, progress: console.Progress) -> Entry:
    """The entry of a shard that is whole in the spool, made now or by a run that was killed before it was sent."""
    identity = input_identity(shard)
    if (entry := spool.whole(name, identity)) is not None:
        report.resumed += 1
        return entry
    target = spool.path / name
    with (
        chain.journaled(Journal(target, {"fingerprint": fingerprint(chain), "input": identity})),
        reading(shard) as reader,
        keeping_rejects(chain, name),
        replacing(target) as out,
    ):
        writer = ShardWriter(out, reader.history + chain.described)
        for sample in chain.over(counted(reader, chain.envs[0])):
            writer.write(sample)
            progress.advance()
        tallies = chain.close_books()
        writer.finish()
        size = out.tell()
    report.add(tallies)
    steps = [counts(tally) for tally in tallies]
    read, written = tallies[0].read, tallies[-1].written
    entry = {"shard": name, "input": identity, "read": read, "written": written, "bytes": size, "steps": steps}
    spool.keep(entry)
    return entry


def rotate(chain: Chain, history: History, samples: Stream, out: str) -> Report:
    """A stream into remote shards of equal size: made here, all of them, and sent when the stream has ended well."""
    _check(chain, out)
    out = out.rstrip("/")
    mark = fingerprint(chain)
    begins = chain.steps[0].stage.begins  # and can be had again; what came from a pipe cannot
    with _spool(out, mark) as spool:
        folder = RemoteFolder.open(out, chain.described, mark, None)
        if begins and folder.complete:
            report = new_report(chain, out)
            report.resumed = len(folder.done)
            return report
        report = stream.rotate(chain, history, samples, spool.path)
        report.out = out
        made = Manifest.load(spool.path)
        if made is None:
            raise RuntimeError(f"{spool.path}: no manifest after all shards were made")
        folder.shards = len(made.done)
        finished = {name for name, entry in made.done.items() if begins and folder.has(name, entry)}
        folder.begin(list(made.done), finished)
        with Uploads(folder, spool, keep=True) as uploads:
            for name, entry in made.done.items():
                if name not in finished:
                    uploads.send(entry)
        folder.finish(list(made.done))
        shutil.rmtree(spool.path)
    return report


def is_in(shard: str, out: str) -> bool:
    """Whether a shard is a file of the remote folder."""
    return public_url(shard).rpartition("/")[0] == public_url(out).rstrip("/")


def _check(chain: Chain, out: str) -> None:
    check_writable(out)
    if is_url(chain.settings.rejects):
        raise CapivaraError(f"--rejects {chain.settings.rejects}: is kept on this machine", "name a local folder")
    if chain.settings.workers > 1 or chain.settings.engine != "local":
        raise UsageError(
            f"--workers and --engine share a folder of this machine; --out {out} is remote",
            "run the same command several times, each with its --share I/N",
        )
    for step in chain.steps:
        if wants_all(step):
            raise CapivaraError(
                f"{step.name} has to see all samples before it can decide, and --out {out} is remote",
                f"write to a local folder first, then: capivara split --fraction 0 FOLDER --out {out}",
            )


@dataclass
class RemoteFolder:
    """The manifest of a remote folder while it is being filled.

    ``manifest.jsonl`` says from the start which plan it is for; every finished shard adds one object
    ``manifest/NAME.json``, which no other process writes; in the end they become the lines of ``manifest.jsonl``.
    """

    url: str
    plan: History
    mark: str
    shards: int | None
    done: dict[str, Entry] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)
    complete: bool = False
    _entries: set[str] = field(default_factory=set)

    @classmethod
    def open(cls, url: str, plan: History, mark: str, shards: int | None) -> RemoteFolder:
        """What is there. Raises ``CapivaraError`` when it is the result of something else."""
        sizes = listing(url)
        folder = cls(url, plan, mark, shards, sizes=sizes)
        if MANIFEST not in sizes:
            if any(name.endswith(".tar") for name in sizes):
                raise CapivaraError(
                    f"{url}: holds shards and no {MANIFEST}, so not made by capivara", "name another --out"
                )
            return folder
        folder.learn()
        folder.sizes = listing(url)  # after the entries: whoever wrote them had put the shards there before
        return folder

    def learn(self) -> set[str]:
        """Read what is recorded there, by others too; returns the names of the shards that are."""
        # Entries first: those that are gone when they are asked for are lines of the manifest by then.
        self._entries = {name.removesuffix(".json") for name in listing(child(self.url, ENTRIES))}
        with ThreadPoolExecutor(_ASKING) as pool:
            entries = dict(zip(self._entries, pool.map(self._entry, self._entries), strict=True))
        manifest = load_manifest(self.url)
        if manifest.fingerprint != self.mark:
            names = " | ".join(step.get("step", "?") for step in manifest.plan)
            raise CapivaraError(
                f"{self.url}: holds the result of another plan or other options ({names})",
                "name another --out, or delete that folder first",
            )
        self.complete = manifest.complete
        self.done = {**manifest.done, **{name: entry for name, entry in entries.items() if entry is not None}}
        return set(self.done)

    def _entry_url(self, name: str) -> str:
        return child(child(self.url, ENTRIES), f"{name}.json")

    def _entry(self, name: str) -> Entry | None:
        try:
            entry = json.loads(text_of(self._entry_url(name)))
        except ValueError:  # gone by now, or not ours
            return None
        return entry["entry"] if isinstance(entry, dict) and entry.get("fingerprint") == self.mark else None

    def finished(self, sources: dict[str, str]) -> set[str]:
        """The shards that are there with the size that was written, made from the input as it is now."""
        there = [name for name in sources if name in self.done and self.has(name, self.done[name])]
        with ThreadPoolExecutor(_ASKING) as pool:
            identities = pool.map(lambda name: input_identity(sources[name]), there)
            return {name for name, found in zip(there, identities, strict=True) if self.done[name]["input"] == found}

    def has(self, name: str, entry: Entry) -> bool:
        """Whether the shard of this entry is there, as far as its size tells."""
        return self.done.get(name) == entry and self.sizes.get(name) == entry.get("bytes")

    def begin(self, names: Sequence[str], finished: set[str]) -> None:
        """Say what is being made, so that nobody takes it for complete; shards that are no longer wanted go."""
        if MANIFEST not in self.sizes or self.done.keys() != finished or len(finished) < len(names):
            self.done = {name: entry for name, entry in self.done.items() if name in finished}
            self._save(names)
        wanted = set(names)
        for name in self.sizes:
            if name.endswith(".tar") and name not in wanted:
                remove(child(self.url, name))
        for name in self._entries - finished:
            remove(self._entry_url(name))

    def add(self, entry: Entry) -> None:
        """Record one shard, after its object is there."""
        name = entry["shard"]
        put_bytes(self._entry_url(name), json.dumps({"fingerprint": self.mark, "entry": entry}).encode())
        self.done[name] = entry
        self._entries.add(name)

    def finish(self, names: Sequence[str]) -> None:
        """One manifest of all entries, which are removed."""
        if self._entries or not self.complete:
            self._save(names)
        with ThreadPoolExecutor(_ASKING) as pool:
            list(pool.map(lambda name: remove(self._entry_url(name)), self._entries))

    def _save(self, names: Sequence[str]) -> None:
        done = {name: self.done[name] for name in names if name in self.done}
        text = Manifest(Path(), self.plan, self.mark, self.shards, done).text()
        put_bytes(child(self.url, MANIFEST), text.encode())


@dataclass(frozen=True)
class Spool:
    """A folder of this machine for what is on its way to one remote folder."""

    path: Path

    def whole(self, name: str, identity: Entry) -> Entry | None:
        """The entry of a shard that was made and not yet sent when the last run ended, if its input is the same."""
        with contextlib.suppress(OSError, ValueError):
            entry = json.loads(self._note(name).read_text("utf-8"))
            if entry["input"] == identity and (self.path / name).stat().st_size == entry["bytes"]:
                return dict(entry)
        return None

    def keep(self, entry: Entry) -> None:
        replace_text(self._note(entry["shard"]), json.dumps(entry))
        journal.remove(self.path / entry["shard"])

    def clear(self, name: str) -> None:
        self._note(name).unlink(missing_ok=True)
        (self.path / name).unlink(missing_ok=True)

    def _note(self, name: str) -> Path:
        return self.path / f".{name}.entry"


@contextlib.contextmanager
def _spool(out: str, mark: str) -> Iterator[Spool]:
    """The spool of a plan (or a share of it) and its target, for one process; removed when nothing is left in it."""
    path = cache.folder() / "uploads" / hashlib.sha256(f"{out} {mark}".encode()).hexdigest()[:16]
    path.mkdir(parents=True, exist_ok=True)
    lock = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the system lets go of it, however the process ends
        except BlockingIOError as error:
            raise CapivaraError(f"{out}: another process of this machine is writing there") from error
        sweep(path)
        yield Spool(path)
        with contextlib.suppress(OSError):  # what has still to be sent keeps it
            path.rmdir()
    finally:
        os.close(lock)


class Uploads:
    """One upload behind the work: a shard is sent while the next one is made, and never more than one waits."""

    def __init__(self, folder: RemoteFolder, spool: Spool, keep: bool = False) -> None:
        self._folder = folder
        self._spool = spool
        self._keep = keep
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="capivara-upload")
        self._pending: Future[None] | None = None

    def __enter__(self) -> Uploads:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._stop.set()
        try:
            with contextlib.suppress(Stopped):
                self._wait()
        except CapivaraError:
            if kind is None:  # else what stopped the work comes first
                raise
        finally:
            self._pool.shutdown()

    def send(self, entry: Entry) -> None:
        """Take the shard of this entry from the spool; waits for the one before, and raises what went wrong there."""
        self._wait()
        self._pending = self._pool.submit(self._send, entry)

    def _send(self, entry: Entry) -> None:
        name = entry["shard"]
        put_file(child(self._folder.url, name), self._spool.path / name, self._stop)
        self._folder.add(entry)
        if not self._keep:
            self._spool.clear(name)

    def _wait(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()
