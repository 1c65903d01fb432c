"""The events of workers, summed up: samples, finished shards, messages, costs, errors and deaths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from capivara_cli import console
from capivara_cli.costs.per_step import StepCost
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.pipeline.books import Books, tally_of
from capivara_cli.pipeline.env import Tally
from capivara_cli.pipeline.passes import Passes
from capivara_cli.shards.manifest import StepCounts
from capivara_cli.storage.claims import machine

DEATHS = 3
"""Workers that must die at one shard before the run stops with an error that names it."""


class Accounts:
    """Enters the events of all workers, dicts as ``worker.Sender`` writes them, into ``books``."""

    def __init__(self, passes: Passes, books: Books, max_failures: int) -> None:
        self._passes, self._books, self._max_failures = passes, books, max_failures
        self._working: dict[int, str] = {}
        self._unsure: set[str] = set()
        self._told: set[str] = set()
        self._deaths: Counter[str] = Counter()
        self._failures = 0
        self._said: dict[int, Counter[str]] = {}
        self._shown: Counter[str] = Counter()

    def enter(self, worker: int, event: dict[str, Any]) -> None:
        """Enter one event. Raises the error that it reports."""
        if "started" in event:
            self._working[worker] = event["started"]
        elif "advanced" in event:
            self._books.advance(event["advanced"])
        elif "finished" in event:
            self._working.pop(worker, None)
            self.finished(event["finished"], [tally_of(StepCounts.from_json(step)) for step in event["steps"]])
        elif "said" in event:
            self._say(worker, event["said"])
        elif "spent" in event:
            costs = self._passes.chain.costs
            costs.operations.add(event["flops"])
            costs.steps.add({number: StepCost(*spent) for number, *spent in event["spent"]})
        elif "cost" in event:
            workers = self._passes.chain.costs.workers
            workers.report(event["machine"], event["process"], event["machine"] == machine(), event["cost"])
        else:
            raise _error(event)

    def finished(self, name: str, tallies: Sequence[Tally]) -> None:
        """Enter a shard, once. Raises ``CapivaraError`` past ``--max-failures``."""
        if name in self._told:
            return
        self._told.add(name)
        self._deaths.pop("", None)  # workers can begin
        self._books.finished(name, tallies)
        self._failures += sum(tally.failed for tally in tallies)
        if 0 <= self._max_failures < self._failures:
            raise CapivaraError(
                f"more than {self._max_failures} samples cannot be used; the last are in {name}",
                "raise --max-failures, or mend the input",
            )

    def _say(self, worker: int, line: str) -> None:
        """Show a line, unless another worker has already said it as often."""
        said = self._said.setdefault(worker, Counter())
        said[line] += 1
        if said[line] > self._shown[line]:
            self._shown[line] += 1
            console.say(line)

    def died(self, worker: int, cause: str) -> None:
        """Enter the death of a worker. Raises ``CapivaraError`` when several died at the same shard."""
        name = self._working.pop(worker, "")
        self._said.pop(worker, None)
        self._unsure.add(name)
        self._deaths[name] += 1
        where = f" at {name}" if name else ""
        if self._deaths[name] >= DEATHS:
            raise CapivaraError(
                f"{self._deaths[name]} workers were lost{where}; the last was {cause}",
                "out of memory? use fewer --workers or a smaller batch. What is finished stays finished",
            )
        console.warn(f"worker {worker + 1} was {cause}{where}; another takes its place")

    def close(self) -> None:
        """Enter the shards that workers finished, and were killed before they could report them."""
        self._passes.out.refresh()
        for name in self._unsure - self._told:
            if entry := self._passes.out.manifest.done.get(name):
                self.finished(name, [tally_of(step) for step in entry.steps or ()])


def _error(event: dict[str, Any]) -> Exception:
    """The exception that ended a worker, made again in this process."""
    if "error" in event:
        kind = UsageError if event["code"] == UsageError.exit_code else CapivaraError
        return kind(event["error"], event["hint"])
    if "failed" in event:
        return OSError(event["failed"], event["strerror"], event["file"])
    return RuntimeError(event.get("bug", f"a worker sent {event}"))
