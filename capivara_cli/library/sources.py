"""Where samples come from: shards, a pipeline, the sources of ``pack``, or anything that yields samples."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from capivara_cli.errors import UsageError
from capivara_cli.library.samples import Sample, record_of
from capivara_cli.pipeline.env import Env
from capivara_cli.shards.archive import Stream
from capivara_cli.shards.history import History

StrPath = str | os.PathLike[str]
SampleSource = Iterable[Sample] | str | os.PathLike[str]
"""What every stage takes: samples, or shards by name, as for ``read``."""


class Opens(Protocol):
    """A source of samples. ``opened`` gives their history and the samples; it counts in ``env`` what is passed over.

    ``captions``: whether the captions are needed, so that shards must be packed.
    """

    def opened(self, env: Env, captions: bool) -> AbstractContextManager[tuple[History, Stream]]: ...


@dataclass(frozen=True)
class GivenFiles:
    """The sources of ``pack``, which its stage reads."""

    inputs: list[str]

    @contextlib.contextmanager
    def opened(self, env: Env, captions: bool) -> Iterator[tuple[History, Stream]]:
        env.inputs = self.inputs
        yield [], iter(())


@dataclass(frozen=True)
class GivenSamples:
    """The samples of a program. Their history is that of the first one, as for the shards of a stream."""

    samples: Iterable[Sample]

    @contextlib.contextmanager
    def opened(self, env: Env, captions: bool) -> Iterator[tuple[History, Stream]]:
        samples = iter(self.samples)
        first = list(itertools.islice(samples, 1))
        history = first[0].history if first and isinstance(first[0], Sample) else []
        yield history, map(record_of, itertools.chain(first, samples))


def source_of(samples: SampleSource) -> Opens:
    """The source that an argument stands for. Raises ``UsageError`` for anything that yields no samples."""
    if isinstance(samples, str | os.PathLike):
        from capivara_cli.library.shards import read

        return read(samples)
    if hasattr(samples, "opened"):
        return samples  # type: ignore[return-value]
    if not isinstance(samples, Iterable):
        raise UsageError(f"{samples!r:.60}: yields no samples", 'capivara.read("shards")')
    return GivenSamples(samples)
