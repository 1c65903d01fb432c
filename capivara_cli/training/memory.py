"""The memory budget of training: chunk sizes, and which chunks keep their graphs."""

from __future__ import annotations

import ctypes
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.pipeline.device import free_memory

_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_SHARE = {"cuda": 0.9, "cpu": 0.6}
"""The share of the free memory that training uses without ``--memory``."""
_CHUNK_TOKENS = {"cuda": 16384, "cpu": 2048}
"""The padded tokens of a chunk: enough to keep the device busy, few enough for a CPU's caches."""
_FRAGMENTATION = {"cuda": 1.1, "cpu": 1.2}
"""The memory that an allocator takes, as a multiple of the requested memory; measured, with ``make_room`` in use."""
_LIBRARIES = {"cuda": 0, "cpu": 160 << 20}
"""The final size in bytes of oneDNN's cache of plans for shapes; measured on a CPU, with ``shrink_onednn_cache``."""
_LEAST_TOKENS = 128
_IN_WORK = 1.5
"""The memory of the chunk being computed, as a multiple of its graph: it has gradients and intermediate results too."""


class _Sized(Protocol):
    """A chunk, of which only its number and size matter here."""

    @property
    def number(self) -> int: ...
    @property
    def tokens(self) -> int: ...


@dataclass
class Budget:
    """Determines the size of chunks, and which of them keep their graph until the backward pass.

    ``limit``: bytes for the whole process, including the model; 0 for most of the free memory. ``chunk_tokens``: padded
    tokens of a chunk; before ``fit``, the value of an earlier session of the run, or 0. ``bytes_per_token``: memory of
    a token's graph. ``room``: bytes for all graphs together.
    """

    device: str
    limit: int = 0
    chunk_tokens: int = 0
    bytes_per_token: float = 0.0
    room: float = 0.0

    def fit(self, bytes_per_token: float, model: nn.Module) -> None:
        """Set ``room`` and ``chunk_tokens`` from the measured memory of a token.

        It leaves memory for the gradients of ``model`` and AdamW's moments. Raises ``CapivaraError`` if the smallest
        chunk does not fit into ``limit``.
        """
        kind = _kind(self.device)
        self.bytes_per_token = bytes_per_token * _FRAGMENTATION[kind]
        return_freed_memory()
        used = used_bytes(self.device)
        coming = _LIBRARIES[kind] + 12 * sum(each.numel() for each in model.parameters() if each.requires_grad)
        self.room = (self.limit - used if self.limit else _SHARE[kind] * free_memory(self.device)) - coming
        wanted = self.chunk_tokens or _CHUNK_TOKENS[kind]
        fitting = int(self.room / (_IN_WORK * self.bytes_per_token)) // _LEAST_TOKENS * _LEAST_TOKENS
        if self.limit and fitting < _LEAST_TOKENS:
            least = _IN_WORK * self.bytes_per_token * _LEAST_TOKENS
            raise CapivaraError(
                f"--memory {self.limit / 1e9:.2f}GB is not enough. The model takes {used / 1e9:.2f} GB, the "
                f"optimiser and the libraries {coming / 1e9:.2f} GB, and the smallest chunk {least / 1e9:.2f} GB",
                f"give it --memory {(used + coming + least) / 1e9 + 0.05:.1f}GB or more",
            )
        self.chunk_tokens = max(_LEAST_TOKENS, min(wanted, fitting))

    def kept(self, chunks: Sequence[_Sized]) -> set[int]:
        """The numbers of the chunks that keep their graph: those that fit together with the chunk being computed."""
        left = self.room - self._in_work
        kept = set()
        for chunk in chunks:
            left -= chunk.tokens * self.bytes_per_token
            if left < 0:
                break
            kept.add(chunk.number)
        return kept

    def make_room(self) -> None:
        """Return freed memory to the system if the next chunk might exceed the limit. Call it before each chunk.

        An allocator keeps freed memory in pieces, and the next chunk, which has another shape, does not fit into all of
        them (measured: docs/benchmarks.md).
        """
        if self.limit and used_bytes(self.device) + self._in_work > self.limit:
            return_freed_memory()

    @property
    def _in_work(self) -> float:
        return _IN_WORK * self.chunk_tokens * self.bytes_per_token


def parse_size(text: str) -> int:
    """A size in bytes: ``2GB``, ``1.5G`` and ``800 MB`` in powers of 1000, ``2GiB`` in powers of 1024; "" is 0.

    Raises ``UsageError`` for any other text.
    """
    if not text:
        return 0
    found = re.fullmatch(r"([\d.]+)\s*([KMGT]?)(i?)B?", text.strip(), re.IGNORECASE)
    try:
        size = float(found[1]) * (1024 if found[3] else 1000) ** _POWERS[found[2].upper()] if found else 0.0
    except ValueError:
        size = 0.0
    if size <= 0:
        raise UsageError(f"--memory {text}: not a size", "for example --memory 2GB")
    return int(size)


def used_bytes(device: str) -> int:
    """The memory of this process in bytes: what torch has allocated on a GPU, otherwise its resident memory."""
    if device.startswith("cuda"):
        return torch.cuda.memory_allocated(device)
    import psutil

    return psutil.Process().memory_info().rss


def peak_bytes(device: str) -> int:
    """The peak memory of this process in bytes. (``ru_maxrss`` is in bytes on a Mac, in KiB elsewhere.)"""
    if device.startswith("cuda"):
        return torch.cuda.max_memory_allocated(device)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def shrink_onednn_cache() -> None:
    """Reduce oneDNN's cache of plans to a quarter. It has no effect after the first use of oneDNN in the process.

    oneDNN makes a plan for each shape, and most shapes of captions occur only once: a thousand plans took 0.3 GB.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256")


def return_freed_memory() -> None:
    """Return freed memory of the C library to the system, if it can do that (glibc)."""
    if sys.platform == "linux" and hasattr(library := ctypes.CDLL(None), "malloc_trim"):
        library.malloc_trim(0)


def saved_bytes(forward: Callable[[], object], model: nn.Module) -> int:
    """The bytes that a forward pass keeps for its backward pass: each storage once, without parameters and buffers."""
    parameters = {each.untyped_storage().data_ptr() for each in [*model.parameters(), *model.buffers()]}
    sizes: dict[int, int] = {}
    alive: list[Tensor] = []  # so that no other storage gets the same address

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
