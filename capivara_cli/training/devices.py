"""Train on several devices: one process per device, started by ``torchrun``, all working on the same batch.

Every process draws the same batch, encodes its own share of the chunks, and receives the features of the others. Each
computes the whole loss, which is cheap, and so has the gradient of every feature. It then propagates the gradient of
its own chunks back to the parameters. The sum over processes is the gradient that one process would have computed.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

T = TypeVar("T")
_PATIENCE = datetime.timedelta(hours=12)
"""How long a process waits for the others: only the first one reads and embeds the shards."""


@dataclass(frozen=True)
class Devices:
    """This process, number ``rank`` of ``count``, and its ``device``."""

    rank: int = 0
    count: int = 1
    device: str = "cpu"

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and messages."""
        return self.rank == 0

    def share(self, chunks: Sequence[T]) -> list[T]:
        """This process's share of the chunks. They are sorted by length, so all shares take about the same time."""
        return list(chunks[self.rank :: self.count])

    def add_up(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its sum over all processes."""
        if self.count > 1:
            for tensor in tensors:
                torch.distributed.all_reduce(tensor)

    def add_up_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each parameter's gradient by its sum over all processes; a process without a chunk adds zero."""
        if self.count > 1:
            for parameter in parameters:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                torch.distributed.all_reduce(parameter.grad)

    def any(self, here: bool) -> bool:
        """Whether ``here`` is true in any process."""
        if self.count == 1:
            return here
        flag = torch.tensor([float(here)], device=self.device)
        torch.distributed.all_reduce(flag)
        return bool(flag.item())

    def least(self, number: int) -> int:
        """The smallest of all processes' numbers."""
        if self.count == 1:
            return number
        found = torch.tensor([number], device=self.device)
        torch.distributed.all_reduce(found, torch.distributed.ReduceOp.MIN)
        return int(found.item())

    def wait(self) -> None:
        """Wait until all processes have called this."""
        if self.count > 1:
            torch.distributed.barrier()


def launched() -> bool:
    """Whether torchrun started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "MASTER_ADDR" in os.environ


def join(device: str) -> Devices:
    """Join the processes that ``torchrun`` started: nccl between GPUs, gloo between CPUs."""
    if not launched():
        return Devices(device=device)
    local = int(os.environ.get("LOCAL_RANK", "0"))
    on_gpus = device.startswith("cuda") and torch.cuda.device_count() > local
    if on_gpus:
        device = f"cuda:{local}"
        torch.cuda.set_device(device)
    if not torch.distributed.is_initialized():
        torch.distributed.init_process_group("nccl" if on_gpus else "gloo", timeout=_PATIENCE)
    return Devices(torch.distributed.get_rank(), torch.distributed.get_world_size(), device)
