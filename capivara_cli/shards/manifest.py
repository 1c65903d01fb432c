"""The manifest of a folder of shards: the plan of the folder, and one line for each finished shard."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict, TypeGuard, cast

from capivara_cli.errors import CapivaraError
from capivara_cli.shards.history import History, step_names
from capivara_cli.shards.sample import encode_json
from capivara_cli.storage.files import named_in_errors, special_kind

MANIFEST = "manifest.jsonl"


class InputIdentity(TypedDict, total=False):
    """Distinguishes an input file from others of the same name. ``corpus`` is the digest of all inputs together."""

    name: str
    size: int
    mtime_ns: int
    etag: str
    modified: str
    corpus: str


class ManifestHead(TypedDict):
    """The first line of a manifest. ``shards`` is the final number of shards, None while it is unknown."""

    plan: History
    fingerprint: str
    shards: int | None


@dataclass(frozen=True)
class StepCounts:
    """The number of samples of one shard that one step read, wrote, and dropped (by reason), and its other counts."""

    read: int
    written: int
    dropped: Mapping[str, int] = field(default_factory=dict)
    notes: Mapping[str, int] = field(default_factory=dict)
    failed: int | None = None

    @classmethod
    def from_json(cls, given: Mapping[str, Any]) -> StepCounts:
        """The counts in a manifest. Raises ``KeyError``, ``TypeError`` or ``ValueError`` if they are damaged."""
        failed = given.get("failed")
        dropped, notes = dict(given["dropped"]), dict(given["notes"])
        return cls(int(given["read"]), int(given["written"]), dropped, notes, None if failed is None else int(failed))

    def to_json(self) -> dict[str, object]:
        counts = {"read": self.read, "written": self.written, "dropped": dict(self.dropped), "notes": dict(self.notes)}
        return counts if self.failed is None else {**counts, "failed": self.failed}


@dataclass(frozen=True)
class ShardEntry:
    """A finished file of a folder: its name, its input, and the counts of the steps that made it.

    ``size`` is in bytes. A shard made from a stream has no ``input`` and no ``steps``; a survey has only an ``input``.
    """

    shard: str
    input: InputIdentity | None
    read: int | None = None
    written: int | None = None
    size: int | None = None
    steps: tuple[StepCounts, ...] | None = None

    @classmethod
    def from_json(cls, given: Any) -> ShardEntry:
        """The entry in one parsed line of a manifest. Raises ``ValueError`` if the line is not an entry."""
        try:
            if not isinstance(given["shard"], str):
                raise ValueError("'shard' is not a name")
            read, written, size = (given.get(key) for key in ("read", "written", "bytes"))
            if not all(each is None or type(each) is int for each in (read, written, size)):
                raise ValueError("'read', 'written' and 'bytes' must be numbers")
            steps = given.get("steps")
            parsed = None if steps is None else tuple(map(StepCounts.from_json, steps))
            return cls(given["shard"], cast("InputIdentity | None", given.get("input")), read, written, size, parsed)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not an entry of a manifest: {error!r}") from None

    def to_json(self) -> dict[str, object]:
        known = {"read": self.read, "written": self.written, "bytes": self.size}
        counts = {key: value for key, value in known.items() if value is not None}
        steps = {} if self.steps is None else {"steps": [step.to_json() for step in self.steps]}
        return {"shard": self.shard, "input": self.input, **counts, **steps}

    @property
    def line(self) -> bytes:
        return _line(self.to_json())


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
        done: dict[str, ShardEntry] = {}
        for entry in [*_entries(rest), *more]:
            known, present = done.get(entry.shard), (inputs or {}).get(entry.shard)
            if known is None or present is None or known.input != present or entry.input == present:
                done[entry.shard] = entry
        return cls(head["plan"], head["fingerprint"], head["shards"], done)

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
        head: ManifestHead = {"plan": self.plan, "fingerprint": self.fingerprint, "shards": self.shards}
        return b"".join([_line(head), *(entry.line for entry in self.done.values())])

    def check_complete(self, shown: str, finished: int = 0) -> None:
        """Raise ``CapivaraError`` if the folder is not finished.

        ``shown`` is the name of the folder in the message. ``finished`` counts shards that are recorded elsewhere.
        """
        if not self.complete:
            total = "an unknown number of" if self.shards is None else self.shards
            raise CapivaraError(
                f"{shown}: unfinished: {max(finished, len(self.done))} of {total} shards are finished",
                f"run the command that makes it again: it resumes ({self.steps})",
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


def _is_head(line: Mapping[str, object]) -> TypeGuard[ManifestHead]:
    plan, shards = line.get("plan"), line.get("shards", "")
    steps = isinstance(plan, list) and all(isinstance(step, dict) for step in plan)
    return steps and isinstance(line.get("fingerprint"), str) and (shards is None or type(shards) is int)


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
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None
