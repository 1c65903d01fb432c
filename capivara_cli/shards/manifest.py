"""The manifest of a folder of shards: the plan of the folder, and one line for each finished shard."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict, TypeGuard, cast

from capivara_cli.errors import CapivaraError
from capivara_cli.shards.history import History, step_names
from capivara_cli.shards.sample import encode_json
from capivara_cli.storage.files import named_in_errors, special_kind
from capivara_cli.storage.typed_json import KEY, from_json

MANIFEST = "manifest.jsonl"


class InputIdentity(TypedDict, total=False):
    """Distinguishes an input file from others of the same name. ``corpus`` is the digest of all inputs together."""

    name: str
    size: int
    mtime_ns: int
    etag: str
    modified: str
    corpus: str


class ManifestHead(TypedDict, total=False):
    """The first line of a manifest. ``shards`` is the final number of shards, None while it is unknown.

    ``files`` has the digest of each file that the plan depends on beside its shards, by the words for it in a message.
    """

    plan: History
    fingerprint: str
    files: dict[str, str]
    shards: int | None


@dataclass(frozen=True)
class StepCounts:
    """The number of samples of one shard that one step read, wrote, and dropped (by reason), and its other counts."""

    read: int
    written: int
    dropped: dict[str, int] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)
    failed: int | None = None

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> StepCounts:
        """The counts in a manifest. Raises ``ValueError`` if they are damaged."""
        return from_json(cls, given, "the counts of a step").checked()

    def checked(self) -> StepCounts:
        """The same counts. Raises ``ValueError`` for a negative one."""
        counts = (self.read, self.written, self.failed or 0, *self.dropped.values(), *self.notes.values())
        if min(counts) < 0:
            raise ValueError("a count is negative")
        return self

    def to_json(self) -> dict[str, object]:
        counts = {"read": self.read, "written": self.written, "dropped": dict(self.dropped), "notes": dict(self.notes)}
        return counts if self.failed is None else {**counts, "failed": self.failed}


@dataclass(frozen=True)
class ShardEntry:
    """A finished file of a folder: its name, its input, and the counts of the steps that made it.

    ``size`` is in bytes, ``digest`` that of the content (``storage.digests``); older versions did not write it. A shard
    made from a stream has no ``input`` and no ``steps``; a survey has no counts.
    """

    shard: str
    input: InputIdentity | None
    read: int | None = None
    written: int | None = None
    size: int | None = None
    digest: str | None = None
    steps: tuple[StepCounts, ...] | None = None

    @classmethod
    def from_json(cls, given: Any) -> ShardEntry:
        """The entry in one parsed line of a manifest. Raises ``ValueError`` if the line is no entry, or altered."""
        if not isinstance(given, dict):
            raise ValueError("not an object")
        line = from_json(_EntryLine, without_check(given), "a line of a manifest")
        if not is_plain_name(line.shard):
            raise ValueError(f"{line.shard!r} is not the name of a file")
        if min(each or 0 for each in (line.read, line.written, line.size)) < 0:
            raise ValueError("a number is negative")
        steps = None if line.steps is None else tuple(each.checked() for each in line.steps)
        identity = cast("InputIdentity | None", _checked_identity(given.get("input")))
        return cls(line.shard, identity, line.read, line.written, line.size, line.digest, steps)

    def to_json(self) -> dict[str, object]:
        known = {"read": self.read, "written": self.written, "bytes": self.size, "digest": self.digest}
        present = {key: value for key, value in known.items() if value is not None}
        steps = {} if self.steps is None else {"steps": [step.to_json() for step in self.steps]}
        return with_check({"shard": self.shard, "input": self.input, **present, **steps})

    @property
    def line(self) -> bytes:
        return _line(self.to_json())


@dataclass(frozen=True)
class _EntryLine:
    """The keys of a line for a finished file, but its input."""

    shard: str
    read: int | None = None
    written: int | None = None
    size: int | None = field(default=None, metadata={KEY: "bytes"})
    digest: str | None = None
    steps: tuple[StepCounts, ...] | None = None


@dataclass
class Manifest:
    """The plan of a folder, and the entry of each finished shard by file name.

    The first line of the file is a ``ManifestHead``, each other line a ``ShardEntry``. It has no times and no machine
    names, so two runs of a plan write the same manifest. While several processes fill a folder, each writes its own
    log, ``.manifest.jsonl.log-…``, whose lines count as lines of the manifest. The logs are removed when the folder is
    complete.
    """

    plan: History
    fingerprint: str
    shards: int | None
    done: dict[str, ShardEntry] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        return self.shards is not None and len(self.done) >= self.shards

    @property
    def steps(self) -> str:
        """The names of the steps, for a message."""
        return step_names(self.plan)

    @classmethod
    def parse(
        cls, text: bytes, more: Iterable[ShardEntry] = (), inputs: Mapping[str, InputIdentity | None] | None = None
    ) -> Manifest:
        """The manifest in ``text``, with the entries ``more`` at its end. Incomplete and damaged lines are ignored.

        If several entries name one shard, the last one counts. With ``inputs`` (shard name -> its present input), the
        last one for the present input counts, if there is one. Raises ``ValueError`` if the first line has no plan.
        """
        head, *rest = _parsed(text) or [{}]
        if not _is_head(head):
            raise ValueError("its first line has no plan")
        without_check(head)
        done: dict[str, ShardEntry] = {}
        for entry in [*_entries(rest), *more]:
            known, present = done.get(entry.shard), (inputs or {}).get(entry.shard)
            if known is None or present is None or known.input != present or entry.input == present:
                done[entry.shard] = entry
        return cls(head["plan"], head["fingerprint"], head["shards"], done, head.get("files", {}))

    @classmethod
    def load(
        cls, folder: Path, file: str = MANIFEST, inputs: Mapping[str, InputIdentity | None] | None = None
    ) -> Manifest | None:
        """The manifest of a local folder and its logs; None if there is none. ``inputs`` are those of ``parse``.

        Raises ``CapivaraError`` if it is damaged.
        """
        logged = [entry for log in logs_of(folder, file) for entry in _entries(_parsed(_content(log)))]
        path = folder / file  # read after the logs: the lines of a log that was removed meanwhile are in it
        if not path.is_file():
            return None
        try:
            return cls.parse(path.read_bytes(), logged, inputs)
        except ValueError as error:
            raise CapivaraError(f"{path}: damaged: {error}", "delete the folder and make it again") from None

    def text(self) -> bytes:
        files = {"files": self.files} if self.files else {}
        head = {"plan": self.plan, "fingerprint": self.fingerprint, **files, "shards": self.shards}
        return b"".join([_line(with_check(head)), *(entry.line for entry in self.done.values())])

    def check_complete(self, shown: str, finished: int = 0) -> None:
        """Raise ``CapivaraError`` if the folder is not finished.

        ``shown`` is the name of the folder in the message. ``finished`` counts shards that are recorded elsewhere.
        """
        if not self.complete:
            total = "an unknown number of" if self.shards is None else self.shards
            done = max(finished, len(self.done))
            resumes = ": it resumes" if done and self.shards is not None else ""  # a stream starts over
            raise CapivaraError(
                f"{shown}: unfinished: {done} of {total} shards are finished",
                f"run the command that makes it again{resumes} ({self.steps})",
            )


def append(path: Path, entry: ShardEntry) -> None:
    """Add a line to a manifest or log, and sync it to disk. The shard must already have its final name."""
    with named_in_errors(path), open(path, "ab") as out:
        out.write(entry.line)
        out.flush()
        os.fsync(out.fileno())


def logs_of(folder: Path, file: str = MANIFEST) -> list[Path]:
    """The logs of the processes that fill a folder or were killed while they filled it."""
    return sorted(folder.glob(f".{file}.log-*"))


def is_output_folder(folder: Path) -> bool:
    """Whether capivara filled a folder: with shards, or with a training run. ``pack`` does not read such folders."""
    if (folder / "run.json").is_file() and (folder / "metrics.jsonl").is_file():
        return True
    if special_kind(folder / MANIFEST):
        return False
    try:
        with open(folder / MANIFEST, "rb") as file:
            return file.read(9) == b'{"plan": '
    except OSError:
        return False


def with_check(line: Mapping[str, object]) -> dict[str, object]:
    """A line of a manifest with ``check``, the CRC-32 of its other keys and values, as its last key."""
    return {**line, "check": f"{zlib.crc32(encode_json(line)):08x}"}


def without_check(line: Mapping[str, object]) -> Mapping[str, object]:
    """A line without ``check``; older versions wrote none. Raises ``ValueError`` if the line does not fit to it."""
    rest = {key: value for key, value in line.items() if key != "check"}
    if "check" in line and with_check(rest)["check"] != line["check"]:
        raise ValueError("its first line was altered" if "plan" in line else "a line was altered")
    return rest


def is_plain_name(name: str) -> bool:
    """Whether a text is the name of a file in a folder, without a path to other folders."""
    return name not in ("", ".", "..") and "/" not in name and "\0" not in name


def _checked_identity(identity: Any) -> Any:
    """The ``input`` of a line. Raises ``ValueError`` if it is no ``InputIdentity``."""
    if identity is not None:
        numbers = {"size": int, "mtime_ns": int}
        for key, value in from_json(dict[str, object], identity, "'input'").items():
            if not isinstance(value, numbers.get(key, str)) or isinstance(value, bool):
                raise ValueError(f"{key!r} of 'input' is {value!r}")
        if "\0" in str(identity.get("name", "")):
            raise ValueError("'name' of 'input' has a zero byte")
    return identity


def _is_head(line: Mapping[str, Any]) -> TypeGuard[ManifestHead]:
    plan, shards, files = line.get("plan"), line.get("shards", ""), line.get("files", {})
    steps = isinstance(plan, list) and all(map(_is_step, plan))
    named = isinstance(files, dict) and all(isinstance(each, str) for each in files.values())
    number = shards is None or (type(shards) is int and shards >= 0)
    return steps and named and number and isinstance(line.get("fingerprint"), str)


def _is_step(step: object) -> bool:
    return isinstance(step, dict) and isinstance(step.get("step"), str) and isinstance(step.get("options", {}), dict)


def _entries(lines: Sequence[Mapping[str, object]]) -> list[ShardEntry]:
    found = []
    for line in lines:
        try:
            found.append(ShardEntry.from_json(line))
        except ValueError:  # the head of a log, or damaged
            continue
    return found


def _line(entry: Mapping[str, object]) -> bytes:
    return encode_json(entry) + b"\n"


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:  # the log was removed meanwhile
        return b""


def _parsed(text: bytes) -> list[dict[str, object]]:
    return [parsed for line in text.split(b"\n") if (parsed := _parse_line(line)) is not None]


def _parse_line(line: bytes) -> dict[str, object] | None:
    try:
        parsed = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None
