"""The steps of a plan joined into one generator, with the books of each: read = written + dropped."""

from __future__ import annotations

import contextlib
import copy
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from capivara_cli import __version__
from capivara_cli.costs import per_step as steps
from capivara_cli.errors import CapivaraError
from capivara_cli.pipeline.journal import Journal
from capivara_cli.pipeline.stage import Arrays, Env, Settings, Step, Tally
from capivara_cli.shards.archive import History, ShardWriter, Stream
from capivara_cli.shards.sample import Sample, encode_json
from capivara_cli.storage.files import replacing


@dataclass
class Chain:
    """The steps of a plan with their environments, which live as long as the process: models load once.

    ``before`` describes the steps of the plan before these ones, where this is a part of it; ``several``: the plan has
    several steps, and what each takes is counted.
    """

    steps: Sequence[Step]
    settings: Settings
    envs: list[Env] = field(init=False)
    before: History = field(init=False, default_factory=list)
    several: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        models: dict[Any, Any] = {}
        self.several = len(self.steps) > 1
        self.envs = [Env(self.settings, step.name, models, number) for number, step in enumerate(self.steps)]

    @property
    def name(self) -> str:
        return " | ".join(step.name for step in self.steps)

    @property
    def described(self) -> History:
        """What provenance records: the steps with everything that decides what they write."""
        return [{**step.describe(self.settings.seed), "version": __version__} for step in self.steps]

    def check(self) -> None:
        for step in self.steps:
            step.stage.check(step.options)

    def part(self, start: int, stop: int) -> Chain:
        """Some of the steps, with the same environments."""
        part = copy.copy(self)
        part.steps, part.envs = self.steps[start:stop], self.envs[start:stop]
        part.before = self.described[:start]
        return part

    def over(self, samples: Iterable[Sample], known: tuple[Arrays, Arrays] | None = None) -> Stream:
        """The samples after every step, each step's books kept.

        With ``known``, the survey and the decision of a shard, the first step is the second pass of a corpus stage.
        """
        stream = iter(samples)
        for number, (step, env) in enumerate(zip(self.steps, self.envs, strict=True)):
            source, corpus = _read(stream, env), step.stage.corpus
            if number == 0 and known is not None and corpus is not None:
                made = corpus.apply(source, *known, step.options, env)
            else:
                made = step.stage.run(source, step.options, env)
            stream = _written(steps.asked(made, env.number) if self.several else made, env)
        return stream

    def close_books(self) -> list[Tally]:
        """Close one shard's books. Raises ``RuntimeError`` when a step lost a sample: that is a bug, not bad input."""
        tallies = [env.next_shard() for env in self.envs]
        for step, tally in zip(self.steps, tallies, strict=True):
            if tally.read != tally.written + tally.dropped.total():
                raise RuntimeError(
                    f"{step.name} read {tally.read} samples, wrote {tally.written} and dropped {tally.dropped.total()}"
                )
        return tallies

    @contextlib.contextmanager
    def journaled(self, journal: Journal) -> Iterator[None]:
        """While one shard is made: the steps keep what they finish in its journal."""
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


@dataclass
class Report:
    """What a run did: per step and over all shards."""

    name: str
    out: str
    steps: list[str]
    tallies: list[Tally]
    inputs: Sequence[str] = ()
    shards: int = 0
    resumed: int = 0

    def add(self, tallies: Sequence[Tally]) -> None:
        for total, tally in zip(self.tallies, tallies, strict=True):
            total.add(tally)
        self.shards += 1

    def summary(self) -> dict[str, Any]:
        """Machine-readable: read by the first step, written by the last, dropped by all with reasons."""
        books = [{"step": name, **counts(tally)} for name, tally in zip(self.steps, self.tallies, strict=True)]
        return {
            "command": self.name,
            "out": self.out,
            "inputs": list(self.inputs),
            "read": self.tallies[0].read,
            "written": self.tallies[-1].written,
            "dropped": dict(sum((tally.dropped for tally in self.tallies), Counter())),
            "notes": dict(sum((tally.notes for tally in self.tallies), Counter())),
            "shards": self.shards,
            "resumed_shards": self.resumed,
            "steps": books,
        }

    def refuse_if_nothing_worked(self) -> None:
        """Raise when every sample that reached a step failed there: that is no result."""
        for name, tally in zip(self.steps, self.tallies, strict=True):
            if tally.failed and tally.failed == tally.read:
                reasons = ", ".join(f"{reason} ({count})" for reason, count in tally.dropped.most_common(3))
                raise CapivaraError(f"{name}: none of the {tally.read} samples can be used: {reasons}")


def tally_of(entry: dict[str, Any]) -> Tally:
    """The books that an entry of a manifest tells of."""
    return Tally(
        entry["read"], entry["written"], entry.get("failed", 0), Counter(entry["dropped"]), Counter(entry["notes"])
    )


def counts(tally: Tally) -> dict[str, Any]:
    return {"read": tally.read, "written": tally.written, "dropped": dict(tally.dropped), "notes": dict(tally.notes)}


def new_report(chain: Chain, out: str) -> Report:
    inputs = [source for source in chain.envs[0].inputs if Path(source).exists()]
    return Report(chain.name, out, [step.name for step in chain.steps], [Tally() for _ in chain.steps], inputs)


@contextlib.contextmanager
def keeping_rejects(chain: Chain, name: str) -> Iterator[None]:
    """With ``--rejects DIR``: every dropped sample in DIR/<number>-<step>/<shard>, its reason in ``dropped.json``."""
    folder = chain.settings.rejects
    if not folder:
        yield
        return
    with contextlib.ExitStack() as stack:
        writers: list[ShardWriter] = []
        history = chain.before + chain.described
        for step, env in zip(chain.steps, chain.envs, strict=True):
            number = env.number + 1
            out = stack.enter_context(replacing(Path(folder) / f"{number}-{step.name}" / name))
            writers.append(ShardWriter(out, history[:number]))
            env.reject = _rejecting(writers[-1], step.name)
        yield
        for writer, env in zip(writers, chain.envs, strict=True):
            writer.finish()
            env.reject = None


def _rejecting(writer: ShardWriter, step: str) -> Any:
    def reject(sample: Sample, reason: str) -> None:
        writer.write(sample.with_members(**{"dropped.json": encode_json({"step": step, "reason": reason})}))

    return reject
