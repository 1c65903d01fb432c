"""An output folder in a remote store: files are written on this machine and uploaded when they are complete."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import BinaryIO

from capivara_cli.costs.ledger import FOLDER_LEDGER
from capivara_cli.errors import CapivaraError
from capivara_cli.pipeline import leftovers
from capivara_cli.shards.manifest import MANIFEST, InputIdentity, Manifest, ShardEntry
from capivara_cli.shards.remote_inputs import child, entries_url, exists, listing, load_manifest, read_bytes
from capivara_cli.storage import cache
from capivara_cli.storage.claims import THIS_PROCESS, Claim, Claimant, Claims
from capivara_cli.storage.digests import digest_of_stream
from capivara_cli.storage.remote.filesystems import filesystem, scheme_of
from capivara_cli.storage.remote.read import Version, open_remote
from capivara_cli.storage.remote.upload import put_bytes, put_file, remove, remove_folder

_THREADS = 16
"""Threads for small requests to a server."""


class RemoteStore:
    """A ``FolderStore`` behind a URL. ``manifest.jsonl`` names the plan of the folder from the start.

    Each finished file adds one object ``manifest/NAME.json``, which no other process writes. At the end these objects
    become the lines of ``manifest.jsonl``. The work folder is in the cache, one per plan and URL. The processes of this
    machine share it and claim files in it. Other machines do not see these claims.
    """

    def __init__(
        self, url: str, fingerprint: str, claimant: Claimant = THIS_PROCESS, file: str = MANIFEST,
        work_folder: Path | None = None,
    ) -> None:  # fmt: skip
        self.display_name = url.rstrip("/")
        self.work_folder = work_folder or _work_folder(self.display_name, fingerprint)
        self.claims = Claims(self.work_folder, claimant)
        self._fingerprint, self._file = fingerprint, file
        self._files: dict[str, Version] = {}
        self._entries: dict[str, tuple[Version, ShardEntry | None]] = {}
        self._upload: Future[None] | None = None
        self._verified = False

    def child(self, name: str, file: str = MANIFEST) -> RemoteStore:
        return RemoteStore(self.location(name), self._fingerprint, self.claims.claimant, file, self.work_folder / name)

    def location(self, name: str) -> str:
        return child(self.display_name, name)

    def opened(self, name: str) -> BinaryIO:
        data = read_bytes(self.location(name))
        if data is None:
            raise FileNotFoundError(f"{self.location(name)}: there is no such file")
        return io.BytesIO(data)

    def exists(self, name: str) -> bool:
        return exists(self.location(name))

    def is_complete(self, entry: ShardEntry) -> bool:
        found = self._files.get(entry.shard)
        return found is not None and (entry.size is None or entry.size == found.size)

    def is_whole(self, entry: ShardEntry) -> bool:
        if not self.is_complete(entry):
            return False
        written, recorded = self._files[entry.shard].time, self._recorded_at(entry)
        if entry.digest is None or written is None or written <= recorded:
            return True
        self._verified = True
        with open_remote(self.location(entry.shard)) as file:
            return digest_of_stream(file) == entry.digest

    def _recorded_at(self, entry: ShardEntry) -> float:
        """The time of the youngest record of a file, by the clock of the server, which also gave the file its time."""
        own = self._entries.get(f"{entry.shard}.json")
        found = [self._files.get(self._file), None if own is None else own[0]]
        return max((each.time for each in found if each is not None and each.time is not None), default=float("inf"))

    def is_final(self, manifest: Manifest) -> bool:
        return False  # another machine may still have to remove its entries

    def confirm(self) -> None:
        """Write the manifest once more if files were verified: it is younger than they are then."""
        if self._verified and (text := read_bytes(self.location(self._file))) is not None:
            with contextlib.suppress(OSError, CapivaraError):  # no permission to write
                put_bytes(self.location(self._file), text)
        self._verified = False

    def discard(self, name: str) -> None:
        remove(self.location(name))
        self._files.pop(name, None)

    def prepare(self) -> None:
        """Nothing to do: a remote folder needs no place."""

    def forget(self) -> None:
        self._remove_entries(set(listing(entries_url(self.display_name, self._file))))
        remove(self.location(self._file))

    def remove_result(self, manifest: Manifest) -> None:
        foreign = {name for name in listing(self.display_name) if name.endswith(".tar")} - manifest.done.keys()
        if foreign:
            raise CapivaraError(
                f"{self.display_name}: {min(foreign)} is not in its {MANIFEST}: --overwrite does not delete it",
                "move it elsewhere, or choose another folder with --out",
            )
        for name in [*manifest.done, *([FOLDER_LEDGER] if manifest.done else [])]:
            remove(self.location(name))
        for number in range(len(manifest.plan)):
            self.remove_folder(f".corpus-{number + 1}")
        self.sweep(final=True)
        self.forget()  # last, so that a killed run can begin here again

    def holds_shards(self) -> bool:
        return any(name.endswith(".tar") for name in self._files)

    def state(self) -> object:
        return listing(entries_url(self.display_name, self._file)), listing(self.display_name)

    def load(self, inputs: dict[str, InputIdentity | None]) -> Manifest | None:
        # Entries are read before the manifest: an entry that has been removed is a line of the manifest by then. Files
        # are listed last: a process uploads a file before it writes the entry.
        self._read_entries()
        manifest = None
        if self._file in listing(self.display_name):
            entries = [entry for _, entry in self._entries.values() if entry is not None]
            manifest = load_manifest(self.display_name, self._file, entries, inputs)
        self._files = listing(self.display_name)
        return manifest

    def _read_entries(self) -> None:
        found = listing(entries_url(self.display_name, self._file))
        known = {
            key: self._entries[key] for key, version in found.items() if self._entries.get(key, ("",))[0] == version
        }
        new = [key for key in found if key not in known]
        with ThreadPoolExecutor(_THREADS) as pool:
            read = zip(new, pool.map(self._entry, new), strict=True)
            self._entries = {**known, **{key: (found[key], entry) for key, entry in read}}

    def _entry(self, key: str) -> ShardEntry | None:
        try:
            found = json.loads(read_bytes(self._entry_url(key)) or b"")
            return ShardEntry.from_json(found["entry"]) if found["fingerprint"] == self._fingerprint else None
        except (ValueError, KeyError, TypeError, RecursionError):  # it has been removed, or capivara did not write it
            return None

    def _entry_url(self, key: str) -> str:
        return child(entries_url(self.display_name, self._file), key)

    def begin(self, manifest: Manifest, names: Sequence[str], finished: Sequence[str]) -> None:
        """Write the manifest with the entries of finished files only, so that no reader takes the folder for complete.

        Shards that are not in ``names`` are removed, and what killed uploads left.
        """
        self.sweep()
        manifest.done = {name: manifest.done[name] for name in finished}
        self._save(manifest)
        if self._file == MANIFEST:
            for name in self._files.keys() - set(names):
                if name.endswith(".tar"):
                    remove(self.location(name))
        self._remove_entries(self._entries.keys() - {f"{name}.json" for name in finished})

    def sweep(self, final: bool = False) -> None:
        """Remove what killed processes left in a folder on this machine (``file://``); see ``leftovers.remove``."""
        for url in (self.display_name, entries_url(self.display_name, self._file)):
            if scheme_of(url) == "file":
                leftovers.remove(Path(filesystem(url)[1]), lambda name: False, final)

    def put(self, name: str) -> None:
        path = self.work_folder / name
        put_file(self.location(name), path)
        self._files[name] = Version(path.stat().st_size)
        path.unlink()

    def record(self, entry: ShardEntry) -> None:
        record = {"fingerprint": self._fingerprint, "entry": entry.to_json()}
        put_bytes(self._entry_url(f"{entry.shard}.json"), json.dumps(record).encode())

    def submit(self, work: Callable[[], None], claim: Claim) -> None:
        """Do ``work`` in a daemon thread: it does not keep an interrupted program from ending."""
        upload = self._upload = Future()

        def run() -> None:
            try:
                with contextlib.ExitStack() as held:
                    held.callback(claim.release)
                    work()
            except BaseException as error:  # noqa: BLE001  raised by ``wait``
                upload.set_exception(error)
            else:
                upload.set_result(None)

        claim.handed_over = True
        threading.Thread(target=run, name="capivara-upload", daemon=True).start()

    def wait(self, patience: float = float("inf")) -> None:
        upload, self._upload = self._upload, None
        if upload is not None and upload in wait([upload], None if patience == float("inf") else patience).done:
            upload.result()

    def end(self, manifest: Manifest, complete: bool) -> None:
        if complete:
            self._save(manifest)
            self._remove_entries(set(self._entries))
            self.sweep(final=True)

    def _save(self, manifest: Manifest) -> None:
        url, text = self.location(self._file), manifest.text()
        if read_bytes(url) != text:
            put_bytes(url, text)

    def _remove_entries(self, keys: set[str]) -> None:
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(lambda key: remove(self._entry_url(key)), sorted(keys)))

    def remove_folder(self, name: str) -> None:
        remove_folder(self.location(name))
        shutil.rmtree(self.work_folder / name, ignore_errors=True)

    def close(self, complete: bool) -> None:
        if complete:
            shutil.rmtree(self.work_folder, ignore_errors=True)
        for folder in (*self.work_folder.glob("*"), self.work_folder):
            with contextlib.suppress(OSError):  # not empty: a later run resumes from it
                folder.rmdir()


def _work_folder(url: str, fingerprint: str) -> Path:
    name = hashlib.sha256(f"{url} {fingerprint}".encode()).hexdigest()[:16]
    return cache.folder() / "uploads" / name
