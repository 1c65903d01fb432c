"""The number of samples in shards, by the manifests beside them, without reading the shards."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

from capivara_cli.errors import CapivaraError
from capivara_cli.shards.manifest import Manifest
from capivara_cli.urls import is_url


def total_of(shards: Sequence[str]) -> int | None:
    """The samples of local shards; None if the manifests do not say it of all, or cannot be read."""
    if not shards or any(map(is_url, shards)):  # to ask a server only for this would be slow
        return None
    with contextlib.suppress(CapivaraError, OSError):
        counts = counts_of(shards)
        return sum(counts.values()) if len(counts) == len(set(shards)) else None
    return None


def counts_of(shards: Sequence[str]) -> dict[str, int]:
    """The samples of each shard, local or remote, that is in the manifest of its folder with its present size."""
    found = {}
    for folder in dict.fromkeys(shard.rpartition("/")[0] for shard in shards):
        manifest = _manifest(folder)
        for shard in (each for each in shards if each.rpartition("/")[0] == folder) if manifest else ():
            entry = manifest.done.get(shard.partition("?")[0].rpartition("/")[2]) if manifest else None
            if entry is None or entry.written is None:
                continue
            if is_url(shard) or entry.size == Path(shard).stat().st_size:
                found[shard] = entry.written
    return found


def _manifest(folder: str) -> Manifest | None:
    if not is_url(folder):
        return Manifest.load(Path(folder))
    from capivara_cli.shards.remote_inputs import load_manifest  # imports network libraries

    try:
        return load_manifest(folder)
    except (CapivaraError, OSError):
        return None  # another program made the folder
