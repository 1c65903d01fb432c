"""All cost measurements of one process: one object, which the program makes and passes on in ``Env``.

A command that runs other commands shares it with them, so that nothing is lost or counted twice.
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
    """The costs of this process: operations of models, costs of a plan's steps, costs of workers, and cost records."""

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
        """A meter for the work in a ``with`` block; see ``Meter``."""
        return Meter(self.account, stage, where, tracked=tracked, now=now, modelled=modelled)

    def recorded(self, meter: Meter, file: str, wanted: bool) -> AbstractContextManager[LiveRecord | None]:
        """A context for a running command, with its cost record; None unless ``wanted``."""
        return self._records.recorded(LiveRecord(meter, self.steps, file) if wanted else None)

    def record_result_at(self, samples: Samples = unknown_samples, **place: str) -> None:
        """Write the cost record of the running command to the folder of its result, ``out`` or ``run``, from now on.

        The folder exists. ``samples`` returns the number of samples that are done.
        """
        self._records.record_result_at(samples, place)
