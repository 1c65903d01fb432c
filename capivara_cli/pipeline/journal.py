"""The journal of a shard: its finished batches, stored while the shard is written. A kill loses one batch at most."""

from __future__ import annotations

import json
import zlib
from collections import deque
from pathlib import Path
from typing import Any, BinaryIO

from capivara_cli.storage.files import named_in_errors, replacing

Results = list[Any]


class Journal:
    """The file ``.NAME.journal`` beside the shard ``NAME``: ``header`` as JSON, then one line per batch.

    ``header`` identifies the plan and the input. A journal with another header is ignored. Batches are written in
    order, and every run of the same plan over the same shard has the same batches. So the journal holds the first
    batches of the next run. Each line begins with the CRC-32 of the rest. A line that a kill cut off or that was
    altered is ignored, with all after it. The first stored batch creates the file.
    """

    def __init__(self, shard: Path, header: dict[str, Any]) -> None:
        self.path = path_of(shard)
        self._head = (json.dumps(header, sort_keys=True) + "\n").encode()
        self._known: dict[int, deque[tuple[list[str], Results]]] = {}
        self._out: BinaryIO | None = None
        self._length = self._load()

    def _load(self) -> int:
        """Read the file; return the length in bytes of its valid part, 0 if it has another header."""
        if not self.path.is_file():
            return 0
        with open(self.path, "rb") as lines:
            if next(lines, b"") != self._head:
                return 0
            length = len(self._head)
            for line in lines:
                if line != _checked_line(line[_BATCH:-1]):
                    break
                step, keys, results = json.loads(line[_BATCH:])
                self._known.setdefault(step, deque()).append((keys, results))
                length += len(line)
        return length

    def recall(self, step: int, keys: list[str]) -> Results | None:
        """Return the results of the next batch of a step, with the samples ``keys``; None if the journal lacks them."""
        known = self._known.get(step)
        if not known:
            return None
        if known[0][0] != keys:  # the input has changed though its size and time have not
            self._forget()
            return None
        return known.popleft()[1]

    def keep(self, step: int, keys: list[str], results: Results) -> None:
        """Store the results of a batch, which must be JSON. There is no fsync: a power cut may lose more batches."""
        with named_in_errors(self.path):
            if self._out is None:
                self._out = self._opened()
            self._out.write(_checked_line(json.dumps([step, keys, results]).encode()))
            self._out.flush()

    def _opened(self) -> BinaryIO:
        """A new file with the valid part. A process that lost its claim may still write to the old file."""
        valid = self.path.read_bytes()[: self._length] if self._length else self._head
        with replacing(self.path) as out:
            out.write(valid)
        return open(self.path, "ab")

    def _forget(self) -> None:
        self.close()
        self._known.clear()
        self._length = 0

    def close(self) -> None:
        """Close the file; it stays for the next run."""
        if self._out is not None:
            self._out.close()
            self._out = None


def _checked_line(batch: bytes) -> bytes:
    return b"%08x %b\n" % (zlib.crc32(batch), batch)


_BATCH = len(b"00000000 ")  # where the batch begins in a line


def path_of(shard: Path) -> Path:
    return shard.with_name(f".{shard.name}.journal")


def remove(shard: Path) -> None:
    """Delete the journal of a finished shard."""
    path_of(shard).unlink(missing_ok=True)
