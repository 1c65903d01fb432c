"""The store of an output folder: on a file system, or behind a URL."""

from __future__ import annotations

from pathlib import Path

from capivara_cli.pipeline.local_store import LocalStore
from capivara_cli.pipeline.output_folder import Store
from capivara_cli.storage.claims import THIS_PROCESS, Claimant
from capivara_cli.urls import is_url


def store_of(out: str, fingerprint: str, who: Claimant = THIS_PROCESS) -> Store:
    """The store of the folder ``out``, a path or a URL, for the plan with this fingerprint."""
    if not is_url(out):
        return LocalStore(Path(out), who)
    from capivara_cli.pipeline.remote_store import RemoteStore  # the network's libraries, for those who need them

    return RemoteStore(out, fingerprint, who)
