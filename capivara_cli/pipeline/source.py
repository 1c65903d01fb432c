"""The samples of all inputs as one stream. Members and duplicates that the readers skip are counted."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence

from capivara_cli.pipeline.env import Env
from capivara_cli.shards.archive import ShardReader, Stream, open_shard
from capivara_cli.shards.history import History
from capivara_cli.shards.inputs import find_shards


def counted(reader: ShardReader, env: Env) -> Stream:
    """Yield the samples of a reader; at its end, count the members and duplicates that it skipped in ``env``."""
    yield from reader
    for kind, count in reader.ignored.items():
        env.note(f"ignored {kind}", count)
    if reader.duplicates:
        env.tally.read += reader.duplicates
        env.tally.dropped["duplicate key"] += reader.duplicates


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
    """The samples of all inputs, one shard after the other, counted in ``env``; for commands that only read."""

    def __init__(self, inputs: Sequence[str], env: Env) -> None:
        self.shards = find_shards(default_inputs(inputs))
        self.history: History = []
        self._env = env

    def __iter__(self) -> Stream:
        for number, shard in enumerate(self.shards):
            with open_shard(shard) as reader:
                if number == 0:
                    self.history = reader.history
                for sample in counted(reader, self._env):
                    self._env.tally.read += 1
                    yield sample


@contextlib.contextmanager
def joined(shards: Sequence[str], env: Env) -> Iterator[tuple[History, Stream]]:
    """The history of the first shard, and the samples of all shards as one stream; both are empty without shards."""
    if not shards:
        yield [], iter(())
        return
    with open_shard(shards[0]) as first:

        def samples() -> Stream:
            yield from counted(first, env)
            for shard in shards[1:]:
                with open_shard(shard) as reader:
                    yield from counted(reader, env)

        yield first.history, samples()
