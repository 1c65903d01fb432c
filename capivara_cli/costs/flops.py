"""Floating-point operations of the models that this process runs, counted as they run.

A matrix product of [n, i] and [i, o] takes 2·n·i·o operations: in a transformer about 2 per parameter and token in the
forward pass. The backward pass takes as many for the gradient of the input and as many for that of the weights, each
only if it is needed. In total that is 6 per parameter and token for a trained layer, 4 for a frozen one that passes
gradients on, 2 without a graph. Linear layers, convolutions and PyTorch's own attention are counted. Small parts are
not: the products of queries and keys in transformers' attention (2 % at 77 tokens), norms, the loss. Models that
``torch.compile`` has compiled are not counted.
"""

from __future__ import annotations

import functools
import math
import sys
import threading
from collections.abc import Callable
from typing import Any


class Operations:
    """A count of floating-point operations. Threads may add to it at the same time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reported = 0
        self._hook: Any = None
        self.total = 0

    def add(self, operations: int) -> None:
        """Count operations outside PyTorch's layers: those of CTranslate2 or of a worker process."""
        with self._lock:
            self.total += operations

    def take(self) -> int:
        """Operations since the last call. A worker reports them to the process that started it."""
        before, self._reported = self._reported, self.total
        return self._reported - before

    def watch(self) -> None:
        """Count the layers of PyTorch from now on, if torch is loaded. Further calls have no effect."""
        if self._hook is None and "torch" in sys.modules:
            from torch.nn.modules.module import register_module_forward_hook

            self._hook = register_module_forward_hook(self._after_forward)

    def unwatch(self) -> None:
        """Count no layers from now on: the modules of a program that uses the library are its own."""
        if self._hook is not None:
            self._hook.remove()
            self._hook = None

    def _after_forward(self, module: Any, inputs: tuple[Any, ...], output: Any) -> None:
        counted = _counter(type(module))  # type: ignore[arg-type]  # types can be hashed
        if counted is None or not inputs:
            return
        import torch

        if torch.compiler.is_compiling() or torch.jit.is_tracing():
            return
        forward = counted(module, inputs, output)
        self.add(forward * (1 + _backward(module, inputs[0])))


COUNTED = Operations()
"""The count of this process. There can be only one: PyTorch calls its hook for every module of the process, and does
not tell which command runs the module."""


def _backward(module: Any, first: Any) -> int:
    """How many times the backward pass repeats the operations of the forward pass."""
    import torch

    if not torch.is_grad_enabled():
        return 0
    weight = getattr(module, "weight", None)
    if weight is None:
        weight = getattr(module, "in_proj_weight", None)
    return int(first.requires_grad) + int(weight is not None and weight.requires_grad)


@functools.cache
def _counter(kind: type) -> Callable[[Any, tuple[Any, ...], Any], int] | None:
    """The function that counts a kind of layer; None for a layer whose operations are negligible."""
    from torch import nn

    if issubclass(kind, nn.Linear):
        return lambda module, inputs, output: 2 * inputs[0].numel() * module.out_features
    if issubclass(kind, nn.modules.conv._ConvNd):
        return _convolution
    if issubclass(kind, nn.MultiheadAttention):
        return _attention
    if kind.__name__ == "Conv1D":  # in transformers: a linear layer with its weight transposed
        return lambda module, inputs, output: 2 * inputs[0].numel() * module.weight.shape[1]
    return None


def _convolution(module: Any, inputs: tuple[Any, ...], output: Any) -> int:
    return 2 * int(output.numel()) * module.in_channels // module.groups * math.prod(module.kernel_size)


def _attention(module: Any, inputs: tuple[Any, ...], output: Any) -> int:
    """The projections of queries, keys, values and result, and the two products: queries by keys, weights by values."""
    queries, keys = inputs[0], inputs[1] if len(inputs) > 1 else inputs[0]
    width = module.embed_dim
    rows, others = queries.numel() // width, keys.numel() // keys.shape[-1]
    axis = 1 if module.batch_first and keys.dim() == 3 else 0
    projections = 2 * rows * width * width * 2 + 2 * others * keys.shape[-1] * width * 2
    return int(projections + 4 * rows * keys.shape[axis] * width)
