"""The store of an output folder, by its path or URL."""

from __future__ import annotations

from pathlib import Path

from capivara_cli.pipeline.folder_store import FolderStore
from capivara_cli.pipeline.local_store import LocalStore
from capivara_cli.storage.claims import THIS_PROCESS, Claimant
from capivara_cli.urls import is_url


def store_of(out: str, fingerprint: str, claimant: Claimant = THIS_PROCESS) -> FolderStore:
    """The store of the folder ``out``, a path or URL. ``fingerprint``: that of the plan. ``claimant`` claims files."""
    if not is_url(out):
        return LocalStore(Path(out), claimant)
    from capivara_cli.pipeline.remote_store import RemoteStore  # imports network libraries

    return RemoteStore(out, fingerprint, claimant)
