"""What a folder of shards is: the plan that makes it, and one line for each finished shard."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from capivara_cli.errors import CapivaraError
from capivara_cli.shards.history import History
from capivara_cli.shards.sample import encode_json
from capivara_cli.storage.files import naming, replace_text

MANIFEST = "manifest.jsonl"


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
