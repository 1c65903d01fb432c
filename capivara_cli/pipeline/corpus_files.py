"""The surveys and decisions of a corpus stage in its folder: written with their digests, and verified when loaded."""

from __future__ import annotations

import contextlib
import io
import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capivara_cli.errors import CapivaraError
from capivara_cli.pipeline.output_folder import OutputFolder
from capivara_cli.pipeline.stage import Arrays, SurveyedShard
from capivara_cli.shards.recorded import DamagedShard
from capivara_cli.storage.claims import Claim
from capivara_cli.storage.digests import digest_of_bytes
from capivara_cli.storage.files import replacing

DECIDED = "decided"
"""The file that names the digest of every decision. It appears when all are written."""


class DamagedWork(CapivaraError):
    """A file that an earlier pass made is missing or damaged. It has been deleted, so it will be made again."""

    def __init__(self, folder: OutputFolder, name: str) -> None:
        place = f"{folder.store.display_name}/{name}"
        super().__init__(f"{place}: damaged: it is made again", "run the same command again")


@dataclass(frozen=True)
class SavedFile:
    """The size in bytes and the digest of a written file."""

    size: int
    digest: str


@dataclass(frozen=True)
class Surveyed:
    """The folders with the surveys of all shards and with the decisions about them."""

    surveys: OutputFolder
    decisions: OutputFolder

    def of(self, name: str) -> SurveyedShard:
        """The survey and decision of a shard. Raises ``DamagedWork``."""
        return SurveyedShard(load_survey(self.surveys, name), _load_decision(self.decisions, name))


def survey_name(shard: str) -> str:
    return f"{shard}.survey.npz"


def decision_name(shard: str) -> str:
    return f"{shard}.decision.npz"


def save_arrays(path: Path, arrays: Arrays, claim: Claim) -> SavedFile:
    """Write named arrays, all or nothing. Raises ``RuntimeError`` for arrays of objects, which would need pickle."""
    import numpy as np

    stored: dict[str, Any] = {name: np.asarray(array) for name, array in arrays.items()}
    for name, array in stored.items():
        if array.dtype.hasobject:
            raise RuntimeError(f"{name}: arrays of Python objects cannot be stored")
    data = io.BytesIO()  # numpy writes an archive back and forth, so its digest is that of the whole
    np.savez(data, **stored)
    with replacing(path) as out:
        out.write(data.getbuffer())
        claim.confirm()
    return SavedFile(data.tell(), digest_of_bytes(data.getvalue()))


def save_decided(path: Path, digests: Mapping[str, str]) -> SavedFile:
    """Write the digest of the decision about each shard."""
    text = json.dumps(digests, indent=1).encode() + b"\n"
    with replacing(path) as out:
        out.write(text)
    return SavedFile(len(text), digest_of_bytes(text))


def load_survey(folder: OutputFolder, shard: str) -> Arrays:
    """The survey of a shard. Raises ``DamagedWork``."""
    name = survey_name(shard)
    try:
        return _arrays(folder, name, folder.entry(name).digest)
    except _UNREADABLE as error:
        folder.discard(name)
        raise DamagedWork(folder, name) from error


def _load_decision(folder: OutputFolder, shard: str) -> Arrays:
    name, damaged = decision_name(shard), DECIDED
    try:
        digests = json.loads(_content(folder, DECIDED, folder.entry(DECIDED).digest))
        digest, damaged = digests[shard], name
        return _arrays(folder, name, digest)
    except _UNREADABLE as error:
        folder.discard(DECIDED)  # all decisions are made at once
        raise DamagedWork(folder, damaged) from error


_UNREADABLE = (ValueError, KeyError, TypeError, EOFError, FileNotFoundError, IsADirectoryError, zipfile.BadZipFile)
"""What reading a damaged file raises if its digest is not known."""


def _arrays(folder: OutputFolder, name: str, digest: str | None) -> Arrays:
    import numpy as np

    with np.load(io.BytesIO(_content(folder, name, digest)), allow_pickle=False) as arrays:
        return dict(arrays)


def _content(folder: OutputFolder, name: str, digest: str | None) -> bytes:
    """The content of a file. Raises ``ValueError`` if it has another digest."""
    with folder.store.opened(name) as file:
        data = file.read()
    if digest is not None and digest_of_bytes(data) != digest:
        raise ValueError("the digest differs")
    return data


@contextlib.contextmanager
def discarding(folder: OutputFolder | None, name: str) -> Iterator[None]:
    """Delete the shard ``name`` of an earlier pass, and raise ``DamagedWork``, if it is found damaged inside."""
    try:
        yield
    except DamagedShard as error:
        if folder is None:
            raise
        folder.discard(name)
        raise DamagedWork(folder, name) from error
