"""How much memory training may take, and what fits into it."""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from capivara_cli.errors import CapivaraError, UsageError

_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_SHARE = {"cuda": 0.9, "cpu": 0.6}
"""Of the memory that is free, what is taken when nothing is said."""
_CHUNK_TOKENS = {"cuda": 16384, "cpu": 2048}
"""Padded tokens computed at once: enough to keep the device busy, few enough for a CPU's caches."""
_SCATTERED = {"cuda": 1.1, "cpu": 1.2}
"""What an allocator is taken to need over what is asked of it; found by trying, with what ``make_room`` gives back."""
_PLANS = {"cuda": 0, "cpu": 160 << 20}
"""What the libraries below come to hold for the shapes they have seen; measured on a CPU, with ``few_plans``."""
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

    ``chunk_tokens``: padded tokens computed at once; 0 until settled, or as an earlier session of the run had it.
    ``bytes_per_token`` is measured on a sample, ``room`` is what the graphs may take together.
    """

    device: str
    limit: int = 0
    chunk_tokens: int = 0
    bytes_per_token: float = 0.0
    room: float = 0.0

    def settle(self, bytes_per_token: float, model: nn.Module) -> None:
        """Take note of what a token costs, and of what gradients and AdamW's moments of ``model`` will take; smaller
        chunks where one alone would not fit. ``CapivaraError`` when the least does not fit into ``limit``."""
        kind = _kind(self.device)
        self.bytes_per_token = bytes_per_token * _SCATTERED[kind]
        give_back()
        used = used_bytes(self.device)
        coming = _PLANS[kind] + 12 * sum(each.numel() for each in model.parameters() if each.requires_grad)
        self.room = (self.limit - used if self.limit else _SHARE[kind] * free_bytes(self.device)) - coming
        wanted = self.chunk_tokens or _CHUNK_TOKENS[kind]
        fitting = int(self.room / (_PASSING * self.bytes_per_token)) // _LEAST_TOKENS * _LEAST_TOKENS
        if self.limit and fitting < _LEAST_TOKENS:
            least = _PASSING * self.bytes_per_token * _LEAST_TOKENS
            raise CapivaraError(
                f"--memory {self.limit / 1e9:.2f}GB is not enough: the process takes {used / 1e9:.2f} GB with the "
                f"model alone, the optimiser and the libraries {coming / 1e9:.2f} GB, and {_LEAST_TOKENS} tokens at a "
                f"time {least / 1e9:.2f} GB",
                f"give it --memory {(used + coming + least) / 1e9 + 0.05:.1f}GB or more",
            )
        self.chunk_tokens = max(_LEAST_TOKENS, min(wanted, fitting))

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

    def make_room(self) -> None:
        """Before a chunk is computed: near the limit, what was freed goes back to the system first.

        An allocator keeps what is freed, in pieces that the next chunk, of another shape, does not wholly fit into.
        With a quarter of what a chunk takes in reserve the limit held (docs/benchmarks.md).
        """
        if self.limit and used_bytes(self.device) + self._passing > self.limit:
            give_back()

    @property
    def _passing(self) -> float:
        return _PASSING * self.chunk_tokens * self.bytes_per_token


def parse_size(text: str) -> int:
    """``2GB``, ``1.5G``, ``800 MB`` in bytes; ``2GiB`` is 2·1024³ of them; "" is 0."""
    if not text:
        return 0
    found = re.fullmatch(r"([\d.]+)\s*([KMGT]?)(i?)B?", text.strip(), re.IGNORECASE)
    try:
        size = float(found[1]) * (1024 if found[3] else 1000) ** _POWERS[found[2].upper()] if found else 0.0
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

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def few_plans() -> None:
    """Have oneDNN keep a quarter of the plans for shapes that it would keep, if it is not at work yet.

    Captions come in shapes that are never seen again; plans for a thousand of them took 0.3 GB.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256")


def give_back() -> None:
    """Let the C library return what it holds of freed memory, where it is one that can be asked to (glibc)."""
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "malloc_trim"):
        library.malloc_trim(0)


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
