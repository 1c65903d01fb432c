"""An output folder that several processes fill, one file at a time, and can resume; local or remote."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from capivara_cli.errors import CapivaraError
from capivara_cli.pipeline import journal, leftovers, rejects
from capivara_cli.pipeline.fingerprint import OTHER_VERSION, difference, is_same
from capivara_cli.pipeline.folder_store import Contents, FinishedFile, FolderStore, WriteFile
from capivara_cli.shards.manifest import MANIFEST, Manifest, ShardEntry
from capivara_cli.shards.names import plain_name
from capivara_cli.storage.claims import Claims, LostClaim
from capivara_cli.urls import base_name, public_url

_POLL = (0.02, 2.0)  # s: pause between two checks of what other processes have finished, first and longest


class OutputFolder:
    """An output folder, from the view of one of the processes that fill it.

    A file is done if it exists and the manifest, or the record of any process, has an entry for its present input.
    ``damaged`` are the files that ``open`` found missing or altered; ``replaced`` is the manifest of the other plan
    whose result it deleted, if any.
    """

    def __init__(self, store: FolderStore, contents: Contents) -> None:
        self.store = store
        self.contents = contents
        self.manifest = self._new_manifest()
        self.damaged: list[str] = []
        self.replaced: Manifest | None = None
        self._inputs = dict(zip(contents.names, contents.inputs, strict=True))
        self._state: object = None
        self._submitted: set[str] = set()
        self._final = False

    def _new_manifest(self) -> Manifest:
        contents = self.contents
        return Manifest(contents.plan, contents.fingerprint, None, files=dict(contents.files))

    def open(self, restart: bool = False) -> list[str]:
        """Start the manifest, or resume one of the same plan. Raises ``CapivaraError`` if the folder has other content.

        With ``restart`` every file is written again. A folder that is finished is left as it is: its disk may be
        read-only. Returns the names of the files that were removed because their inputs are gone.
        """
        if not self.contents.scratch and not restart and self._opened_finished():
            return []
        if self.contents.scratch:
            self.store.prepare()
        with self.store.claims.waiting(self.contents.file):
            self._clear()
            manifest = self._loaded()
            names = self.contents.names
            self.damaged = self._drop_damaged(manifest)
            others = manifest.done.keys() - set(names)
            kept = {name for name in others if self._has_input(manifest.done[name])}
            gone = sorted(others - kept)
            finished = [] if restart else [name for index, name in enumerate(names) if self.is_done(index)]
            self.store.begin(manifest, [*names, *kept], [*finished, *sorted(kept)])
            self.store.confirm()
        self.tidy(final=False)
        return gone

    def _opened_finished(self) -> bool:
        """Whether there is nothing to do or to tidy."""
        found = self.check()
        if found is None or list(found.done) != list(self.contents.names) or found.shards != len(found.done):
            return False
        self.manifest = self._renewed(found)
        done = self.complete and self.store.is_final(self.manifest)
        self._final = done and all(map(self._is_whole, found.done.values()))
        if self._final:
            self.store.confirm()
        return self._final

    def _clear(self) -> None:
        """Delete the result of another plan, or what it left unfinished, if that is allowed.

        Raises ``CapivaraError`` if it is not.
        """
        if self.contents.scratch:
            try:
                found = self.store.load(self._inputs)
            except CapivaraError:  # a damaged manifest
                found = None
            if found is None or not is_same(found.fingerprint, self.contents.fingerprint):
                self.store.forget()
        elif (found := self.store.load(self._inputs)) is not None and self._own(found) is None:
            self.store.remove_result(found)
            self.replaced = found if found.done else None

    def _is_whole(self, entry: ShardEntry) -> bool:
        """Whether a file is whole, and those of the other folders that exist."""
        others = [path for folder in self.contents.beside if (path := folder / entry.shard).exists()]
        return self.store.is_whole(entry) and all(map(rejects.is_whole, others))

    def _drop_damaged(self, manifest: Manifest) -> list[str]:
        """Drop the entries of files that are missing or altered, and delete these; return their names.

        The log of a process of another machine, which stays, may still call them finished.
        """
        found = [name for name, entry in manifest.done.items() if entry.input == self._inputs.get(name, ())]
        damaged = [name for name in found if not self._is_whole(manifest.done[name])]
        for name in damaged:
            self.discard(name)
        return damaged

    def _has_input(self, entry: ShardEntry) -> bool:
        identity = entry.input or {}
        if "corpus" in identity:  # decided together with inputs that this command does not name
            return False
        return "name" in identity and self.contents.input_exists(identity["name"])

    def check(self) -> Manifest | None:
        """The manifest of the folder; None without one, and if that of another plan is to be replaced.

        Raises ``CapivaraError`` if the folder has other content.
        """
        found = self.store.load(self._inputs)
        if found is None and self.contents.file == MANIFEST and self.store.holds_shards():
            raise CapivaraError(
                f"{self.store.display_name}: holds shards but no {MANIFEST}, so capivara did not write it",
                "choose another folder with --out",
            )
        return self._own(found)

    def _own(self, found: Manifest | None) -> Manifest | None:
        """A manifest of this plan; None for one of another plan that is to be replaced, or finished nothing.

        Raises ``CapivaraError`` for any other manifest.
        """
        if found is None or is_same(found.fingerprint, self.contents.fingerprint):
            return found
        nothing = not found.done and not self.store.holds_shards()
        if (nothing or self.contents.overwrite) and not self.store.claims.held_by_others():
            return None
        is_plan = is_same(found.fingerprint.partition(":")[0], self.contents.fingerprint)
        differs = OTHER_VERSION if is_plan else difference(found, self.contents.plan, self.contents.files)
        raise CapivaraError(
            f"{self.store.display_name}: holds the result of another plan or other options ({differs})",
            "choose another folder with --out, or replace that result with --overwrite",
        )

    def _renewed(self, found: Manifest) -> Manifest:
        """A manifest of this plan with the entries of one that was found."""
        renewed = self._new_manifest()
        renewed.done, renewed.shards = found.done, len(self.contents.names)
        return renewed

    def _loaded(self) -> Manifest:
        """The manifest of the folder, or a new one."""
        found = self._own(self.store.load(self._inputs))
        self.manifest = self._renewed(found or self._new_manifest())
        return self.manifest

    def discard(self, name: str) -> None:
        """Delete a damaged file, so that it is written again."""
        self.store.discard(name)
        self.manifest.done.pop(name, None)
        self._submitted.discard(name)

    def refresh(self) -> None:
        """Load the records of other processes, if there are new ones."""
        state = self.store.state()
        if state != self._state and (found := self._own(self.store.load(self._inputs))) is not None:
            self._state, self.manifest = state, self._renewed(found)

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
        if self._final:
            return True
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
