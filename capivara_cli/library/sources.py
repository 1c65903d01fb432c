"""Where samples come from: shards, a pipeline, the sources of ``pack``, or anything that yields samples."""

from __future__ import annotations

import contextlib
import itertools
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

from capivara_cli.library.samples import Sample, record_of, shard_of
from capivara_cli.pipeline.env import Env
from capivara_cli.shards.archive import Stream
from capivara_cli.shards.history import History

StrPath = str | os.PathLike[str]
SampleSource = Iterable[Sample] | str | os.PathLike[str]
"""What every stage takes: samples, or shards by name, as for ``read``."""


class Source(ABC):
    """What a stage reads: it can be opened."""

    @abstractmethod
    def opened(self, env: Env, captions: bool) -> AbstractContextManager[tuple[History, Stream]]:
        """The history of the samples, and the samples. What is passed over is counted in ``env``.

        ``captions``: whether the captions are needed, so that shards must be packed.
        """

    def shards(self) -> list[str]:
        """The shards that the samples come from, as far as they are known."""
        return []


@dataclass(frozen=True)
class GivenFiles(Source):
    """The sources of ``pack``, which its stage reads."""

    inputs: list[str]

    @contextlib.contextmanager
    def opened(self, env: Env, captions: bool) -> Iterator[tuple[History, Stream]]:
        env.inputs = self.inputs
        yield [], iter(())


@dataclass
class GivenSamples(Source):
    """The samples of a program. Their history and shard are those of the first one, once it was read."""

    samples: Iterable[Sample]
    shard: str = ""

    @contextlib.contextmanager
    def opened(self, env: Env, captions: bool) -> Iterator[tuple[History, Stream]]:
        samples = iter(self.samples)
        first = list(itertools.islice(samples, 1))
        history: History = []
        if first and isinstance(first[0], Sample):
            history, self.shard = first[0].history, shard_of(first[0])
        yield history, map(record_of, itertools.chain(first, samples))

    def shards(self) -> list[str]:
        return [self.shard] if self.shard else []
