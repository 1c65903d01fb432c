"""Everything that one process keeps account of while it works: one object, made by the program, handed down in ``Env``.

A command that runs others shares it with them, so that nothing between two of them is lost or counted twice.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from capivara_cli.costs import flops
from capivara_cli.costs.carbon_intensity import Intensity
from capivara_cli.costs.live_record import LiveRecord, LiveRecords, Samples, unknown_samples
from capivara_cli.costs.meter import Account, Meter
from capivara_cli.costs.per_step import StepCosts
from capivara_cli.costs.worker_costs import WorkerCosts


class Costs:
    """The costs of this process: operations of models, shares of a plan's steps, costs of workers, and the records
    that commands at work write."""

    def __init__(self) -> None:
        self.operations = flops.COUNTED
        self.steps = StepCosts(self.operations)
        self.workers = WorkerCosts()
        self.account = Account(self.operations, self.workers)
        self._records = LiveRecords()

    def meter(
        self, stage: str, where: Intensity | None = None, *,
        tracked: bool = True, now: bool = False, modelled: bool = False,
    ) -> Meter:  # fmt: skip
        """A meter of what happens inside ``with``; see ``Meter``."""
        return Meter(self.account, stage, where, tracked=tracked, now=now, modelled=modelled)

    def recorded(self, meter: Meter, file: str, wanted: bool) -> AbstractContextManager[LiveRecord | None]:
        """A command at work, whose record is written while it goes on; None unless ``wanted``."""
        return self._records.recorded(LiveRecord(meter, self.steps, file) if wanted else None)

    def record_result_at(self, samples: Samples = unknown_samples, **place: str) -> None:
        """Say where the result of the command at work will be, ``out`` or ``run``, once that folder is there.

        ``samples`` returns how many samples are done. From now on the record of the command is kept in that folder.
        """
        self._records.record_result_at(samples, place)
