"""The share of the shards that this process makes, by ``--share``, torchrun or Slurm; by default all of them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from capivara_cli.errors import UsageError


@dataclass(frozen=True)
class Share:
    """Share ``number`` (from 1) of ``of`` shares: every ``of``-th of ``total`` shards, from the ``number``-th on."""

    number: int
    of: int
    total: int

    @property
    def indices(self) -> range:
        """The numbers of the shards, from 0."""
        return range(self.number - 1, self.total, self.of)

    @property
    def text(self) -> str:
        return f"{self.number}/{self.of}"

    def remark(self, done: int) -> str:
        """The message at the end of a run that leaves the folder incomplete, with ``done`` finished shards."""
        return f"share {self.text} is done; {done:,} of {self.total:,} shards of the folder are finished"


def share_of(text: str, total: int, environment: Mapping[str, str] = os.environ) -> Share:
    """The share of ``total`` shards by ``text`` ("I/N"), or by the environment if that is empty; else all shards."""
    number, count = parse(text) if text else launched_share(environment)
    return Share(number, count, total)


def parse(text: str) -> tuple[int, int]:
    """``"2/8"`` -> (2, 8). Raises ``UsageError`` for any other text."""
    found = re.fullmatch(r"(\d+)/(\d+)", text.strip())
    number, count = (int(found[1]), int(found[2])) if found else (0, 0)
    if not 1 <= number <= count:
        raise UsageError(f"--share {text}: must be I/N with I from 1 to N", "the first of eight processes: --share 1/8")
    return number, count


def launched_share(environment: Mapping[str, str]) -> tuple[int, int]:
    """The number of this process, from 1, and the count of processes that torchrun, srun or sbatch --array started.

    (1, 1) if none of them started it.
    """
    rank, world = _number(environment, "RANK"), _number(environment, "WORLD_SIZE")
    if rank is not None and world is not None and rank < world:
        return rank + 1, world
    task, tasks = _array(environment)
    process, processes = _step(environment)
    return task * processes + process + 1, tasks * processes


def _array(environment: Mapping[str, str]) -> tuple[int, int]:
    """The index of this task in a Slurm array, and the number of tasks.

    (0, 1) for an array with gaps: some tasks are run again, and all of them share the shards that are missing.
    """
    names = ("ID", "MIN", "MAX", "COUNT", "STEP")
    index, first, last, count, step = (_number(environment, f"SLURM_ARRAY_TASK_{name}") for name in names)
    if index is None or first is None or last is None or not count:
        return 0, 1
    step = step or 1
    regular = (last - first) % step == 0 and (last - first) // step + 1 == count and (index - first) % step == 0
    return ((index - first) // step, count) if regular else (0, 1)


def _step(environment: Mapping[str, str]) -> tuple[int, int]:
    """The index and number of processes that srun started. A batch script is one process: there they mean nothing."""
    if "SLURM_STEP_ID" not in environment:
        return 0, 1
    process = _number(environment, "SLURM_PROCID")
    processes = _number(environment, "SLURM_STEP_NUM_TASKS") or _number(environment, "SLURM_NTASKS")
    return (process, processes) if process is not None and processes and process < processes else (0, 1)


def _number(environment: Mapping[str, str], name: str) -> int | None:
    text = environment.get(name, "")
    return int(text) if text.isdigit() else None
