"""What a running step may use: the shared settings, its books, and models that are loaded once per process."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from capivara_cli.errors import CapivaraError
from capivara_cli.pipeline.device import resolved
from capivara_cli.pipeline.options import Settings

if TYPE_CHECKING:
    from capivara_cli.costs.costs import Costs
    from capivara_cli.pipeline.journal import Journal
    from capivara_cli.shards.sample import Sample

Perform = Callable[[Sequence[str], Settings], dict[str, Any]]
"""Performs a command line, such as ["train", "shards"], with shared settings; returns its summary."""
Result = TypeVar("Result")


@dataclass
class Tally:
    """The books of one step: read = written + dropped, or the engine says that the program is wrong."""

    read: int = 0
    written: int = 0
    failed: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)

    def add(self, other: Tally) -> None:
        self.read += other.read
        self.written += other.written
        self.failed += other.failed
        self.dropped += other.dropped
        self.notes += other.notes


class Env:
    """What a running step may use: the shared settings, its books, and models that are loaded once per process.

    ``number`` is the place of the step in its plan; ``journal`` is there while a shard of a folder is being made.
    """

    def __init__(
        self, settings: Settings, step: str, models: dict[Any, Any] | None = None, number: int = 0,
        costs: Costs | None = None,
    ) -> None:  # fmt: skip
        self.settings = settings
        self.step = step
        self.number = number
        self.journal: Journal | None = None
        self.tally = Tally()
        self.inputs: list[str] = []
        self.json = False
        self.data: BinaryIO | None = None
        self.perform: Perform = _nobody_performs
        self.reject: Callable[[Sample, str], None] | None = None
        self.models = {} if models is None else models
        self.costs = costs or _own_costs()
        self._failures_before = 0

    @property
    def seed(self) -> int:
        return self.settings.seed

    @property
    def device(self) -> str:
        """``auto`` resolved to cuda, mps or cpu; what models compute is counted from now on."""
        device = resolved(self.settings.device)
        self.costs.operations.watch()
        return device

    def drop(self, sample: Sample, reason: str) -> None:
        """Leave a sample out on purpose: counted, and kept by ``--rejects``."""
        self.tally.dropped[reason] += 1
        if self.reject is not None:
            self.reject(sample, reason)

    def fail(self, sample: Sample, reason: str) -> None:
        """Drop a sample that cannot be used. Raises ``CapivaraError`` past ``--max-failures``."""
        self.drop(sample, reason)
        self.tally.failed += 1
        limit = self.settings.max_failures
        if 0 <= limit < self.tally.failed + self._failures_before:
            raise CapivaraError(
                f"{self.step}: more than {limit} samples cannot be used; the last is {sample.key!r}: {reason}",
                "raise --max-failures, or mend the input",
            )

    def note(self, what: str, count: int = 1) -> None:
        """Count something the user should know that loses nothing."""
        self.tally.notes[what] += count

    def next_shard(self) -> Tally:
        """Close the books of one shard and open new ones; models stay loaded."""
        closed, self.tally = self.tally, Tally()
        self._failures_before += closed.failed
        return closed

    def once(self, key: Any, load: Callable[[], Result]) -> Result:
        """``load()`` the first time ``key`` is asked for in this process, the same object ever after."""
        if key not in self.models:
            self.models[key] = load()
            self.costs.operations.watch()
        return self.models[key]


def _nobody_performs(words: Sequence[str], settings: Settings) -> dict[str, Any]:
    raise RuntimeError(f"only the program can perform {words[0]}: it sets Env.perform")


def _own_costs() -> Costs:
    """The costs of an environment that no program has made."""
    from capivara_cli.costs.costs import Costs  # 15 ms that --help does without

    return Costs()
