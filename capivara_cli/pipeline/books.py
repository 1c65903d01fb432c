"""Counts of samples: what each step of a run read, wrote and dropped, per shard and in total."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from capivara_cli import console
from capivara_cli.errors import CapivaraError
from capivara_cli.pipeline.chain import Chain
from capivara_cli.pipeline.env import Tally
from capivara_cli.shards.counts import total_of
from capivara_cli.shards.manifest import StepCounts


@dataclass
class Report:
    """The result of a run: the counts of each step over all shards, ``shards`` written, and ``resumed`` shards.

    ``resumed`` shards were finished by an earlier run. ``complete``: no shards of the folder are left to others.
    """

    name: str
    out: str
    steps: list[str]
    tallies: list[Tally]
    inputs: Sequence[str] = ()
    shards: int = 0
    resumed: int = 0
    complete: bool = True

    def add(self, tallies: Sequence[Tally]) -> None:
        """Add the counts of each step for one shard."""
        for total, tally in zip(self.tallies, tallies, strict=True):
            total.add(tally)
        self.shards += 1

    def summary(self) -> dict[str, Any]:
        """The report as JSON: samples read by the first step, written by the last, and dropped by all, by reason.

        It has ``up_to_date``, which ``cli.perform`` takes out, if an earlier run had finished everything.
        """
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
            **({"up_to_date": True} if self.resumed and not self.shards and self.complete else {}),
        }

    def raise_if_all_failed(self) -> None:
        """Raise ``CapivaraError`` if every sample that a step read failed there."""
        for name, tally in zip(self.steps, self.tallies, strict=True):
            if tally.failed and tally.failed == tally.read:
                reasons = ", ".join(f"{reason} ({count})" for reason, count in tally.dropped.most_common(3))
                raise CapivaraError(f"{name}: none of the {tally.read} samples can be used: {reasons}")


def tally_of(counts: StepCounts) -> Tally:
    """The tally for the counts of a step in a manifest."""
    return Tally(counts.read, counts.written, counts.failed or 0, Counter(counts.dropped), Counter(counts.notes))


def counts_of(tally: Tally, with_failed: bool = False) -> StepCounts:
    """The counts of a step for a manifest; ``with_failed`` adds the number of failed samples."""
    failed = tally.failed if with_failed else None
    return StepCounts(tally.read, tally.written, dict(tally.dropped), dict(tally.notes), failed)


def new_report(chain: Chain, out: str) -> Report:
    """An empty report; its ``inputs`` are those that exist as files, whose cost records are copied."""
    inputs = [source for source in chain.envs[0].inputs if Path(source).exists()]
    return Report(chain.name, out, [step.name for step in chain.steps], [Tally() for _ in chain.steps], inputs)


class Books(Protocol):
    """Receives the progress of a run: the start and end of shards, and the number of samples read."""

    def started(self, name: str) -> None: ...

    def advance(self, count: int = 1) -> None: ...

    def finished(self, name: str, tallies: Sequence[Tally]) -> None: ...


@dataclass
class RunBooks:
    """Adds the counts of this process and its workers to the report, and updates the progress line.

    ``shards``: the number of shards that are to be written; 0 if the samples are read more than once.
    """

    report: Report
    progress: console.Progress
    shards: int = 0

    def expect(self, shards: Sequence[str], readings: int) -> None:
        """Let the progress know its end: these shards are read, each sample ``readings`` times."""

        def total() -> int | None:
            samples = total_of(shards)
            return samples and samples * readings

        self.progress.expect(total)
        self.shards = len(shards) if readings == 1 else 0

    def started(self, name: str) -> None:
        """Nothing to do: only finished shards are in the report."""

    def advance(self, count: int = 1) -> None:
        self.progress.advance(count)

    def finished(self, name: str, tallies: Sequence[Tally]) -> None:
        self.report.add(tallies)
        if self.shards:
            self.progress.estimate(min(self.report.shards, self.shards), self.shards)
