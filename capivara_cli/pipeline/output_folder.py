"""A folder that several processes fill, each a file at a time: what is to do, what is done, what is left over."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from capivara_cli.errors import CapivaraError
from capivara_cli.pipeline import journal
from capivara_cli.shards.history import History
from capivara_cli.shards.manifest import MANIFEST, Manifest, logs_of
from capivara_cli.storage import claims
from capivara_cli.storage.claims import STALE, Claim, Claims, Holder, Lost, claim_of, look
from capivara_cli.urls import base_name, public_url

Entry = dict[str, Any]
_POLL = (0.02, 2.0)  # s: between two looks at what others are doing, at first and at most


@dataclass(frozen=True)
class Done:
    """A file that was made: its line of the manifest, and whom to tell once that is written."""

    entry: Entry
    tell: Callable[[], None] | None = None


Make = Callable[[int, Claim], Done]
"""Makes the file of a number, and confirms the claim before it appears."""


@dataclass(frozen=True)
class Contents:
    """What a folder is to hold: ``names`` of files, and ``inputs``, what identifies what each is made from."""

    plan: History
    fingerprint: str
    names: Sequence[str]
    inputs: Sequence[Entry]
    file: str = MANIFEST


class SharedFolder:
    """The folder as one of the processes sees it.

    A file is done when the manifest, or the log of a living or dead process, says so for its present input.
    """

    def __init__(self, folder: Path, contents: Contents, dead: frozenset[str] = frozenset()) -> None:
        self.folder = folder
        self.contents = contents
        self.claims = Claims(folder, dead)
        self.manifest = Manifest(folder, contents.plan, contents.fingerprint, None)
        self._inputs = dict(zip(contents.names, contents.inputs, strict=True))
        self._log: Path | None = None
        self._seen: list[tuple[str, int, int]] = []

    def open(self) -> None:
        """Begin the manifest, or go on with the same plan's; anything else in the folder is an error."""
        self.check()
        with self.claims.waiting(self.contents.file):
            self._merge(logs_of(self.folder, self.contents.file), final=False)
        self.tidy(final=False)

    def check(self) -> None:
        """Raise when something else is in the folder."""
        self._check(found := self._load())
        strange = found is None and self.contents.file == MANIFEST and any(self.folder.glob("*.tar"))
        if strange and self._load() is None:
            raise CapivaraError(
                f"{self.folder}: holds shards and no manifest.jsonl, so not made by capivara", "name another --out"
            )

    def _load(self) -> Manifest | None:
        return Manifest.load(self.folder, self.contents.file, self._inputs)

    def _check(self, found: Manifest | None) -> None:
        if found is not None and found.fingerprint != self.contents.fingerprint:
            names = " | ".join(step.get("step", "?") for step in found.plan)
            raise CapivaraError(
                f"{self.folder}: holds the result of another plan or other options ({names})",
                "name another --out, or delete that folder first",
            )

    def refresh(self) -> None:
        """Learn what others have done since."""
        seen = _state([self.folder / self.contents.file, *logs_of(self.folder, self.contents.file)])
        if seen != self._seen and (found := self._load()) is not None:
            self._check(found)
            self._seen, self.manifest = seen, found

    def is_done(self, index: int) -> bool:
        name = self.contents.names[index]
        entry = self.manifest.done.get(name)
        return entry is not None and entry["input"] == self._inputs[name] and (self.folder / name).is_file()

    @property
    def done(self) -> int:
        """How many of the files are done, as far as is known."""
        return sum(map(self.is_done, range(len(self.contents.names))))

    @property
    def complete(self) -> bool:
        return all(map(self.is_done, range(len(self.contents.names))))

    def fill(self, make: Make, indices: Iterable[int], enough: Callable[[], bool] = lambda: False) -> None:
        """Make what is neither done nor claimed, and wait for what is claimed; until ``enough``."""
        pending = [index for index in indices if not self.is_done(index)]
        doubtful: set[int] = set()
        pause = _POLL[0]
        while pending and not enough():
            before = len(pending), len(doubtful)
            for index in pending:
                # A file that appeared: its line may, too. If it does not, its process was killed between the two.
                if (self.folder / self.contents.names[index]).exists() and index not in doubtful:
                    doubtful.add(index)
                else:
                    self.attempt(make, index)
            self.refresh()
            pending = [index for index in pending if not self.is_done(index)]
            if (len(pending), len(doubtful)) == before:
                time.sleep(pause)
                pause = min(1.5 * pause, _POLL[1])
            else:
                pause = _POLL[0]

    def attempt(self, make: Make, index: int) -> bool:
        """Make one file unless it is done or another process is at it; returns whether it was made."""
        name = self.contents.names[index]
        claim = self.claims.take(name)
        if claim is None:
            return False
        with claim:
            if (self.folder / name).exists():
                self.refresh()
            if self.is_done(index):
                return False
            try:
                made = make(index, claim)
                self.record(made.entry)
            except Lost:
                return False
            except FileNotFoundError:
                if claim.held():
                    raise
                return False  # our temporary was swept: we seemed to be dead
            journal.remove(self.folder / name)
        if made.tell:
            made.tell()
        return True

    def entry(self, name: str) -> Entry:
        """What the manifest says of a file that is done."""
        if name not in self.manifest.done:
            self.refresh()
        return self.manifest.done[name]

    def record(self, entry: Entry) -> None:
        """Say, durably, that a file is done."""
        if self._log is None:
            holder = Holder.here()
            name = f".{self.contents.file}.log-{holder.host}-{holder.pid}-{os.urandom(3).hex()}"
            self._log = self.folder / name
            self._log.write_text(json.dumps({"writer": asdict(holder)}) + "\n", "utf-8")
        self.manifest.finish(entry, self._log)

    def settle(self, patience: float = float("inf")) -> bool:
        """Bring what this process has done into the manifest; returns whether everything is done.

        Then the manifest is in the order of the inputs, and nothing is left of how it was made. With ``patience``
        (seconds) the log stays where it is if the manifest is not free by then.
        """
        try:
            with self.claims.waiting(self.contents.file, patience) as claim:
                if claim is None:
                    return False
                logs = logs_of(self.folder, self.contents.file)
                complete = self._merge(logs, final=True)
            if complete:
                self.tidy(final=True)
            return complete
        finally:
            self.claims.close()

    def _merge(self, logs: list[Path], final: bool) -> bool:
        """Write the manifest with what all logs say, in order when all is done; remove logs nobody writes any more."""
        found = self._load()
        self._check(found)
        manifest = found or Manifest(
            self.folder, self.contents.plan, self.contents.fingerprint, None, file=self.contents.file
        )
        manifest.shards = len(self.contents.names)
        self.manifest = manifest
        complete = final and self.complete
        if complete and manifest.done.keys() == set(self.contents.names):
            manifest.done = {name: manifest.done[name] for name in self.contents.names}
        path = self.folder / self.contents.file
        if not path.is_file() or path.read_bytes() != manifest.text().encode():
            manifest.save()
        for log in logs:
            if complete or log == self._log or _is_dead(log):
                log.unlink(missing_ok=True)
        if complete or final:
            self._log = None
        return complete

    def tidy(self, final: bool, beside: Sequence[Path] = ()) -> None:
        """Remove what killed processes left here and in the folders ``beside``; nothing that a living one uses."""
        for folder in (self.folder, *beside):
            for path in list(folder.glob(".*")) if folder.is_dir() else []:
                target, dot, kind = path.name[1:].rpartition(".")
                if ".partial-" in path.name:
                    self._tidy_partial(path, final)
                elif folder is self.folder and dot and kind == "claim" and self._known_done(target):
                    if (seen := look(path)) is not None and seen.stale:
                        claims.bury(seen)
                elif folder is self.folder and dot and kind == "journal" and self._known_done(target):
                    path.unlink(missing_ok=True)

    def _known_done(self, name: str) -> bool:
        entry = self.manifest.done.get(name)
        return entry is not None and entry["input"] == self._inputs.get(name, entry["input"])

    def _tidy_partial(self, partial: Path, final: bool) -> None:
        """A temporary goes when its process is dead; on another machine, when it has no claim on what it is for."""
        target, _, writer = partial.name[1:].rpartition(".partial-")
        host, _, rest = writer.rpartition("-")[0].rpartition("-")
        seen = look(claim_of(self.folder / target))
        if seen and not seen.stale and seen.holder and seen.holder.name == f"{host}:{rest}":
            return
        if host == claims.host() and rest.isdigit():
            gone = not claims.started(int(rest))
        else:
            gone = final or time.time() - _modified(partial) > STALE
        if gone and partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        elif gone:
            partial.unlink(missing_ok=True)


def _modified(path: Path) -> float:
    with contextlib.suppress(FileNotFoundError):
        return path.stat().st_mtime
    return 0.0


def _state(paths: Iterable[Path]) -> list[tuple[str, int, int]]:
    found = []
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            info = path.stat()
            found.append((path.name, info.st_size, info.st_mtime_ns))
    return found


def _is_dead(log: Path) -> bool:
    """Whether the process that writes a log is known to be dead; of one on another machine nobody can tell."""
    try:
        with open(log, "rb") as lines:
            writer = json.loads(next(lines, b"{}")).get("writer", {})
    except (OSError, ValueError):
        return False
    holder = Holder.parse(json.dumps(writer).encode())
    return holder is not None and holder.local and claims.started(holder.pid) != holder.started


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
