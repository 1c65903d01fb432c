"""The finished batches of one shard, kept beside it while it is being made: a kill costs a batch, not a shard."""

from __future__ import annotations

import json
from collections import deque
from pathlib import Path
from typing import Any, BinaryIO

from capivara_cli.storage.files import named_in_errors, replacing

Results = list[Any]


class Journal:
    """``.NAME.journal`` beside the shard ``NAME``: a line that says what is being made, then one line per batch.

    Batches are made in order and are the same ones in every run of the same plan over the same shard, so what is there
    is a prefix of what will be asked for. A line torn by a kill counts as not written. The file appears with the first
    batch that is kept.
    """

    def __init__(self, shard: Path, mark: dict[str, Any]) -> None:
        self.path = path_of(shard)
        self._head = (json.dumps(mark, sort_keys=True) + "\n").encode()
        self._known: dict[int, deque[tuple[list[str], Results]]] = {}
        self._out: BinaryIO | None = None
        self._length = self._load()

    def _load(self) -> int:
        """Read what is there; returns the length of the part that is whole and of this work."""
        if not self.path.is_file():
            return 0
        with open(self.path, "rb") as lines:
            if next(lines, b"") != self._head:
                return 0
            length = len(self._head)
            for line in lines:
                try:
                    step, keys, results = json.loads(line)
                except (ValueError, TypeError):
                    break
                if not line.endswith(b"\n"):
                    break
                self._known.setdefault(step, deque()).append((keys, results))
                length += len(line)
        return length

    def recall(self, step: int, keys: list[str]) -> Results | None:
        """The results of the next batch of a step if it was finished before; ``keys`` are those of its samples."""
        known = self._known.get(step)
        if not known:
            return None
        if known[0][0] != keys:  # the input has changed though it looks the same: nothing here is of use
            self._forget()
            return None
        return known.popleft()[1]

    def keep(self, step: int, keys: list[str], results: Results) -> None:
        """Write the results of a batch, which have to be JSON. Not synced: a power cut may cost more than a kill."""
        with named_in_errors(self.path):
            if self._out is None:
                self._out = self._opened()
            self._out.write(json.dumps([step, keys, results]).encode() + b"\n")
            self._out.flush()

    def _opened(self) -> BinaryIO:
        """The file, cut to what is of use. A new one: who held the claim before may still write to the old one."""
        kept = self.path.read_bytes()[: self._length] if self._length else self._head
        with replacing(self.path) as out:
            out.write(kept)
        return open(self.path, "ab")

    def _forget(self) -> None:
        self.close()
        self._known.clear()
        self._length = 0

    def close(self) -> None:
        """Let go of the file, and leave it for the next run."""
        if self._out is not None:
            self._out.close()
            self._out = None


def path_of(shard: Path) -> Path:
    return shard.with_name(f".{shard.name}.journal")


def remove(shard: Path) -> None:
    """Delete the journal of a shard that is finished."""
    path_of(shard).unlink(missing_ok=True)
