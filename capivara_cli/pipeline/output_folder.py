"""A folder that several processes fill, each making one file at a time, and resume: one logic over two stores."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Protocol

from capivara_cli.errors import CapivaraError
from capivara_cli.pipeline import journal, leftovers
from capivara_cli.shards.history import History
from capivara_cli.shards.manifest import MANIFEST, Identity, Manifest, ShardEntry
from capivara_cli.storage.claims import Claim, Claims, LostClaim
from capivara_cli.urls import base_name, public_url

_POLL = (0.02, 2.0)  # s: between two looks at the work of others, at first and at most


@dataclass(frozen=True)
class Done:
    """A file that was made: its entry in the manifest, and what to call once that is written."""

    entry: ShardEntry
    tell: Callable[[], None] | None = None


Make = Callable[[int, Claim], Done]
"""Makes the file of a number in the workshop of its store, and confirms the claim before the file appears."""


@dataclass(frozen=True)
class Contents:
    """The files that a folder is to hold: their ``names``, and the identities of what each is made from."""

    plan: History
    fingerprint: str
    names: Sequence[str]
    inputs: Sequence[Identity | None]
    file: str = MANIFEST


class Store(Protocol):
    """Where an output folder is: on a file system (``LocalStore``), or behind a URL (``RemoteStore``).

    Files are made and claimed in ``workshop``, a folder of this machine (or one that machines share).
    ``shown`` names the folder.
    """

    shown: str
    workshop: Path
    claims: Claims

    def child(self, name: str, file: str = MANIFEST) -> Store:
        """A folder in this one, with a manifest named ``file``."""

    def place(self, name: str) -> str:
        """The path or URL to read a file by."""

    def opened(self, name: str) -> BinaryIO:
        """A small file, open to read at any position."""

    def exists(self, name: str) -> bool:
        """Whether a file is there now."""

    def is_whole(self, entry: ShardEntry) -> bool:
        """Whether the file of an entry is there, as far as was known at the last ``load``."""

    def holds_shards(self) -> bool:
        """Whether there are tar files in the folder."""

    def state(self) -> object:
        """What changes whenever another process records a file."""

    def load(self, inputs: dict[str, Identity | None]) -> Manifest | None:
        """The manifest with the entries of all processes; of several for one file the one made from ``inputs``."""

    def begin(self, manifest: Manifest, names: Sequence[str], finished: Sequence[str]) -> None:
        """Write the manifest before work begins; ``finished`` are those of ``names`` that need not be made."""

    def put(self, name: str) -> None:
        """Bring a file from the workshop to its place."""

    def record(self, entry: ShardEntry) -> None:
        """Say, durably, that a file is finished."""

    def submit(self, work: Callable[[], None], claim: Claim) -> None:
        """Do ``work``, which puts and records a claimed file: now, or while this process makes the next file."""

    def wait(self, patience: float = float("inf")) -> None:
        """Wait for the submitted work, ``patience`` seconds at most. Raises what it raised."""

    def end(self, manifest: Manifest, complete: bool) -> None:
        """Write the manifest after the work; when ``complete``, remove what others have recorded beside it."""

    def remove_folder(self, name: str) -> None:
        """Delete a folder in this one."""

    def close(self, complete: bool) -> None:
        """Remove what is of no use any more from the workshop."""


class OutputFolder:
    """A folder as one of the processes that fill it sees it.

    A file is done when the manifest, or the record of any process, has an entry for its present input.
    """

    def __init__(self, store: Store, contents: Contents) -> None:
        self.store = store
        self.contents = contents
        self.manifest = Manifest(contents.plan, contents.fingerprint, None)
        self._inputs = dict(zip(contents.names, contents.inputs, strict=True))
        self._state: object = None
        self._submitted: set[str] = set()

    def open(self, afresh: bool = False) -> None:
        """Begin the manifest, or resume that of the same plan. Raises ``CapivaraError`` for any other content.

        With ``afresh`` no file counts as done.
        """
        self.check()
        with self.store.claims.waiting(self.contents.file):
            manifest = self._loaded()
            names = self.contents.names
            finished = [] if afresh else [name for index, name in enumerate(names) if self.is_done(index)]
            self.store.begin(manifest, names, finished)
        self.tidy(final=False)

    def check(self) -> Manifest | None:
        """The manifest that is there. Raises ``CapivaraError`` when the folder holds something else."""
        self._check(found := self.store.load(self._inputs))
        strange = found is None and self.contents.file == MANIFEST and self.store.holds_shards()
        if strange and self.store.load(self._inputs) is None:
            raise CapivaraError(
                f"{self.store.shown}: holds shards and no {MANIFEST}, so not made by capivara", "name another --out"
            )
        return found

    def _check(self, found: Manifest | None) -> None:
        if found is not None and found.fingerprint != self.contents.fingerprint:
            raise CapivaraError(
                f"{self.store.shown}: holds the result of another plan or other options ({found.steps})",
                "name another --out, or delete that folder first",
            )

    def _loaded(self) -> Manifest:
        """The manifest that is there, or a new one."""
        self._check(found := self.store.load(self._inputs))
        self.manifest = found or Manifest(self.contents.plan, self.contents.fingerprint, None)
        self.manifest.shards = len(self.contents.names)
        return self.manifest

    def refresh(self) -> None:
        """Learn what other processes have finished since."""
        state = self.store.state()
        if state != self._state and (found := self.store.load(self._inputs)) is not None:
            self._check(found)
            self._state, self.manifest = state, found

    def is_done(self, index: int) -> bool:
        name = self.contents.names[index]
        entry = self.manifest.done.get(name)
        return entry is not None and entry.input == self._inputs[name] and self.store.is_whole(entry)

    @property
    def done(self) -> int:
        """How many of the files are done, as far as is known."""
        return sum(map(self.is_done, range(len(self.contents.names))))

    @property
    def complete(self) -> bool:
        return all(map(self.is_done, range(len(self.contents.names))))

    def fill(self, make: Make, indices: Iterable[int], enough: Callable[[], bool] = lambda: False) -> None:
        """Make the files that are neither done nor claimed, and wait for the claimed ones, until ``enough()``."""
        pending = self._left(indices)
        doubtful: set[int] = set()
        pause = _POLL[0]
        while pending and not enough():
            before = len(pending), len(doubtful)
            for index in pending:
                # The file is there: its entry may follow. If it does not, its process was killed between the two.
                if index not in doubtful and self.store.exists(self.contents.names[index]):
                    doubtful.add(index)
                else:
                    self.attempt(make, index)
            self.refresh()
            pending = self._left(pending)
            if (len(pending), len(doubtful)) == before:
                time.sleep(pause)
                pause = min(1.5 * pause, _POLL[1])
            else:
                pause = _POLL[0]
        self.store.wait()

    def _left(self, indices: Iterable[int]) -> list[int]:
        names = self.contents.names
        return [index for index in indices if names[index] not in self._submitted and not self.is_done(index)]

    def attempt(self, make: Make, index: int) -> bool:
        """Make one file unless it is done, or claimed by another process; returns whether it was made."""
        name = self.contents.names[index]
        claim = self.store.claims.take(name)
        if claim is None:
            return False
        with claim:
            if self.store.exists(name):
                self.refresh()
            if self.is_done(index):
                return False
            try:
                done = make(index, claim)
            except LostClaim:
                return False
            except FileNotFoundError:
                if claim.held():
                    raise
                return False  # another process took this one for dead, and removed its temporary
            self.store.wait()  # for the file before this one
            self._submitted.add(name)
            self.store.submit(partial(self._finish, done), claim)
        return True

    def _finish(self, done: Done) -> None:
        name = done.entry.shard
        self.store.put(name)
        self.store.record(done.entry)
        self.manifest.done[name] = done.entry
        journal.remove(self.store.workshop / name)
        if done.tell:
            done.tell()

    def entry(self, name: str) -> ShardEntry:
        """The entry of a file that is done."""
        if name not in self.manifest.done:
            self.refresh()
        return self.manifest.done[name]

    def settle(self, patience: float = float("inf")) -> bool:
        """Enter in the manifest what this process has recorded; returns whether every file is done.

        Then the manifest is in the order of the inputs, and nothing is left of how it was made. When others keep the
        manifest for ``patience`` seconds, the record of this process stays as it is.
        """
        try:
            self.store.wait(patience)
            with self.store.claims.waiting(self.contents.file, patience) as claim:
                if claim is None:
                    return False
                manifest, complete = self._loaded(), self.complete
                if complete and manifest.done.keys() == set(self.contents.names):
                    manifest.done = {name: manifest.done[name] for name in self.contents.names}
                self.store.end(manifest, complete)
            if complete:
                self.tidy(final=True)
            return complete
        finally:
            self.store.claims.close()

    def tidy(self, final: bool, beside: Sequence[Path] = ()) -> None:
        """Remove what killed processes left here and in the folders ``beside``, and nothing that a living one uses."""
        leftovers.remove(self.store.workshop, self._known_done, final, beside)

    def _known_done(self, name: str) -> bool:
        entry = self.manifest.done.get(name)
        return entry is not None and entry.input == self._inputs.get(name, entry.input)


@contextlib.contextmanager
def alone(claims: Claims, shown: str) -> Iterator[None]:
    """Keep other processes from writing a stream into the folder of ``claims``."""
    try:
        with claims.waiting(MANIFEST, patience=0) as claim:
            if claim is None:
                raise CapivaraError(f"{shown}: another process is writing it", "name another --out, or wait")
            yield
    finally:
        claims.close()


def output_names(shards: Sequence[str]) -> list[str]:
    """The base names of the shards; where two folders hold the same name, with that of their folder before it."""
    names = [base_name(shard).removesuffix(".gz") for shard in shards]
    names = [name if name.endswith(".tar") else f"{name}.tar" for name in names]
    if len(set(names)) < len(names):
        names = [f"{Path(public_url(shard)).parent.name}-{name}" for shard, name in zip(shards, names, strict=True)]
    for name, count in Counter(names).items():
        if count > 1:
            raise CapivaraError(f"{count} inputs would all be written to {name}", "process the folders one by one")
    return names
