"""An output folder on a file system, which several processes and machines may share."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

from capivara_cli.costs.ledger import FOLDER_LEDGER
from capivara_cli.errors import CapivaraError
from capivara_cli.pipeline import leftovers
from capivara_cli.shards.manifest import MANIFEST, InputIdentity, Manifest, ShardEntry, append, logs_of
from capivara_cli.storage.claims import THIS_PROCESS, Claim, Claimant, Claims
from capivara_cli.storage.digests import digest_of_file
from capivara_cli.storage.files import replacing
from capivara_cli.storage.holders import Holder, start_time


class LocalStore:
    """A ``FolderStore`` that writes files in place. Each process records its finished files in a log of its own."""

    def __init__(self, folder: Path, claimant: Claimant = THIS_PROCESS, file: str = MANIFEST) -> None:
        self.work_folder = folder
        self.display_name = str(folder)
        self.claims = Claims(folder, claimant)
        self._file = file
        self._log: Path | None = None
        self._logs: list[Path] = []
        self._verified = False

    def child(self, name: str, file: str = MANIFEST) -> LocalStore:
        return LocalStore(self.work_folder / name, self.claims.claimant, file)

    def location(self, name: str) -> str:
        return str(self.work_folder / name)

    def opened(self, name: str) -> BinaryIO:
        return open(self.work_folder / name, "rb")

    def exists(self, name: str) -> bool:
        return (self.work_folder / name).exists()

    def is_complete(self, entry: ShardEntry) -> bool:
        try:
            info = (self.work_folder / entry.shard).stat()
        except OSError:
            return False
        return stat.S_ISREG(info.st_mode) and entry.size in (None, info.st_size)

    def is_whole(self, entry: ShardEntry) -> bool:
        if not self.is_complete(entry):
            return False
        path = self.work_folder / entry.shard
        info = path.stat()
        if entry.digest is None or max(info.st_mtime_ns, info.st_ctime_ns) <= self._recorded_at():
            return True
        self._verified = True
        return digest_of_file(path) == entry.digest

    def _recorded_at(self) -> int:
        """The time of the youngest record of finished files, in ns: no finished file has been written since."""
        found = [time for _, _, time in _state([self.work_folder / self._file, *self._logs])]
        return max(found, default=0)

    def is_final(self, manifest: Manifest) -> bool:
        try:
            same = (self.work_folder / self._file).read_bytes() == manifest.text()
            names = [path.name for path in self.work_folder.glob(".*")]
        except OSError:
            return False
        return same and not any(map(_is_left_over, names))

    def confirm(self) -> None:
        """Set the time of the manifest to now if files were verified, so that they are not verified again."""
        if self._verified:
            with contextlib.suppress(OSError):  # a read-only disk
                os.utime(self.work_folder / self._file)
        self._verified = False

    def discard(self, name: str) -> None:
        with contextlib.suppress(IsADirectoryError, PermissionError):  # a folder is not ours, and stays
            (self.work_folder / name).unlink(missing_ok=True)

    def prepare(self) -> None:
        if self.work_folder.is_file():
            self.work_folder.unlink()

    def forget(self) -> None:
        for path in [self.work_folder / self._file, *logs_of(self.work_folder, self._file)]:
            path.unlink(missing_ok=True)

    def remove_result(self, manifest: Manifest) -> None:
        foreign = {path.name for path in self.work_folder.glob("*.tar")} - manifest.done.keys()
        if foreign:
            raise CapivaraError(
                f"{self.display_name}: {min(foreign)} is not in its {MANIFEST}: --overwrite does not delete it",
                "move it elsewhere, or choose another folder with --out",
            )
        for name in manifest.done:
            (self.work_folder / name).unlink(missing_ok=True)
        for folder in self.work_folder.glob(".corpus-*"):
            shutil.rmtree(folder, ignore_errors=True)
        leftovers.remove(self.work_folder, lambda name: True, final=True)
        if manifest.done:  # the costs of work without a result stay
            (self.work_folder / FOLDER_LEDGER).unlink(missing_ok=True)
        self.forget()  # last, so that a killed run can begin here again

    def holds_shards(self) -> bool:
        return any(self.work_folder.glob("*.tar"))

    def state(self) -> object:
        return _state([self.work_folder / self._file, *logs_of(self.work_folder, self._file)])

    def load(self, inputs: dict[str, InputIdentity | None]) -> Manifest | None:
        self._logs = logs_of(self.work_folder, self._file)
        return Manifest.load(self.work_folder, self._file, inputs)

    def begin(self, manifest: Manifest, names: Sequence[str], finished: Sequence[str]) -> None:
        """Write the manifest with the entries of finished files only, so that no reader takes the folder for complete.

        Files in the manifest that are not in ``names`` are removed. Outdated ones stay until new ones replace them.
        """
        removed = manifest.done.keys() - set(names)
        manifest.done = {name: manifest.done[name] for name in finished}
        self._save(manifest)
        for name in removed:
            (self.work_folder / name).unlink(missing_ok=True)
        self._remove_logs(_is_dead)

    def put(self, name: str) -> None:
        """Nothing to do: the file was written in its place."""

    def record(self, entry: ShardEntry) -> None:
        if self._log is None:
            holder = Holder.of_this_process(self.claims.claimant.command)
            name = f".{self._file}.log-{holder.host}-{holder.pid}-{os.urandom(3).hex()}"
            self._log = self.work_folder / name
            self._log.write_text(json.dumps({"writer": asdict(holder)}) + "\n", "utf-8")
        append(self._log, entry)

    def submit(self, work: Callable[[], None], claim: Claim) -> None:
        work()

    def wait(self, patience: float = float("inf")) -> None:
        """Nothing to do: ``submit`` has done the work."""

    def end(self, manifest: Manifest, complete: bool) -> None:
        self._save(manifest)
        self._remove_logs(lambda log: complete or log == self._log or _is_dead(log))
        self._log = None

    def _save(self, manifest: Manifest) -> None:
        path, text = self.work_folder / self._file, manifest.text()
        if not path.is_file() or path.read_bytes() != text:
            with replacing(path) as out:
                out.write(text)

    def _remove_logs(self, removable: Callable[[Path], bool]) -> None:
        """Remove ``removable`` logs. Only those that ``load`` has read: the manifest has their lines."""
        for log in self._logs:
            if removable(log):
                log.unlink(missing_ok=True)

    def remove_folder(self, name: str) -> None:
        shutil.rmtree(self.work_folder / name, ignore_errors=True)

    def close(self, complete: bool) -> None:
        """Nothing to remove: files are written in place."""


def _state(paths: Iterable[Path]) -> list[tuple[str, int, int]]:
    found = []
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            info = path.stat()
            found.append((path.name, info.st_size, info.st_mtime_ns))
    return found


def _is_left_over(name: str) -> bool:
    """Whether a hidden file or folder is one of those that ``settle`` removes from a finished folder."""
    ours = name.endswith((".claim", ".journal")) or ".partial-" in name
    return ours or name.startswith((f".{MANIFEST}.log-", ".corpus-"))


def _is_dead(log: Path) -> bool:
    """Whether the process that writes a log is known to be dead; False for a process of another machine."""
    try:
        with open(log, "rb") as lines:
            writer = json.loads(next(lines, b"{}"))["writer"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False
    holder = Holder.parse(json.dumps(writer).encode())
    return holder is not None and holder.local and start_time(holder.pid) != holder.started
