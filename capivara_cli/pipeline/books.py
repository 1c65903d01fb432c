"""The books of a run: the samples that each step read, wrote and dropped, in each shard and in all of them."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from capivara_cli import console
from capivara_cli.errors import CapivaraError
from capivara_cli.pipeline.chain import Chain
from capivara_cli.pipeline.env import Tally
from capivara_cli.shards.archive import ShardWriter
from capivara_cli.shards.manifest import StepCounts
from capivara_cli.shards.sample import Sample, encode_json
from capivara_cli.storage.files import replacing


@dataclass
class Report:
    """What a run did: the tally of each step over all shards, the shards it made, and those done before."""

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
        """The report as JSON: samples read by the first step, written by the last, and dropped by all, with reasons."""
        books = [
            {"step": name, **counts_of(tally).to_json()} for name, tally in zip(self.steps, self.tallies, strict=True)
        ]
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
        """Raise ``CapivaraError`` when every sample that reached a step failed there."""
        for name, tally in zip(self.steps, self.tallies, strict=True):
            if tally.failed and tally.failed == tally.read:
                reasons = ", ".join(f"{reason} ({count})" for reason, count in tally.dropped.most_common(3))
                raise CapivaraError(f"{name}: none of the {tally.read} samples can be used: {reasons}")


def tally_of(counts: StepCounts) -> Tally:
    """The tally of a step from its counts in a manifest."""
    return Tally(counts.read, counts.written, counts.failed or 0, Counter(counts.dropped), Counter(counts.notes))


def counts_of(tally: Tally, with_failed: bool = False) -> StepCounts:
    """The counts of a tally for a manifest."""
    failed = tally.failed if with_failed else None
    return StepCounts(tally.read, tally.written, dict(tally.dropped), dict(tally.notes), failed)


def new_report(chain: Chain, out: str) -> Report:
    inputs = [source for source in chain.envs[0].inputs if Path(source).exists()]
    return Report(chain.name, out, [step.name for step in chain.steps], [Tally() for _ in chain.steps], inputs)


@contextlib.contextmanager
def keeping_rejects(chain: Chain, name: str) -> Iterator[None]:
    """With ``--rejects DIR``, keep dropped samples in DIR/<number>-<step>/<shard>, the reason in ``dropped.json``."""
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


def _rejecting(writer: ShardWriter, step: str) -> Callable[[Sample, str], None]:
    def reject(sample: Sample, reason: str) -> None:
        writer.write(sample.with_members(**{"dropped.json": encode_json({"step": step, "reason": reason})}))

    return reject


class Books(Protocol):
    """Where the progress of the work is entered: shards that begin and end, and samples."""

    def started(self, name: str) -> None: ...

    def advance(self, count: int = 1) -> None: ...

    def finished(self, name: str, tallies: Sequence[Tally]) -> None: ...


@dataclass
class RunBooks:
    """The books of this process and of the workers it started: for the summary, and on the progress line."""

    report: Report
    progress: console.Progress

    def started(self, name: str) -> None:
        """Nothing to enter."""

    def advance(self, count: int = 1) -> None:
        self.progress.advance(count)

    def finished(self, name: str, tallies: Sequence[Tally]) -> None:
        self.report.add(tallies)
