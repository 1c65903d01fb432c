"""The books of a run: what each step read, wrote and dropped, kept by shard and over all of them."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from capivara_cli import console
from capivara_cli.errors import CapivaraError
from capivara_cli.pipeline.chain import Chain
from capivara_cli.pipeline.env import Tally
from capivara_cli.shards.archive import ShardWriter
from capivara_cli.shards.sample import Sample, encode_json
from capivara_cli.storage.files import replacing


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


class Watch(Protocol):
    """Who wants to know how the work goes."""

    def started(self, name: str) -> None: ...

    def advance(self) -> None: ...

    def finished(self, name: str, tallies: Sequence[Tally]) -> None: ...


@dataclass
class Books:
    """What this process, or the workers it started, did: for the summary and on the screen."""

    report: Report
    progress: console.Progress

    def started(self, name: str) -> None:
        """A shard is begun."""

    def advance(self, count: int = 1) -> None:
        self.progress.advance(count)

    def finished(self, name: str, tallies: Sequence[Tally]) -> None:
        self.report.add(tallies)
