"""Shards: samples in tar files and streams, files that appear only when complete, and what a folder of them holds."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import sys
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, cast

from capivara_cli.errors import CapivaraError, TruncatedInput
from capivara_cli.sample import Sample
from capivara_cli.tar import TarReader, TarWriter

Stream = Iterator[Sample]
History = list[dict[str, Any]]
"""The steps that made a stream, oldest first: {"step", "options", "version"}."""

MANIFEST = "manifest.jsonl"
_BUFFER = 1 << 20
FULL = (errno.ENOSPC, errno.EDQUOT)
"""What the system answers when there is no room for what is written."""


class ShardReader:
    """The samples of one stream; ``history`` is known at once, ``notes`` counts what was passed over.

    Consecutive members with the same key are one sample; the key ends at the first dot of the base name, as in
    WebDataset. A member that repeats a suffix of its own sample cannot be told from the first one by any reader:
    it and what follows under that key is kept out and counted as "duplicate key".
    """

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._tar = TarReader(stream, name)
        self.name = name
        self.history = _decode_history(self._tar.comment)
        self.duplicates = 0

    @property
    def ignored(self) -> Counter[str]:
        """Members that are not regular files, by kind."""
        return self._tar.ignored

    def __iter__(self) -> Stream:
        key: str | None = None
        members: dict[str, bytes] = {}
        doubled = False
        for name, data in self._tar:
            found, suffix = split_name(name)
            if found != key:
                if key is not None:
                    yield Sample(key, members)
                key, members, doubled = found, {}, False
            if suffix in members and not doubled:
                self.duplicates += 1
                doubled = True
            if not doubled:
                members[suffix] = data
        if key is not None:
            yield Sample(key, members)


def split_name(name: str) -> tuple[str, str]:
    """``dir/a.b.txt`` -> (``dir/a``, ``b.txt``): the key ends at the first dot of the base name."""
    folder, slash, base = name.rpartition("/")
    stem, dot, suffix = base.partition(".")
    if not stem or not dot:  # ".hidden" and "README": no suffix, and still not lost
        return name, ""
    return folder + slash + stem, suffix


class ShardWriter:
    """Writes samples to a binary stream, led by the history of the steps that made them."""

    def __init__(self, out: BinaryIO, history: History) -> None:
        self._tar = TarWriter(out, _encode_history(history))
        self.written = 0

    def write(self, sample: Sample) -> None:
        for suffix, data in sample.members.items():
            self._tar.add(f"{sample.key}.{suffix}" if suffix else sample.key, data)
        self.written += 1

    def finish(self) -> None:
        self._tar.finish()


def _encode_history(history: History) -> str:
    return json.dumps({"capivara": history}, ensure_ascii=False)


def _decode_history(comment: str) -> History:
    """The history in a leading comment; empty for tars that others wrote."""
    try:
        steps = json.loads(comment)["capivara"]
    except (ValueError, KeyError, TypeError):
        return []
    return [step for step in steps if isinstance(step, dict)] if isinstance(steps, list) else []


@contextlib.contextmanager
def reading(source: str) -> Iterator[ShardReader]:
    """Open a shard by path, URL or ``-`` (standard input) and read its head."""
    with open_source(source) as stream:
        name = "standard input" if source == "-" else source
        try:
            yield ShardReader(stream, name)
        except (EOFError, zlib.error) as error:
            raise TruncatedInput(f"{name}: the compressed stream is damaged or cut off: {error}") from error


@contextlib.contextmanager
def open_source(source: str) -> Iterator[BinaryIO]:
    """Bytes of a path, URL or ``-``; gzip is undone. Raises ``CapivaraError`` when it cannot be opened."""
    if source == "-":
        enlarge_pipe(0)
        with open(0, "rb", buffering=_BUFFER, closefd=False) as stream:
            yield stream
    elif "://" in source:
        import fsspec

        try:
            opened = fsspec.open(source, "rb", compression="infer").open()
        except (OSError, ValueError, ImportError) as error:
            raise CapivaraError(f"{source}: cannot be opened: {error}") from error
        with opened as stream:
            yield cast(BinaryIO, stream)
    else:
        with cast(BufferedReader, open(source, "rb", buffering=_BUFFER)) as file:
            if file.peek(2)[:2] == b"\x1f\x8b":
                import gzip

                with gzip.open(file) as plain:
                    yield cast(BinaryIO, plain)
            else:
                yield file


def enlarge_pipe(descriptor: int) -> None:
    """Give a pipe a 1 MiB buffer: worth 1.2 to 3 times the speed of a chain of stages (Linux; elsewhere a no-op)."""
    if sys.platform == "linux":
        import fcntl

        with contextlib.suppress(OSError):  # not a pipe, or the user's pipe quota is spent
            fcntl.fcntl(descriptor, 1031, _BUFFER)  # F_SETPIPE_SZ, a name only since Python 3.10 on some builds


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Write a file all or nothing: a temporary beside it, fsync, rename; on any error nothing is left."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_of(path)
    try:
        with open(partial, "wb", buffering=_BUFFER) as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        partial.replace(path)
    except BaseException as error:
        partial.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in FULL and error.filename is None:
            error.filename = str(path)  # a write says what is wrong, but not of which file
        raise


def partial_of(path: Path) -> Path:
    """A temporary beside a path, named so that ``sweep`` knows whose it is."""
    return path.with_name(f".{path.name}.partial-{_host()}-{os.getpid()}-{os.urandom(3).hex()}")


def replace_text(path: Path, text: str) -> None:
    """Write a small text file all or nothing."""
    with replacing(path) as out:
        out.write(text.encode())


def sweep(folder: Path) -> None:
    """Remove temporaries that killed processes of this machine left in a folder."""
    for partial in folder.glob(f".*.partial-{_host()}-*"):
        process = partial.name.rsplit("-", 2)[1]
        if process.isdigit() and _alive(int(process)):
            continue
        if partial.is_dir():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            partial.unlink(missing_ok=True)


def _host() -> str:
    return os.uname().nodename


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@dataclass
class Manifest:
    """What a folder of shards is: the plan that makes it, and one line for each shard that is finished.

    ``manifest.jsonl``, first line {"plan", "fingerprint", "shards"} (``shards``: how many there will be, null while
    unknown), then {"shard", "input", "read", "written", "dropped", …}. No clock and no machine in it: two runs of the
    same plan write the same manifest.
    """

    folder: Path
    plan: History
    fingerprint: str
    shards: int | None
    done: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        return self.shards is not None and len(self.done) >= self.shards

    @classmethod
    def load(cls, folder: Path) -> Manifest | None:
        """The manifest of a folder, None when it has none. A line torn by a kill counts as not written."""
        path = folder / MANIFEST
        if not path.is_file():
            return None
        lines = [parsed for line in path.read_bytes().split(b"\n") if (parsed := _parse_line(line)) is not None]
        if not lines or not {"plan", "fingerprint", "shards"} <= lines[0].keys():
            raise CapivaraError(f"{path}: damaged: its first line names no plan", "delete the folder and make it again")
        head, *rest = lines
        done = {line["shard"]: line for line in rest if "shard" in line}
        return cls(folder, head["plan"], head["fingerprint"], head["shards"], done)

    def save(self) -> None:
        """Write all of it, all or nothing."""
        head = {"plan": self.plan, "fingerprint": self.fingerprint, "shards": self.shards}
        lines = [head, *self.done.values()]
        replace_text(self.folder / MANIFEST, "".join(_line(entry) for entry in lines))

    def finish(self, entry: dict[str, Any]) -> None:
        """Record one finished shard, durably, after its file has its final name."""
        self.done[entry["shard"]] = entry
        with open(self.folder / MANIFEST, "ab") as out:
            out.write(_line(entry).encode())
            out.flush()
            os.fsync(out.fileno())


def _line(entry: dict[str, Any]) -> str:
    return json.dumps(entry, ensure_ascii=False) + "\n"


def _parse_line(line: bytes) -> dict[str, Any] | None:
    try:
        parsed = json.loads(line)
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


def find_shards(inputs: Sequence[str]) -> list[str]:
    """Folders, tar files, brace patterns, globs, URLs and ``-`` -> the shards they name, in order.

    Raises ``CapivaraError`` for what does not exist, for a folder without shards, and for a folder that a stage of
    ours has begun and not finished: half a data set must not pass for a whole one.
    """
    found: list[str] = []
    for text in inputs:
        for pattern in _expand_braces(text):
            found += _shards_of(pattern)
    return found


def _expand_braces(text: str) -> list[str]:
    if "{" not in text:
        return [text]
    from braceexpand import braceexpand

    try:
        return list(braceexpand(text))
    except ValueError as error:
        raise CapivaraError(f"{text}: unbalanced braces") from error


def _shards_of(pattern: str) -> list[str]:
    if pattern == "-" or "://" in pattern:
        return [pattern]
    path = Path(pattern)
    if path.is_dir():
        return _shards_in(path)
    if path.exists():
        return [pattern]
    if any(mark in pattern for mark in "*?["):
        import glob

        if matches := sorted(glob.glob(pattern)):  # noqa: PTH207  Path.glob takes no absolute pattern
            return [shard for match in matches for shard in _shards_of(match)]
        raise CapivaraError(f"{pattern}: nothing matches")
    raise CapivaraError(
        f"{pattern}: no such file or folder", "make shards from your images with: capivara pack PHOTOS --out shards"
    )


def _shards_in(folder: Path) -> list[str]:
    manifest = Manifest.load(folder)
    if manifest is not None and not manifest.complete:
        total = "an unknown number of" if manifest.shards is None else manifest.shards
        names = " | ".join(step.get("step", "?") for step in manifest.plan)
        raise CapivaraError(
            f"{folder}: unfinished: {len(manifest.done)} of {total} shards are there",
            f"run the command that makes it again, it goes on where it stopped ({names})",
        )
    shards = sorted(str(path) for path in folder.glob("*.tar") if not path.name.startswith("."))
    if not shards:
        raise CapivaraError(
            f"{folder}: no .tar shards in this folder",
            f"for a folder of images: capivara pack {folder} --out shards",
        )
    return shards
