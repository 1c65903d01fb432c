"""List the shards of the inputs of a command: folders, tar files, brace patterns, globs, URLs and standard input."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from capivara_cli.errors import CapivaraError
from capivara_cli.shards.manifest import Manifest
from capivara_cli.shards.names import is_shard_name, plain_name
from capivara_cli.shards.sample import has_image_suffix
from capivara_cli.storage.files import PIPE, special_kind
from capivara_cli.urls import is_url, public_url

SOURCE_SUFFIXES = frozenset({".csv", ".tsv", ".tab", ".jsonl", ".ndjson", ".json", ".parquet", ".txt"})
"""The suffixes of tables and texts, which are no shards."""


def find_shards(inputs: Sequence[str]) -> list[str]:
    """The paths and URLs of the shards that the inputs name, in order; ``-`` stays ``-``.

    Raises ``CapivaraError`` if an input does not exist or cannot be read, if a folder has no shards, or if a stage has
    not finished a folder: part of a data set must not be taken for all of it.
    """
    found: list[str] = []
    for text in inputs:
        if text.startswith("pipe:"):
            raise CapivaraError("pipe: inputs run shell commands and are not supported", "COMMAND | capivara … -")
        for pattern in expand_braces(text):
            found += _shards_of(pattern)
    for shard in found:
        if shard != "-" and not is_url(shard):
            _check_readable(shard)
    return found


def local_paths(text: str) -> list[Path]:
    """The files and folders of this machine that an input names and that exist, without a look into folders.

    A text that names none gives none: it may be the name of an eval set, or a sentence.
    """
    if text == "-" or is_url(text):
        return []
    if os.path.exists(text):  # noqa: PTH110  Path.exists raises an error for a sentence that is too long for a name
        return [Path(text)]
    if not any(mark in text for mark in "*?[{"):
        return []
    import glob

    try:
        patterns = expand_braces(text)
    except CapivaraError:
        return []
    return [Path(match) for pattern in patterns for match in glob.glob(pattern)]  # noqa: PTH207  as in _shards_of


def _check_readable(shard: str) -> None:
    """Raise ``CapivaraError`` for a shard that cannot be opened, before any other one is processed.

    A pipe can be read: ``<(gunzip -c a.tar.gz)`` gives one.
    """
    path = Path(shard)
    if (kind := special_kind(path)) and kind != PIPE:
        raise CapivaraError(f"{shard}: is {kind}, not a file", "name a tar file, or - for standard input")
    if path.is_symlink() and not path.exists():
        raise CapivaraError(f"{shard}: is a link to a file that does not exist", "mend the link, or remove it")
    if path.is_dir():
        raise CapivaraError(f"{shard}: is a folder with the name of a shard", "rename it")
    if not os.access(shard, os.R_OK):
        raise CapivaraError(f"{shard}: cannot be read: permission denied", "chmod u+r makes a file of yours readable")


def expand_braces(text: str) -> list[str]:
    """The texts that a brace pattern stands for. Raises ``CapivaraError`` for braces that do not match."""
    if "{" not in text:
        return [text]
    from braceexpand import braceexpand

    try:
        return list(braceexpand(text))
    except ValueError as error:
        raise CapivaraError(f"{public_url(text)}: unbalanced braces") from error


def _shards_of(pattern: str) -> list[str]:
    if pattern == "-":
        return [pattern]
    if is_url(pattern):
        from capivara_cli.shards.remote_inputs import shards_of

        return shards_of(pattern)
    path = Path(pattern)
    if path.is_dir():
        return _shards_in(path)
    if path.exists():
        _check_no_source(path)
        return [pattern]
    if any(mark in pattern for mark in "*?["):
        import glob

        if matches := sorted(glob.glob(pattern)):  # noqa: PTH207  Path.glob takes no absolute pattern
            for match in matches:
                _check_no_pipe(match)
            return [shard for match in matches for shard in _shards_of(match)]
        raise CapivaraError(f"{pattern}: nothing matches")
    raise CapivaraError(
        f"{pattern}: no such file or folder", "make shards from your images with: capivara pack PHOTOS --out shards"
    )


def _check_no_pipe(path: str) -> None:
    """Raise ``CapivaraError`` for a pipe that no input names itself: it may have no writer, or was read before."""
    if kind := special_kind(path):
        hint = f"remove it, or name it alone to read it as a stream: {path}" if kind == PIPE else "remove it"
        raise CapivaraError(f"{path}: is {kind}, not a file", hint)


def _check_no_source(path: Path) -> None:
    """Raise ``CapivaraError`` for a table or an image, which ``pack`` makes shards of."""
    if (path.suffix.lower() not in SOURCE_SUFFIXES and not has_image_suffix(path)) or not path.is_file():
        return
    with open(path, "rb") as file:
        if file.read(262)[257:] == b"ustar":
            return
    source = path.parent if has_image_suffix(path) else path
    raise CapivaraError(f"{path}: not a shard", f"make shards of it first: capivara pack {source} --out shards")


def _shards_in(folder: Path) -> list[str]:
    manifest = Manifest.load(folder)
    if manifest is not None:
        manifest.check_complete(str(folder))
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if is_shard_name(entry.name)]
            shards = sorted(str(folder / entry.name) for entry in found)
            others = sorted(str(folder / entry.name) for entry in found if not _is_file(entry))
    except OSError as error:
        raise CapivaraError(f"{folder}: cannot be read: {error.strerror}") from error
    for path in others:
        _check_no_pipe(path)
    if manifest is not None and (missing := manifest.done.keys() - {Path(shard).name for shard in shards}):
        raise CapivaraError(
            f"{folder}: incomplete: {min(missing)} is missing, which its manifest.jsonl lists as finished",
            "run the command that makes it again: it makes only the missing shards",
        )
    _check_sizes(folder, manifest)
    if not shards:
        raise CapivaraError(
            f"{folder}: no .tar shards in this folder",
            f"for a folder of images: capivara pack {folder} --out shards",
        )
    check_distinct(shards, str(folder))
    return shards


def _is_file(entry: os.DirEntry[str]) -> bool:
    """Whether an entry of a folder is a file, without a request to the file system. False for a broken link."""
    try:
        return entry.is_file()
    except OSError:
        return False


def _check_sizes(folder: Path, manifest: Manifest | None) -> None:
    """Raise ``CapivaraError`` for a shard of another size than the manifest says."""
    for entry in manifest.done.values() if manifest is not None else ():
        size = (folder / entry.shard).stat().st_size
        if entry.size not in (None, size):
            raise CapivaraError(
                f"{folder}: damaged: {entry.shard} has {size:,} bytes, {entry.size:,} by its manifest.jsonl",
                "run the command that makes it again: it makes only the damaged shards",
            )


def check_distinct(shards: Sequence[str], folder: str) -> None:
    """Raise ``CapivaraError`` if a folder has the same shard twice, compressed and not: its samples would be too."""
    counts = Counter(map(plain_name, shards))
    twice = [Path(shard).name for shard in shards if counts[plain_name(shard)] > 1]
    if twice:
        raise CapivaraError(
            f"{folder}: has {twice[0]} and {twice[1]}, which look like the same shard",
            f"remove one of them, or name the shards: {folder}/*.tar",
        )
