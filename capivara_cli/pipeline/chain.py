"""The steps of a plan joined into one generator. Each step's samples are counted: read = written + dropped."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from capivara_cli.costs.costs import Costs
from capivara_cli.pipeline.env import Env, Tally
from capivara_cli.pipeline.journal import Journal
from capivara_cli.pipeline.options import Settings
from capivara_cli.pipeline.stage import Step, SurveyedShard
from capivara_cli.shards.archive import Stream
from capivara_cli.shards.history import History
from capivara_cli.shards.sample import Sample


@dataclass
class Chain:
    """The steps of a plan with their environments, which last as long as the process, so that models load once.

    A chain may be a ``part`` of a plan; then ``before`` describes the earlier steps of the plan. ``measures_steps``:
    whether the cost of each step is measured, because the whole plan has several steps.
    """

    steps: Sequence[Step]
    settings: Settings
    costs: Costs = field(default_factory=Costs)
    envs: list[Env] = field(init=False)
    before: History = field(init=False, default_factory=list)
    measures_steps: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        models: dict[Any, Any] = {}
        self.measures_steps = len(self.steps) > 1
        self.envs = [
            Env(self.settings, step.name, models, number, self.costs) for number, step in enumerate(self.steps)
        ]

    @property
    def name(self) -> str:
        return " | ".join(step.name for step in self.steps)

    @property
    def reads_captions(self) -> bool:
        """Whether a step needs the captions of the shards, which must be packed then."""
        return not self.steps[0].stage.begins and any(step.stage.reads_captions for step in self.steps)

    @property
    def described(self) -> History:
        """The steps for histories and manifests: everything that determines what they write."""
        return [{**step.describe(self.settings.seed), "version": step.stage.version} for step in self.steps]

    def check(self) -> None:
        """Raise ``CapivaraError`` for wrong options of any step."""
        for step in self.steps:
            step.stage.check(step.options)

    def part(self, start: int, stop: int) -> Chain:
        """The steps from ``start`` to before ``stop``, with the same environments."""
        part = copy.copy(self)
        part.steps, part.envs = self.steps[start:stop], self.envs[start:stop]
        part.before = self.described[:start]
        return part

    def over(self, samples: Iterable[Sample], surveyed: SurveyedShard | None = None) -> Stream:
        """Yield the samples after all steps, and count what each step reads and writes.

        With ``surveyed`` the samples are one shard, and the first step is the second pass of a corpus stage over it.
        """
        stream = iter(samples)
        for number, (step, env) in enumerate(zip(self.steps, self.envs, strict=True)):
            source, corpus = _read(stream, env), step.stage.corpus
            if number == 0 and surveyed is not None and corpus is not None:
                output = corpus.apply(source, *surveyed, step.options, env)
            else:
                output = step.stage.run(source, step.options, env)
            stream = _written(self.costs.steps.timed(output, env.number) if self.measures_steps else output, env)
        return stream

    def close_books(self) -> list[Tally]:
        """Return the counts of each step for one shard, and start new ones.

        Raises ``RuntimeError`` if a step lost a sample, which is a bug, ``PluginError`` for one of another package.
        """
        tallies = [env.next_shard() for env in self.envs]
        for step, tally in zip(self.steps, tallies, strict=True):
            if tally.read != tally.written + tally.dropped.total():
                counts = f"read {tally.read} samples, wrote {tally.written} and dropped {tally.dropped.total()}"
                origin = step.stage.origin
                raise RuntimeError(f"{step.name} {counts}") if origin is None else origin.fault(counts)
        return tallies

    def forget_shard(self) -> None:
        """Drop the counts of a shard that could not be finished."""
        for env in self.envs:
            env.tally, env.reject = Tally(), None

    @contextlib.contextmanager
    def journaled(self, journal: Journal) -> Iterator[None]:
        """Let the steps store finished batches in the journal of a shard while it is written."""
        for env in self.envs:
            env.journal = journal
        try:
            yield
        finally:
            journal.close()
            for env in self.envs:
                env.journal = None


def _read(samples: Stream, env: Env) -> Stream:
    for sample in samples:
        env.tally.read += 1
        yield sample


def _written(samples: Stream, env: Env) -> Stream:
    for sample in samples:
        env.tally.written += 1
        yield sample
