"""Stages over an iterable of samples: nothing is computed before the samples are asked for."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from capivara_cli import console
from capivara_cli.errors import UsageError
from capivara_cli.library._calls import call, in_calls
from capivara_cli.library._options import Keywords
from capivara_cli.library.samples import Sample, made_of
from capivara_cli.library.shards import read
from capivara_cli.library.sources import GivenSamples, SampleSource, Source
from capivara_cli.pipeline.books import new_report
from capivara_cli.pipeline.chain import Chain
from capivara_cli.pipeline.env import Env, Tally
from capivara_cli.pipeline.options import Settings
from capivara_cli.pipeline.stage import Step
from capivara_cli.pipeline.stream import streamed
from capivara_cli.registry import load_command
from capivara_cli.shards.archive import Stream
from capivara_cli.shards.history import History, step_names


class Pipeline(Source):
    """Samples after one or more stages, computed while they are iterated over; every iteration computes them anew.

    Stages with the same ``seed``, ``device`` and ``max_failures`` form one plan, as in ``capivara run``. ``tally``: the
    counts of the last complete iteration or ``write``: read = written + dropped; ``tally.dropped`` and ``tally.notes``
    have a count for each reason. ``steps``: the same for each stage, by name. Iterating raises ``CapivaraError`` for
    what a stage cannot do, and for a damaged input.
    """

    def __init__(self, source: Source, plan: Sequence[Step], settings: Settings, progress: bool) -> None:
        self.source, self.plan, self.settings, self.progress = source, tuple(plan), settings, progress
        self.tally = Tally()
        self.steps: list[tuple[str, Tally]] = []

    @property
    def flags(self) -> dict[str, str]:
        """The keyword for each flag of the stages, for error messages."""
        found: dict[str, str] = {}
        for step in self.plan:
            found |= Keywords(step.name, ("seed", "device", "max_failures")).flags
        return found

    def __iter__(self) -> Iterator[Sample]:
        return in_calls(self._samples(), self.progress, self.flags)

    def _samples(self) -> Iterator[Sample]:
        with self.opened() as (history, stream):
            shard = next(iter(self.shards()), "")
            for record in stream:
                yield made_of(record, history, shard)

    @contextlib.contextmanager
    def opened(self, env: Env | None = None, captions: bool = True) -> Iterator[tuple[History, Stream]]:
        """As in ``Source``."""
        chain = Chain(self.plan, self.settings)
        with self.source.opened(chain.envs[0], chain.reads_captions) as (history, samples):
            yield history + chain.described, self._counted(chain, samples)

    def shards(self) -> list[str]:
        """As in ``Source``."""
        return self.source.shards()

    def _counted(self, chain: Chain, samples: Stream) -> Stream:
        report = new_report(chain, "-")
        stream = streamed(chain, samples)
        yield from console.track(stream, chain.name) if self.progress else stream
        report.add(chain.close_books())
        self.count(report.tallies)
        report.raise_if_all_failed()

    def count(self, tallies: Sequence[Tally]) -> None:
        """Keep the counts of each step, of an iteration or of ``write``."""
        self.steps = [(step.name, tally) for step, tally in zip(self.plan, tallies, strict=True)]
        dropped = sum((each.dropped for each in tallies), Counter())
        notes = sum((each.notes for each in tallies), Counter())
        failed = sum(each.failed for each in tallies)
        self.tally = Tally(tallies[0].read, tallies[-1].written, failed, dropped, notes)

    def __repr__(self) -> str:
        return f"<{step_names([step.describe(self.settings.seed) for step in self.plan])} over {self.source!r}>"


def source_of(samples: SampleSource | Source) -> Source:
    """The source that an argument stands for. Raises ``UsageError`` for anything that yields no samples."""
    if isinstance(samples, Source):
        return samples
    if isinstance(samples, str | os.PathLike):
        return read(samples)
    if not isinstance(samples, Iterable):
        raise UsageError(f"{samples!r:.60}: yields no samples", 'capivara.read("shards")')
    return GivenSamples(samples)


def over(keywords: Keywords, samples: SampleSource | Source, given: Mapping[str, Any]) -> Pipeline:
    """The samples after one more stage. Raises ``CapivaraError`` for wrong options, before any sample is read."""
    with call(keywords=keywords.flags):
        options, settings, progress = keywords.parse(given)
        step = Step(load_command(keywords.command), options)
        step.stage.check(options)
        source = source_of(samples)
        if isinstance(source, Pipeline) and _shared(source.settings) == _shared(settings):
            return Pipeline(source.source, [*source.plan, step], settings, progress or source.progress)
        return Pipeline(source, [step], settings, progress)


def _shared(settings: Settings) -> tuple[int, str, int]:
    return settings.seed, settings.device, settings.max_failures
