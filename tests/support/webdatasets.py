"""Webdatasets as CLIP_benchmark lays them out, made by Python's own tarfile."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from pathlib import Path

from support.made import jpeg

Member = tuple[str, dict[str, bytes]]


def write_webdataset(root: Path, split: str, shards: Sequence[Sequence[Member]]) -> Path:
    """``ROOT/split/0.tar`` …: for each (key, members) a JPEG and these members; with ``split`` "" directly in ROOT."""
    folder = root / split
    folder.mkdir(parents=True, exist_ok=True)
    for number, samples in enumerate(shards):
        with tarfile.open(folder / f"{number}.tar", "w") as archive:
            for place, (key, members) in enumerate(samples):
                for suffix, data in {"jpg": jpeg((place, number, 0), (8, 8)), **members}.items():
                    entry = tarfile.TarInfo(f"{key}.{suffix}")
                    entry.size = len(data)
                    archive.addfile(entry, io.BytesIO(data))
    (folder / "nshards.txt").write_text(f"{len(shards)}\n")
    return root
