"""Shards: samples in tar files and streams, and what a folder of them holds."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, cast

from capivara_cli.errors import CapivaraError, TruncatedInput
from capivara_cli.shards.sample import Sample, encode_json
from capivara_cli.shards.tar import TarReader, TarWriter, shown
from capivara_cli.storage.files import naming, replace_text
from capivara_cli.urls import is_url, public_url

Stream = Iterator[Sample]
History = list[dict[str, Any]]
"""The steps that made a stream, oldest first: {"step", "options", "version"}."""

MANIFEST = "manifest.jsonl"
_BUFFER = 1 << 20
_LOCAL_BUFFER = 1 << 16  # what fits a cache is read a tenth faster than a mebibyte

MAX_SAMPLE = 2 << 30
MAX_MEMBERS = 10_000
"""The largest sample accepted, in bytes and members: it is held in memory, and a tar may call all it has one sample."""
MAX_NAME = 1 << 16
"""The longest name of a member accepted: much more than a file system takes, less than our own header of it."""


class ShardReader:
    """The samples of one stream; ``history`` is known at once, ``notes`` counts what was passed over.

    Consecutive members with the same key are one sample; the key ends at the first dot of the base name, as in
    WebDataset. A member that repeats a suffix of its own sample cannot be told from the first one by any reader:
    it and what follows under that key is kept out and counted as "duplicate key". Raises ``CapivaraError`` for a
    sample that would not fit into memory.
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
        stem = "/"  # what the names of this sample start with, as far as is known: no name starts with a slash
        members: dict[str, bytes] = {}
        room = MAX_SAMPLE
        doubled = False
        for name, data in self._tar:
            if not name.startswith(stem) or "/" in (suffix := name[len(stem) :]):
                found, suffix = split_name(name)
                if found != key:
                    if key is not None:
                        yield Sample(key, members)
                    key, members, room, doubled = found, {}, MAX_SAMPLE, False
                stem = f"{found}." if suffix else "/"
            if suffix in members and not doubled:
                self.duplicates += 1
                doubled = True
            if not doubled:
                members[suffix] = data
                room -= len(data)
                if room < 0 or len(members) > MAX_MEMBERS or len(name) > MAX_NAME:
                    raise oversized(self.name, name, key)
        if key is not None:
            yield Sample(key, members)


def oversized(source: str, name: str, key: str | None) -> CapivaraError:
    """What is said of a sample that would not fit into memory, or of a member whose name is too long."""
    if len(name) > MAX_NAME:
        return CapivaraError(f"{source}: refused member {shown(name)}: its name has more than {MAX_NAME:,} letters")
    return CapivaraError(
        f"{source}: sample {shown(key or '')} has more than {MAX_MEMBERS:,} members or {MAX_SAMPLE >> 30} GiB",
        "members with the same name up to the first dot are one sample: rename them where they are not",
    )


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
    except (ValueError, KeyError, TypeError, RecursionError):
        return []
    return [step for step in steps if isinstance(step, dict)] if isinstance(steps, list) else []


@contextlib.contextmanager
def reading(source: str) -> Iterator[ShardReader]:
    """Open a shard by path, URL or ``-`` (standard input) and read its head."""
    with open_source(source) as stream:
        name = "standard input" if source == "-" else public_url(source)
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
    elif is_url(source):
        from capivara_cli.storage.remote.read import opened  # the network's libraries, for those who need them

        with opened(source) as remote, _unpacked(remote) as stream:
            yield stream
    else:
        with cast(BufferedReader, open(source, "rb", buffering=_LOCAL_BUFFER)) as file, _unpacked(file) as stream:
            yield stream


@contextlib.contextmanager
def _unpacked(file: BufferedReader) -> Iterator[BinaryIO]:
    """The same bytes, or what gzip made them from."""
    if file.peek(2)[:2] != b"\x1f\x8b":
        yield file
        return
    import gzip

    with gzip.open(file) as plain:
        yield cast(BinaryIO, plain)


def enlarge_pipe(descriptor: int) -> None:
    """Give a pipe a 1 MiB buffer: worth 1.2 to 3 times the speed of a chain of stages (Linux; elsewhere a no-op)."""
    if sys.platform == "linux":
        import fcntl

        with contextlib.suppress(OSError):  # not a pipe, or the user's pipe quota is spent
            fcntl.fcntl(descriptor, 1031, _BUFFER)  # F_SETPIPE_SZ, a name only since Python 3.10 on some builds


@dataclass
class Manifest:
    """What a folder of shards is: the plan that makes it, and one line for each shard that is finished.

    ``manifest.jsonl``, first line {"plan", "fingerprint", "shards"} (``shards``: how many there will be, null while
    unknown), then {"shard", "input", "read", "written", "dropped", …}. No clock and no machine in it: two runs of the
    same plan write the same manifest. While several processes fill a folder each has a log of its own beside it,
    ``.manifest.jsonl.log-…``, whose lines count as the manifest's; they are gone when the folder is complete.
    """

    folder: Path
    plan: History
    fingerprint: str
    shards: int | None
    done: dict[str, dict[str, Any]] = field(default_factory=dict)
    file: str = MANIFEST

    @property
    def complete(self) -> bool:
        return self.shards is not None and len(self.done) >= self.shards

    @classmethod
    def load(
        cls, folder: Path, file: str = MANIFEST, inputs: Mapping[str, dict[str, Any]] | None = None
    ) -> Manifest | None:
        """The manifest of a folder, None when it has none. A line torn by a kill counts as not written.

        Of several lines about a shard the last counts, but one that was made from what ``inputs`` has for it (its
        name -> what identifies the input) stands against others.
        """
        logged = [line for log in logs_of(folder, file) for line in _parse_lines(log)]
        path = folder / file  # read after the logs: one that is gone by now is in it
        if not path.is_file():
            return None
        lines = _parse_lines(path)
        if not lines or not _is_head(lines[0]):
            raise CapivaraError(f"{path}: damaged: its first line names no plan", "delete the folder and make it again")
        head, *rest = lines
        done: dict[str, dict[str, Any]] = {}
        for line in (line for line in [*rest, *logged] if _is_shard(line)):
            name, known = line["shard"], done.get(line["shard"])
            wanted = (inputs or {}).get(name)
            if known is None or wanted is None or known.get("input") != wanted or line.get("input") == wanted:
                done[name] = line
        return cls(folder, head["plan"], head["fingerprint"], head["shards"], done, file)

    def save(self) -> None:
        """Write all of it, all or nothing."""
        replace_text(self.folder / self.file, self.text())

    def text(self) -> str:
        """What ``save`` writes."""
        head = {"plan": self.plan, "fingerprint": self.fingerprint, "shards": self.shards}
        return "".join(_line(entry) for entry in [head, *self.done.values()])

    def finish(self, entry: dict[str, Any], log: Path | None = None) -> None:
        """Record one finished shard, durably, after its file has its final name; where others write, in a log."""
        self.done[entry["shard"]] = entry
        path = log or self.folder / self.file
        with naming(path), open(path, "ab") as out:
            out.write(_line(entry).encode())
            out.flush()
            os.fsync(out.fileno())


def logs_of(folder: Path, file: str = MANIFEST) -> list[Path]:
    """The logs of the processes that fill a folder, or filled it and were killed."""
    return sorted(folder.glob(f".{file}.log-*"))


def _is_head(line: dict[str, Any]) -> bool:
    """Whether a line of a manifest says what makes the folder."""
    plan, shards = line.get("plan"), line.get("shards", "")
    steps = isinstance(plan, list) and all(isinstance(step, dict) for step in plan)
    return steps and isinstance(line.get("fingerprint"), str) and (shards is None or type(shards) is int)


def _is_shard(line: dict[str, Any]) -> bool:
    """Whether a line of a manifest is about a finished shard."""
    return isinstance(line.get("shard"), str)


def _line(entry: dict[str, Any]) -> str:
    return encode_json(entry).decode() + "\n"


def _parse_lines(path: Path) -> list[dict[str, Any]]:
    try:
        text = path.read_bytes()
    except FileNotFoundError:  # a log that was there a moment ago
        return []
    return [parsed for line in text.split(b"\n") if (parsed := _parse_line(line)) is not None]


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
        if text.startswith("pipe:"):
            raise CapivaraError("pipe: runs a shell command, and is not read", "COMMAND | capivara … -")
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
    if manifest is not None and (gone := manifest.done.keys() - {Path(shard).name for shard in shards}):
        raise CapivaraError(
            f"{folder}: incomplete: {min(gone)} is gone, which its manifest.jsonl has as finished",
            "run the command that makes it again, it makes what is missing",
        )
    if not shards:
        raise CapivaraError(
            f"{folder}: no .tar shards in this folder",
            f"for a folder of images: capivara pack {folder} --out shards",
        )
    return shards
