"""How much memory training may take, and what fits into it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from capivara_cli.errors import CapivaraError, UsageError

_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SHARE = {"cuda": 0.9, "cpu": 0.6}
"""Of the memory that is free, what is taken when nothing is said."""
_CHUNK_TOKENS = {"cuda": 16384, "cpu": 2048}
"""Padded tokens computed at once: enough to keep the device busy, few enough for a CPU's caches."""
_SCATTERED = {"cuda": 1.1, "cpu": 1.7}
"""What an allocator takes over what is asked of it; measured on a CPU, where threads have heaps of their own."""
_LEAST_TOKENS = 128
_PASSING = 1.5
"""A chunk in work takes this many times what its graph holds: gradients and intermediate results on their way."""


class _Sized(Protocol):
    @property
    def number(self) -> int: ...
    @property
    def tokens(self) -> int: ...


@dataclass
class Budget:
    """Which chunks may keep their graph. ``limit``: bytes in all, the model included; 0: what is free, with a margin.

    ``bytes_per_token`` is measured on the first batch (0 until then), ``room`` is what the graphs may take together.
    """

    device: str
    limit: int = 0
    chunk_tokens: int = 0
    bytes_per_token: float = 0.0
    room: float = 0.0

    def __post_init__(self) -> None:
        self.chunk_tokens = self.chunk_tokens or _CHUNK_TOKENS[_kind(self.device)]

    def settle(self, bytes_per_token: float, model: nn.Module) -> None:
        """Take note of what a token costs; smaller chunks where one alone would not fit. ``CapivaraError`` if none."""
        self.bytes_per_token = bytes_per_token * _SCATTERED[_kind(self.device)]
        used = used_bytes(self.device)
        self.room = (self.limit - used) if self.limit else _SHARE[_kind(self.device)] * free_bytes(self.device)
        while self.chunk_tokens > _LEAST_TOKENS and self._passing > self.room:
            self.chunk_tokens //= 2
        if self.limit and self._passing > self.room:
            needed = used + self._passing
            raise CapivaraError(
                f"--memory {self.limit / 1e9:.2f}GB is not enough: the process takes {used / 1e9:.2f} GB with the "
                f"model alone, and {_LEAST_TOKENS} tokens at a time {self._passing / 1e9:.2f} GB",
                f"give it --memory {needed / 1e9:.1f}GB or more",
            )

    def kept(self, chunks: Sequence[_Sized]) -> set[int]:
        """Numbers of the chunks whose graph fits beside the one in work."""
        left = self.room - self._passing
        kept = set()
        for chunk in chunks:
            left -= chunk.tokens * self.bytes_per_token
            if left < 0:
                break
            kept.add(chunk.number)
        return kept

    @property
    def _passing(self) -> float:
        return _PASSING * self.chunk_tokens * self.bytes_per_token


def parse_size(text: str) -> int:
    """``2GB``, ``1.5G``, ``800 MB`` in bytes (powers of 1024); "" is 0."""
    if not text:
        return 0
    found = re.fullmatch(r"([\d.]+)\s*([KMGT]?)i?B?", text.strip(), re.IGNORECASE)
    try:
        size = float(found[1]) * _UNITS[found[2].upper()] if found else 0.0
    except ValueError:
        size = 0.0
    if size <= 0:
        raise UsageError(f"--memory {text}: not a size", "as in --memory 2GB")
    return int(size)


def used_bytes(device: str) -> int:
    """What this process takes: on CUDA what torch has allocated there, else its resident memory."""
    if device.startswith("cuda"):
        return torch.cuda.memory_allocated(device)
    import psutil

    return psutil.Process().memory_info().rss


def peak_bytes(device: str) -> int:
    """The most this process has taken so far; on a Mac, which counts in bytes, as elsewhere, which count in KiB."""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    import resource
    import sys

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def free_bytes(device: str) -> int:
    if device.startswith("cuda"):
        return torch.cuda.mem_get_info(device)[0]
    import psutil

    return psutil.virtual_memory().available


def saved_bytes(forward: Callable[[], Any], model: nn.Module) -> int:
    """Bytes that a forward pass keeps for its backward pass, parameters not counted, each storage once."""
    parameters = {each.untyped_storage().data_ptr() for each in [*model.parameters(), *model.buffers()]}
    sizes: dict[int, int] = {}
    alive: list[Tensor] = []  # a freed storage's address is given out again

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            sizes[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        forward()
    return sum(sizes.values())


def _kind(device: str) -> str:
    return "cuda" if device.startswith("cuda") else "cpu"
