"""Download files of eval sets into the cache folder. A file is complete and checked, or there is an error."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from capivara_cli import console
from capivara_cli.errors import CapivaraError
from capivara_cli.evaluation.sets._files import checksum
from capivara_cli.models.hub import MissingFiles
from capivara_cli.storage import cache
from capivara_cli.storage.files import replacing, replacing_folder, sweep

GITHUB = "https://raw.githubusercontent.com"


@dataclass(frozen=True)
class Remote:
    """One file on the web. ``what`` and ``size`` are for messages; ``sha256`` is "" if it is unknown."""

    url: str
    what: str
    size: str = ""
    sha256: str = ""


def folder(name: str) -> Path:
    """The folder for the downloads of the set ``name``; it may not exist yet."""
    return cache.folder() / "evalsets" / name


def fetch(remote: Remote, path: Path, layout: str) -> Path:
    """Download the file to ``path`` unless it exists; returns ``path``.

    Raises ``CapivaraError`` with the hint ``layout`` if the download fails, or the file has another checksum.
    """
    if path.is_file():
        return path
    _check_online(remote, path, layout)
    console.say(f"downloading {remote.what}{_size(remote)} from {remote.url}")
    path.parent.mkdir(parents=True, exist_ok=True)
    sweep(path.parent)
    digest = hashlib.sha256()
    with replacing(path) as out:
        for block in _blocks(remote, path, layout):
            out.write(block)
            digest.update(block)
        if remote.sha256 and digest.hexdigest() != remote.sha256:
            found = f"its sha256 is {digest.hexdigest()}, not {remote.sha256}"
            raise CapivaraError(f"{remote.url}: not the expected file: {found}", layout)
    return path


def unpack(remote: Remote, path: Path, layout: str) -> Path:
    """Download and unpack a tar.gz archive into the folder ``path`` unless it exists; returns ``path``.

    All files are directly in that folder. Raises ``CapivaraError`` as ``fetch``, and for a damaged archive.
    """
    if path.is_dir():
        return path
    packed = fetch(remote, path.with_name(f"{path.name}.tar.gz"), layout)
    try:
        with replacing_folder(path) as partial, gzip.open(packed) as plain:
            _extract(plain, partial)
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error) as error:
        packed.unlink()
        raise CapivaraError(f"{remote.url}: not a tar archive, or damaged: {error}", layout) from error
    packed.unlink()
    return path


def _extract(plain: gzip.GzipFile, into: Path) -> None:
    with tarfile.open(fileobj=plain, mode="r|") as archive:
        for member in archive:
            name = PurePosixPath(member.name).name
            source = archive.extractfile(member) if member.isfile() and not name.startswith(".") else None
            if source is not None:
                with source, open(into / name, "wb") as out:
                    shutil.copyfileobj(source, out)
    while plain.read(1 << 20):  # to the end, where gzip has its checksum
        pass


def _size(remote: Remote) -> str:
    return f" ({remote.size})" if remote.size else ""


def _check_online(remote: Remote, path: Path, layout: str) -> None:
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:  # this variable means "no network" for all downloads, not only from the hub
        raise _missing(remote, path, "HF_HUB_OFFLINE is set and the local cache does not have them", layout)


def _blocks(remote: Remote, path: Path, layout: str) -> Iterator[bytes]:
    """The bytes of a file. A broken connection is resumed; an unreachable server is an error at once."""
    from capivara_cli.storage.network_errors import error_line, network_errors
    from capivara_cli.storage.remote.read import WebFile, contents
    from capivara_cli.storage.retry import HttpStatus

    file = WebFile(remote.url)
    try:
        file.version()
        yield from contents(remote.url, file)
    except HttpStatus as error:
        raise _missing(remote, path, str(error), layout) from error
    except network_errors() as error:
        raise _missing(remote, path, f"the download failed: {error_line(error)}", layout) from error
    except CapivaraError as error:
        raise _missing(remote, path, f"the download failed: {error.message}", layout) from error


def _missing(remote: Remote, path: Path, why: str, layout: str) -> MissingFiles:
    by_hand = f"or download {remote.url} on another machine and save it as {path}"
    return MissingFiles(f"{remote.what}{_size(remote)} are needed, but {why}", f"{layout}\n{by_hand}")


@dataclass(frozen=True)
class Repository:
    """Annotation files in a public Git repository at one commit.

    ``root``: a folder that every clone has. ``sha256``: file name -> checksum, for files whose checksum is known.
    """

    name: str  # "multi30k/dataset"
    commit: str
    root: str
    what: str
    size: str = ""
    sha256: Mapping[str, str] = field(default_factory=dict)


class Annotations:
    """The files of a repository, from a clone in the folder of ``--data`` or downloaded one by one.

    ``checksums``: those of the files that were read so far. Raises ``CapivaraError`` if the folder does not exist.
    """

    def __init__(self, repository: Repository, data: str, layout: str) -> None:
        if data and not Path(data).is_dir():
            raise CapivaraError(f"{data}: no such folder", layout)
        self._repository = repository
        self._layout = layout
        self._clone = Path(data) if data and (Path(data) / repository.root).is_dir() else None
        self.checksums: dict[str, str] = {}

    @property
    def obtained(self) -> str:
        """The origin of the files, for results."""
        if self._clone is not None:
            return f"local copy in {self._clone}"
        return f"downloaded from github.com/{self._repository.name}@{self._repository.commit}"

    def path(self, name: str) -> Path:
        """The local path of a file of the repository. Raises ``CapivaraError`` if it is not available."""
        path = self._downloaded(name) if self._clone is None else self._clone / name
        if not path.is_file():
            raise CapivaraError(f"{self._clone}: has no {name}", self._layout)
        self.checksums[name] = checksum(path)
        return path

    def _downloaded(self, name: str) -> Path:
        own = self._repository
        url = f"{GITHUB}/{own.name}/{own.commit}/{name}"
        remote = Remote(url, own.what, own.size, own.sha256.get(name, ""))
        return fetch(remote, folder(own.name.replace("/", "--")) / own.commit[:12] / name, self._layout)
