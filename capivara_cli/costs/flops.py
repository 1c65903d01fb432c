"""Floating-point operations of the models that this process runs, counted as they run.

A matrix product of [n, i] and [i, o] is 2·n·i·o operations: for a transformer about 2 per parameter and token forward.
The backward pass does that again for the input and once more for the weights, each where a gradient is asked for: 6 per
parameter and token when all is trained, 4 through a frozen layer, 2 without a graph. Counted are linear layers,
convolutions and PyTorch's own attention; left out is what is small beside them: the products of queries and keys
inside transformers' attention (2 % at 77 tokens), norms, the loss. What ``torch.compile`` has built is not seen.
"""

from __future__ import annotations

import functools
import math
import sys
import threading
from collections.abc import Callable
from typing import Any

_lock = threading.Lock()
_total = 0
_told = 0
_watched = False


def add(operations: int) -> None:
    """Count what no layer of PyTorch computes: a model in CTranslate2, a worker process."""
    global _total
    with _lock:
        _total += operations


def total() -> int:
    """Operations of this process so far."""
    return _total


def taken() -> int:
    """Operations since this was last asked: what a worker reports to who has started it."""
    global _told
    before, _told = _told, _total
    return _told - before


def watch() -> None:
    """Count from now on, if torch is loaded; again and again is the same as once."""
    global _watched
    if not _watched and "torch" in sys.modules:
        from torch.nn.modules.module import register_module_forward_hook

        _watched = True
        register_module_forward_hook(_after_forward)


def _after_forward(module: Any, inputs: tuple[Any, ...], output: Any) -> None:
    counted = _counter(type(module))  # type: ignore[arg-type]  # types can be hashed
    if counted is None or not inputs:
        return
    import torch

    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return
    forward = counted(module, inputs, output)
    add(forward * (1 + _backward(module, inputs[0])))


def _backward(module: Any, first: Any) -> int:
    """How often the operations of the forward pass come again in the backward pass."""
    import torch

    if not torch.is_grad_enabled():
        return 0
    weight = getattr(module, "weight", None)
    if weight is None:
        weight = getattr(module, "in_proj_weight", None)
    return int(first.requires_grad) + int(weight is not None and weight.requires_grad)


@functools.cache
def _counter(kind: type) -> Callable[[Any, tuple[Any, ...], Any], int] | None:
    """How a kind of layer is counted, None for one that computes nothing worth it."""
    from torch import nn

    if issubclass(kind, nn.Linear):
        return lambda module, inputs, output: 2 * inputs[0].numel() * module.out_features
    if issubclass(kind, nn.modules.conv._ConvNd):
        return _convolution
    if issubclass(kind, nn.MultiheadAttention):
        return _attention
    if kind.__name__ == "Conv1D":  # transformers' name for a linear layer that is stored the other way round
        return lambda module, inputs, output: 2 * inputs[0].numel() * module.weight.shape[1]
    return None


def _convolution(module: Any, inputs: tuple[Any, ...], output: Any) -> int:
    return 2 * int(output.numel()) * module.in_channels // module.groups * math.prod(module.kernel_size)


def _attention(module: Any, inputs: tuple[Any, ...], output: Any) -> int:
    """Projections of queries, keys and values and of the result, and the two products between queries and keys."""
    queries, keys = inputs[0], inputs[1] if len(inputs) > 1 else inputs[0]
    width = module.embed_dim
    rows, others = queries.numel() // width, keys.numel() // keys.shape[-1]
    axis = 1 if module.batch_first and keys.dim() == 3 else 0
    projections = 2 * rows * width * width * 2 + 2 * others * keys.shape[-1] * width * 2
    return int(projections + 4 * rows * keys.shape[axis] * width)
