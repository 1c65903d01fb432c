"""An output folder that several processes fill, one file at a time, and can resume; local or remote."""

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
from capivara_cli.pipeline.fingerprint import OTHER_VERSION, difference, is_same
from capivara_cli.shards.history import History
from capivara_cli.shards.manifest import MANIFEST, InputIdentity, Manifest, ShardEntry
from capivara_cli.shards.names import plain_name
from capivara_cli.storage.claims import Claim, Claims, LostClaim
from capivara_cli.urls import base_name, public_url

_POLL = (0.02, 2.0)  # s: pause between two checks of what other processes have finished, first and longest


@dataclass(frozen=True)
class FinishedFile:
    """A written file: its entry in the manifest, and a function to call when the entry is recorded."""

    entry: ShardEntry
    on_recorded: Callable[[], None] | None = None


WriteFile = Callable[[int, Claim], FinishedFile]
"""Writes the file with an index into the work folder of its store. It confirms the claim before the file appears."""


@dataclass(frozen=True)
class Contents:
    """The files that a folder will hold: their ``names``, and the identity of the ``inputs`` of each.

    ``file`` is the name of the manifest. ``beside``: other folders, of rejects, that have a file of the same name for
    each finished file. ``input_exists``: whether an input of this name still exists, though this command does not name
    it: then another command may have made its file, which stays.
    """

    plan: History
    fingerprint: str
    names: Sequence[str]
    inputs: Sequence[InputIdentity | None]
    file: str = MANIFEST
    beside: Sequence[Path] = ()
    input_exists: Callable[[str], bool] = lambda name: False


class FolderStore(Protocol):
    """The files of an output folder: on a file system (``LocalStore``) or behind a URL (``RemoteStore``).

    Files are written and claimed in ``work_folder``, on this machine or on a file system that machines share.
    ``display_name`` is the path or URL for messages.
    """

    display_name: str
    work_folder: Path
    claims: Claims

    def child(self, name: str, file: str = MANIFEST) -> FolderStore:
        """The store of a folder inside this one, with a manifest named ``file``."""

    def location(self, name: str) -> str:
        """The path or URL of a file, to read it."""

    def opened(self, name: str) -> BinaryIO:
        """Open a small file for reading at any position."""

    def exists(self, name: str) -> bool:
        """Whether a file exists now."""

    def is_complete(self, entry: ShardEntry) -> bool:
        """Whether the file of an entry existed at the last ``load``, with the size of the entry if that is known."""

    def holds_shards(self) -> bool:
        """Whether the folder has tar files."""

    def state(self) -> object:
        """A value that changes when any process records a file."""

    def load(self, inputs: dict[str, InputIdentity | None]) -> Manifest | None:
        """The manifest with the entries that all processes recorded; None if there is none.

        Of several entries for one file it has the one made from ``inputs``, which maps file names to identities.
        """

    def begin(self, manifest: Manifest, names: Sequence[str], finished: Sequence[str]) -> None:
        """Write the manifest before the work begins, and remove the files that are not in ``names``.

        ``finished`` are the files of ``names`` that are up to date.
        """

    def put(self, name: str) -> None:
        """Move a file from the work folder to its location."""

    def record(self, entry: ShardEntry) -> None:
        """Record that a file is finished, so that a later run finds it."""

    def submit(self, work: Callable[[], None], claim: Claim) -> None:
        """Do ``work``, which moves and records a claimed file: now, or in a thread while the next file is written."""

    def wait(self, patience: float = float("inf")) -> None:
        """Wait for the submitted work, ``patience`` seconds at most. Raises the exception of the work, if any."""

    def end(self, manifest: Manifest, complete: bool) -> None:
        """Write the manifest after the work. If it is ``complete``, remove the separate records of all processes."""

    def remove_folder(self, name: str) -> None:
        """Delete a folder inside this one."""

    def close(self, complete: bool) -> None:
        """Remove files from the work folder that no later run needs."""


class OutputFolder:
    """An output folder, from the view of one of the processes that fill it.

    A file is done if it exists and the manifest, or the record of any process, has an entry for its present input.
    """

    def __init__(self, store: FolderStore, contents: Contents) -> None:
        self.store = store
        self.contents = contents
        self.manifest = Manifest(contents.plan, contents.fingerprint, None)
        self._inputs = dict(zip(contents.names, contents.inputs, strict=True))
        self._state: object = None
        self._submitted: set[str] = set()

    def open(self, restart: bool = False) -> list[str]:
        """Start the manifest, or resume one of the same plan. Raises ``CapivaraError`` if the folder has other content.

        With ``restart`` every file is written again. Returns the names of the files that were removed because their
        inputs are gone.
        """
        self.check()
        with self.store.claims.waiting(self.contents.file):
            manifest = self._loaded()
            names = self.contents.names
            others = manifest.done.keys() - set(names)
            kept = {name for name in others if self._has_input(manifest.done[name])}
            gone = sorted(others - kept)
            finished = [] if restart else [name for index, name in enumerate(names) if self.is_done(index)]
            self.store.begin(manifest, [*names, *kept], [*finished, *sorted(kept)])
        self.tidy(final=False)
        return gone

    def _has_input(self, entry: ShardEntry) -> bool:
        identity = entry.input or {}
        if "corpus" in identity:  # decided together with inputs that this command does not name
            return False
        return "name" in identity and self.contents.input_exists(identity["name"])

    def check(self) -> Manifest | None:
        """The manifest of the folder; None without one, and if that of another plan has no finished file yet.

        Raises ``CapivaraError`` if the folder has other content.
        """
        found = self._own(self.store.load(self._inputs))
        foreign = found is None and self.contents.file == MANIFEST and self.store.holds_shards()
        if foreign and self.store.load(self._inputs) is None:
            raise CapivaraError(
                f"{self.store.display_name}: holds shards but no {MANIFEST}, so capivara did not write it",
                "choose another folder with --out",
            )
        return found

    def _own(self, found: Manifest | None) -> Manifest | None:
        """A manifest of this plan; None for one of another plan that finished nothing and is not running.

        Raises ``CapivaraError`` for any other manifest.
        """
        if found is None or is_same(found.fingerprint, self.contents.fingerprint):
            return found
        if not found.done and not self.store.holds_shards() and not self.store.claims.held_by_others():
            return None
        is_plan = is_same(found.fingerprint.partition(":")[0], self.contents.fingerprint)
        why = OTHER_VERSION if is_plan else difference(found.plan, self.contents.plan)
        raise CapivaraError(
            f"{self.store.display_name}: holds the result of another plan or other options ({why})",
            "choose another folder with --out, or delete that folder first",
        )

    def _loaded(self) -> Manifest:
        """The manifest of the folder, or a new one."""
        found = self._own(self.store.load(self._inputs))
        self.manifest = found or Manifest(self.contents.plan, self.contents.fingerprint, None)
        self.manifest.shards = len(self.contents.names)
        return self.manifest

    def refresh(self) -> None:
        """Load the records of other processes, if there are new ones."""
        state = self.store.state()
        if state != self._state and (found := self._own(self.store.load(self._inputs))) is not None:
            self._state, self.manifest = state, found

    def is_done(self, index: int) -> bool:
        """Whether the file with this index is done, by the records that were loaded last."""
        name = self.contents.names[index]
        entry = self.manifest.done.get(name)
        if entry is None or entry.input != self._inputs[name] or not self.store.is_complete(entry):
            return False
        return all((folder / name).exists() for folder in self.contents.beside)

    @property
    def done(self) -> int:
        """The number of files that are done, by the records that were loaded last."""
        return sum(map(self.is_done, range(len(self.contents.names))))

    @property
    def complete(self) -> bool:
        return all(map(self.is_done, range(len(self.contents.names))))

    def fill(self, write: WriteFile, indices: Iterable[int], stop: Callable[[], bool] = lambda: False) -> None:
        """Write the files that are neither done nor claimed, and wait for claimed ones; ends early if ``stop()``."""
        pending = self._pending(indices)
        unrecorded: set[int] = set()
        pause = _POLL[0]
        while pending and not stop():
            before = len(pending), len(unrecorded)
            for index in pending:
                # The file exists, so its entry may follow. If it does not, the process was killed between the two.
                if index not in unrecorded and self.store.exists(self.contents.names[index]):
                    unrecorded.add(index)
                else:
                    self.attempt(write, index)
            self.refresh()
            pending = self._pending(pending)
            if (len(pending), len(unrecorded)) == before:
                time.sleep(pause)
                pause = min(1.5 * pause, _POLL[1])
            else:
                pause = _POLL[0]
        self.store.wait()

    def _pending(self, indices: Iterable[int]) -> list[int]:
        names = self.contents.names
        return [index for index in indices if names[index] not in self._submitted and not self.is_done(index)]

    def attempt(self, write: WriteFile, index: int) -> bool:
        """Write one file unless it is done or another process has claimed it; return whether it was written."""
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
                finished = write(index, claim)
            except LostClaim:
                return False
            except FileNotFoundError:
                if claim.held():
                    raise
                return False  # another process took this one for dead and removed its temporary file
            self.store.wait()  # for the file before this one
            self._submitted.add(name)
            self.store.submit(partial(self._finish, finished), claim)
        return True

    def _finish(self, finished: FinishedFile) -> None:
        name = finished.entry.shard
        self.store.put(name)
        self.store.record(finished.entry)
        self.manifest.done[name] = finished.entry
        journal.remove(self.store.work_folder / name)
        if finished.on_recorded:
            finished.on_recorded()

    def entry(self, name: str) -> ShardEntry:
        """The entry of a file that is done."""
        if name not in self.manifest.done:
            self.refresh()
        return self.manifest.done[name]

    def settle(self, patience: float = float("inf")) -> bool:
        """Write the records of this process into the manifest; return whether every file is done.

        If so, the manifest is sorted in the order of the inputs, and all claims, logs and temporary files are removed.
        If other processes hold the manifest for ``patience`` seconds, the records stay in the log of this process.
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

    def tidy(self, final: bool, other_folders: Sequence[Path] = ()) -> None:
        """Remove what killed processes left here and in ``other_folders``; see ``leftovers.remove``."""
        leftovers.remove(self.store.work_folder, self._known_done, final, other_folders)

    def _known_done(self, name: str) -> bool:
        entry = self.manifest.done.get(name)
        return entry is not None and entry.input == self._inputs.get(name, entry.input)


@contextlib.contextmanager
def exclusive(claims: Claims, display_name: str) -> Iterator[None]:
    """Hold the folder of ``claims`` for this process. Raises ``CapivaraError`` if another process is writing to it."""
    try:
        with claims.waiting(MANIFEST, patience=0) as claim:
            if claim is None:
                who = claims.holder_of(MANIFEST)
                raise CapivaraError(
                    f"{display_name}: another process is writing it" + (f": {who}" if who else ""),
                    "choose another folder with --out, or wait",
                )
            yield
    finally:
        claims.close()


def output_names(shards: Sequence[str]) -> list[str]:
    """The names of the output shards: the base names of the shards, with the folder's name in front if two are equal.

    Raises ``CapivaraError`` if some are still equal.
    """
    names = [plain_name(base_name(shard)) for shard in shards]
    names = [name if name.endswith(".tar") else f"{name}.tar" for name in names]
    if len(set(names)) < len(names):
        names = [f"{Path(public_url(shard)).parent.name}-{name}" for shard, name in zip(shards, names, strict=True)]
    for name, count in Counter(names).items():
        if count > 1:
            raise CapivaraError(f"{count} inputs would all be written to {name}", "process the folders one by one")
    return names
