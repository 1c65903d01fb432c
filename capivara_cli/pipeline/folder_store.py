"""What an output folder will hold, and the store of its files: on a file system or behind a URL."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

from capivara_cli.shards.history import History
from capivara_cli.shards.manifest import MANIFEST, InputIdentity, Manifest, ShardEntry
from capivara_cli.storage.claims import Claim, Claims


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
    it: then another command may have made its file, which stays. ``files``: those of ``fingerprint.PlanIdentity``.
    ``scratch``: what else is in the folder is of no value. ``overwrite``: the result of another plan is replaced.
    """

    plan: History
    fingerprint: str
    names: Sequence[str]
    inputs: Sequence[InputIdentity | None]
    file: str = MANIFEST
    beside: Sequence[Path] = ()
    input_exists: Callable[[str], bool] = lambda name: False
    files: Mapping[str, str] = field(default_factory=dict)
    scratch: bool = False
    overwrite: bool = False


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

    def is_whole(self, entry: ShardEntry) -> bool:
        """Whether a file is complete and, if it was written after it was recorded, has its digest."""

    def is_final(self, manifest: Manifest) -> bool:
        """Whether the folder has this manifest and nothing that is left of the work: nothing need be written."""

    def confirm(self) -> None:
        """Note that ``is_whole`` has verified the files, so that they are not verified again."""

    def discard(self, name: str) -> None:
        """Delete a damaged file."""

    def forget(self) -> None:
        """Delete the manifest and the records of all processes; the files stay."""

    def remove_result(self, manifest: Manifest) -> None:
        """Delete the files that a manifest names and their cost records, what an unfinished run left, and the manifest.

        The manifest is deleted last. Raises ``CapivaraError``, before that, if the folder has other shards.
        """

    def holds_shards(self) -> bool:
        """Whether the folder has tar files."""

    def state(self) -> object:
        """A value that changes when any process records a file."""

    def load(self, inputs: dict[str, InputIdentity | None]) -> Manifest | None:
        """The manifest with the entries that all processes recorded; None if there is none.

        Of several entries for one file it has the one made from ``inputs``, which maps file names to identities.
        """

    def prepare(self) -> None:
        """Remove a file that is in the place of the folder."""

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
