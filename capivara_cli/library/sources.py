"""Where samples come from: shards, a pipeline, the sources of ``pack``, or anything that yields samples."""

from __future__ import annotations

import contextlib
import itertools
import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

from capivara_cli.errors import UsageError
from capivara_cli.library.samples import Sample, record_of
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


@dataclass(frozen=True)
class GivenFiles(Source):
    """The sources of ``pack``, which its stage reads."""

    inputs: list[str]

    @contextlib.contextmanager
    def opened(self, env: Env, captions: bool) -> Iterator[tuple[History, Stream]]:
        env.inputs = self.inputs
        yield [], iter(())


@dataclass(frozen=True)
class GivenSamples(Source):
    """The samples of a program. Their history is that of the first one, as for the shards of a stream."""

    samples: Iterable[Sample]

    @contextlib.contextmanager
    def opened(self, env: Env, captions: bool) -> Iterator[tuple[History, Stream]]:
        samples = iter(self.samples)
        first = list(itertools.islice(samples, 1))
        history = first[0].history if first and isinstance(first[0], Sample) else []
        yield history, map(record_of, itertools.chain(first, samples))


def source_of(samples: SampleSource | Source) -> Source:
    """The source that an argument stands for. Raises ``UsageError`` for anything that yields no samples."""
    if isinstance(samples, str | os.PathLike):
        from capivara_cli.library.shards import read

        return read(samples)
    if isinstance(samples, Source):
        return samples
    if not isinstance(samples, Iterable):
        raise UsageError(f"{samples!r:.60}: yields no samples", 'capivara.read("shards")')
    return GivenSamples(samples)
