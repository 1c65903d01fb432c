"""The samples of all inputs as one stream. Members and duplicates that the readers skip are counted."""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from capivara_cli.pipeline.env import Env
from capivara_cli.shards.archive import ShardReader, Stream, open_shard
from capivara_cli.shards.counts import total_of
from capivara_cli.shards.history import History
from capivara_cli.shards.inputs import find_shards
from capivara_cli.shards.unpacked import is_packed, not_packed, packed_only
from capivara_cli.urls import is_url

_LOOKED_AT = 16  # samples of a shard, before any work


def counted(reader: ShardReader, env: Env, captions: bool) -> Stream:
    """Yield the samples of a reader; at its end, count the members and duplicates that it skipped in ``env``.

    With ``captions``, raises ``CapivaraError`` if the shard is not packed.
    """
    yield from packed_only(reader, reader.name) if captions else reader
    for kind, count in reader.ignored.items():
        env.note(f"ignored {kind}", count)
    if reader.duplicates:
        env.tally.read += reader.duplicates
        env.tally.dropped["duplicate key"] += reader.duplicates


def check_packed(shards: Sequence[str]) -> None:
    """Raise ``CapivaraError`` if shards are not packed, before any work: look at the first one of each local folder.

    ``counted`` finds the others when it reads them.
    """
    first: dict[Path, str] = {}
    numbers: Counter[Path] = Counter()
    for shard in shards:
        if not is_url(shard) and (path := Path(shard)).is_file():  # a pipe could not be read twice
            first.setdefault(path.parent, shard)
            numbers[path.parent] += 1
    for folder, shard in first.items():
        with open_shard(shard) as reader:
            for sample in itertools.islice(reader, _LOOKED_AT):
                packed = is_packed(sample)
                if packed is False:
                    raise not_packed(sample, shard if numbers[folder] == 1 else str(folder))
                if packed:
                    break


def packed_shards(inputs: Sequence[str]) -> list[str]:
    """``find_shards``. Raises ``CapivaraError`` if they are not packed, see ``check_packed``."""
    shards = find_shards(inputs)
    check_packed(shards)
    return shards


DEFAULT_INPUT = "shards"


def default_inputs(inputs: Sequence[str]) -> list[str]:
    """The inputs as given. If there are none: "-" if standard input is a pipe or file, else "shards"."""
    if inputs:
        return list(inputs)
    try:
        mode = os.fstat(0).st_mode
    except OSError:  # standard input is closed
        return [DEFAULT_INPUT]
    piped = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISREG(mode)
    return ["-"] if piped else [DEFAULT_INPUT]


class Source:
    """The samples of all inputs, one shard after the other, counted in ``env``; for commands that only read.

    With ``captions``, raises ``CapivaraError`` if the shards are not packed.
    """

    def __init__(self, inputs: Sequence[str], env: Env, captions: bool = True) -> None:
        self.shards = find_shards(default_inputs(inputs))
        self._captions = captions
        if captions:
            check_packed(self.shards)
        self.history: History = []
        self._env = env

    def total(self) -> int | None:
        """The number of samples; None if the manifests beside the shards do not say it."""
        return total_of(self.shards)

    def __iter__(self) -> Stream:
        for number, shard in enumerate(self.shards):
            with open_shard(shard) as reader:
                if number == 0:
                    self.history = reader.history
                for sample in counted(reader, self._env, self._captions):
                    self._env.tally.read += 1
                    yield sample


@contextlib.contextmanager
def joined(shards: Sequence[str], env: Env, captions: bool) -> Iterator[tuple[History, Stream]]:
    """The history of the first shard, and the samples of all shards as one stream; both are empty without shards.

    With ``captions``, raises ``CapivaraError`` if the shards are not packed; before any work, if that can be known.
    """
    if not shards:
        yield [], iter(())
        return
    with open_shard(shards[0]) as first:

        def samples() -> Stream:
            yield from counted(first, env, captions)
            for shard in shards[1:]:
                with open_shard(shard) as reader:
                    yield from counted(reader, env, captions)

        # A stream with a history comes from another stage. Its models and ours are loaded at the same time, so there is
        # no waiting for its first sample.
        yield first.history, _begun(samples()) if captions and not first.history else samples()


def _begun(samples: Stream) -> Stream:
    """The same samples, of which the first has been read."""
    return itertools.chain(list(itertools.islice(samples, 1)), samples)
