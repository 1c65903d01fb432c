"""Tars as other programs write them: made by Python's tarfile, without our comment."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path


def foreign_tar(members: Mapping[str, bytes] | Iterable[tuple[str, bytes]], gz: bool = False) -> bytes:
    """A tar with these members in their order."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz" if gz else "w") as tar:
        for name, data in members.items() if isinstance(members, Mapping) else members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()


def write_foreign(path: Path, members: Mapping[str, bytes] | Iterable[tuple[str, bytes]]) -> Path:
    """Write such a tar; it is compressed if the name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(foreign_tar(members, path.name.endswith("gz")))
    return path
