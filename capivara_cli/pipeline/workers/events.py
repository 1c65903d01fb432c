"""Handles the events of worker processes: samples, finished shards, messages, costs, errors and deaths."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from capivara_cli import console
from capivara_cli.costs.per_step import StepCost
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.pipeline.books import Books, tally_of
from capivara_cli.pipeline.env import Tally
from capivara_cli.pipeline.sharded_plan import ShardedPlan
from capivara_cli.shards.manifest import StepCounts
from capivara_cli.storage.holders import machine

DEATHS = 3
"""After so many deaths of workers at one shard, the run stops with an error that names it."""


class WorkerMonitor:
    """Handles the events of all workers, as ``worker.EventSender`` writes them; reports progress to ``books``."""

    def __init__(self, plan: ShardedPlan, books: Books, max_failures: int) -> None:
        self._plan, self._books, self._max_failures = plan, books, max_failures
        self._working: dict[int, str] = {}
        self._interrupted: set[str] = set()
        self._reported: set[str] = set()
        self._deaths: Counter[str] = Counter()
        self._failures = 0
        self._lines: dict[int, Counter[str]] = {}
        self._shown: Counter[str] = Counter()

    def handle(self, worker: int, event: dict[str, Any]) -> None:
        """Handle one event of worker number ``worker``. Raises the error if it reports one."""
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
            costs = self._plan.chain.costs
            costs.operations.add(event["flops"])
            costs.steps.add({number: StepCost(*spent) for number, *spent in event["spent"]})
        elif "cost" in event:
            workers = self._plan.chain.costs.workers
            workers.report(event["machine"], event["process"], event["machine"] == machine(), event["cost"])
        else:
            raise _error(event)

    def finished(self, name: str, tallies: Sequence[Tally]) -> None:
        """Report a finished shard, once. Raises ``CapivaraError`` past ``--max-failures``."""
        if name in self._reported:
            return
        self._reported.add(name)
        self._deaths.pop("", None)  # a worker has begun its work
        self._books.finished(name, tallies)
        self._failures += sum(tally.failed for tally in tallies)
        if 0 <= self._max_failures < self._failures:
            raise CapivaraError(
                f"more than {self._max_failures} samples cannot be used; the last are in {name}",
                "raise --max-failures, or repair the input",
            )

    def _say(self, worker: int, line: str) -> None:
        """Show a message of a worker, unless another worker has sent the same line as often before."""
        lines = self._lines.setdefault(worker, Counter())
        lines[line] += 1
        if lines[line] > self._shown[line]:
            self._shown[line] += 1
            console.say(line)

    def died(self, worker: int, cause: str) -> None:
        """Report the death of a worker. Raises ``CapivaraError`` if ``DEATHS`` workers died at the same shard."""
        name = self._working.pop(worker, "")
        self._lines.pop(worker, None)
        self._interrupted.add(name)
        self._deaths[name] += 1
        where = f" at {name}" if name else ""
        if self._deaths[name] >= DEATHS:
            raise CapivaraError(
                f"{self._deaths[name]} workers were lost{where}; the last was {cause}",
                "out of memory? use fewer --workers or a smaller batch. Finished shards are kept",
            )
        console.warn(f"worker {worker + 1} was {cause}{where}; another takes its place")

    def close(self) -> None:
        """Report the shards of workers that were killed after they finished a shard and before they reported it."""
        self._plan.out.refresh()
        for name in self._interrupted - self._reported:
            if entry := self._plan.out.manifest.done.get(name):
                self.finished(name, [tally_of(step) for step in entry.steps or ()])


def _error(event: dict[str, Any]) -> Exception:
    """The exception that ended a worker, from its event."""
    if "error" in event:
        kind = UsageError if event["code"] == UsageError.exit_code else CapivaraError
        return kind(event["error"], event["hint"])
    if "failed" in event:
        return OSError(event["failed"], event["strerror"], event["file"])
    return RuntimeError(event.get("bug", f"a worker sent {event}"))
