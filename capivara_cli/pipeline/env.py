"""The environment of a step or command: the shared settings, the counts of its samples, and loaded models."""

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
"""Performs a command line, such as ["train", "shards"], with the shared settings, and returns its summary."""
Result = TypeVar("Result")


@dataclass
class Tally:
    """The counts of one step. ``Chain.close_books`` raises an error unless read = written + dropped.

    ``dropped`` counts samples by reason; ``failed`` are those of them that cannot be used; ``notes`` are other counts
    for the user.
    """

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
    """What a running step or command may use.

    ``number``: the index of the step in its plan. ``models``: loaded models, shared by all steps of the process.
    ``journal``: the journal of the shard that is being written to a folder, else None. ``inputs``: the inputs as given.
    ``data``: standard output, for a command that writes a tar to it. ``json``: the command prints its summary as JSON.
    ``perform``: runs another command. ``reject``: stores a dropped sample for ``--rejects``. ``on_drop``: is told of a
    dropped sample before it is counted.
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
        self.perform: Perform = _cannot_perform
        self.reject: Callable[[Sample, str], None] | None = None
        self.on_drop: Callable[[Sample], None] | None = None
        self.models = {} if models is None else models
        self.costs = costs or _own_costs()
        self._failures_before = 0

    @property
    def seed(self) -> int:
        return self.settings.seed

    @property
    def device(self) -> str:
        """The device to run models on. The operations of models are counted from now on."""
        device = resolved(self.settings.device)
        self.costs.operations.watch()
        return device

    def drop(self, sample: Sample, reason: str) -> None:
        """Count a dropped sample with its reason; ``--rejects`` stores it."""
        if self.on_drop is not None:
            self.on_drop(sample)
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
                "raise --max-failures, or repair the input",
            )

    def note(self, what: str, count: int = 1) -> None:
        """Count something that the user should know and that drops no sample."""
        self.tally.notes[what] += count

    def next_shard(self) -> Tally:
        """Return the counts of one shard and start counting the next; models stay loaded."""
        finished, self.tally = self.tally, Tally()
        self._failures_before += finished.failed
        return finished

    def once(self, key: Any, load: Callable[[], Result]) -> Result:
        """Return ``load()``, called once per ``key`` and process: later calls return the same object."""
        if key not in self.models:
            self.models[key] = load()
            self.costs.operations.watch()
        return self.models[key]


def _cannot_perform(words: Sequence[str], settings: Settings) -> dict[str, Any]:
    raise RuntimeError(f"only the program can perform {words[0]}: it sets Env.perform")


def _own_costs() -> Costs:
    """New costs, for an environment that does not belong to a program, as in a test."""
    from capivara_cli.costs.costs import Costs  # 15 ms that --help saves

    return Costs()
