"""Several processes, a device each (``torchrun``), working on the same batch.

Every process draws the same batch, computes the chunks that are its own, and hears the features of the others; the
loss, which is cheap, is computed by all. So each has the gradient of the loss at every feature, takes that of its own
chunks down to the parameters, and the sums over processes are what one process alone would have got.
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
"""The first process reads and embeds the shards while the others wait."""


@dataclass(frozen=True)
class Devices:
    """This process among ``count``, and its ``device``."""

    rank: int = 0
    count: int = 1
    device: str = "cpu"

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def share(self, chunks: Sequence[T]) -> list[T]:
        """The chunks that are this process's; they come sorted by length, so everyone gets about as much."""
        return list(chunks[self.rank :: self.count])

    def add_up(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its sum over all processes."""
        if self.count > 1:
            for tensor in tensors:
                torch.distributed.all_reduce(tensor)

    def add_up_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Sum every parameter's gradient; a process without a chunk of the batch has none, and adds nothing."""
        if self.count > 1:
            for parameter in parameters:
                if parameter.grad is None:
                    parameter.grad = torch.zeros_like(parameter)
                torch.distributed.all_reduce(parameter.grad)

    def any(self, here: bool) -> bool:
        """Whether it is so in any process."""
        if self.count == 1:
            return here
        flag = torch.tensor([float(here)], device=self.device)
        torch.distributed.all_reduce(flag)
        return bool(flag.item())

    def least(self, number: int) -> int:
        """The smallest of the processes' numbers."""
        if self.count == 1:
            return number
        found = torch.tensor([number], device=self.device)
        torch.distributed.all_reduce(found, torch.distributed.ReduceOp.MIN)
        return int(found.item())

    def wait(self) -> None:
        if self.count > 1:
            torch.distributed.barrier()


def launched() -> bool:
    """Whether torchrun started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "MASTER_ADDR" in os.environ


def join(device: str) -> Devices:
    """This process among those that ``torchrun`` started: nccl between GPUs, gloo between CPUs."""
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
