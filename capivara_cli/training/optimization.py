"""Optimisers, the learning-rate schedule, and averages of weights."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence

import torch
from torch.nn import Parameter

BETAS = (0.9, 0.98)
EPSILON = 1e-6


def learning_rate(step: int, *, steps: int, warmup: int, peak: float, floor: float) -> float:
    """The rate at ``step`` (from 0): linear from ``floor`` to ``peak`` in ``warmup`` steps, then half a cosine back.

    The schedule of CAPIVARA (CosineWarmupLR), which starts its warm-up at ``floor``, not at 0.
    """
    if step < warmup:
        return floor + (peak - floor) * step / warmup
    progress = (step - warmup) / max(1, steps - warmup)
    return floor + (peak - floor) * (1 + math.cos(math.pi * progress)) / 2


def capped_warmup(warmup: int, steps: int) -> int:
    """``warmup``, or a sixth of the steps (the paper's share, 250 of 1500) where it is more than half of them."""
    return warmup if warmup <= steps // 2 else steps // 6


def optimizer(kind: str, parameters: Sequence[Parameter], decay: float) -> torch.optim.Optimizer:
    """``adamw``: decoupled decay, on matrices alone. ``adam-l2``: the L2 penalty on everything, as CAPIVARA had it.

    With Adam an L2 penalty of 0.2 outweighs the gradient of a contrastive loss and drives weights to zero by their
    sign; it is kept for comparison.
    """
    if kind == "adam-l2":
        return torch.optim.Adam(parameters, betas=BETAS, eps=EPSILON, weight_decay=decay)
    groups = [
        {"params": [each for each in parameters if each.dim() >= 2], "weight_decay": decay},
        {"params": [each for each in parameters if each.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, betas=BETAS, eps=EPSILON)


class Average:
    """An exponential moving average of parameters, each step decay·average + (1 - decay)·value, in float32.

    Early on the decay is (1 + step) / (10 + step) where that is less, so the beginning is forgotten.
    """

    def __init__(self, parameters: Sequence[Parameter], decay: float) -> None:
        self._parameters, self._decay = list(parameters), decay
        self.values = [each.detach().clone() for each in parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """After optimiser step ``step``, from 0."""
        decay = min(self._decay, (1 + step) / (10 + step))
        for value, parameter in zip(self.values, self._parameters, strict=True):
            value.lerp_(parameter, 1 - decay)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """The parameters are the averages, for as long as the context lasts."""
        own = [each.detach().clone() for each in self._parameters]
        self.take_over()
        try:
            yield
        finally:
            self._set(own)

    def take_over(self) -> None:
        """The parameters become the averages, for good."""
        self._set(self.values)

    @torch.no_grad()
    def _set(self, values: Sequence[torch.Tensor]) -> None:
        for parameter, value in zip(self._parameters, values, strict=True):
            parameter.copy_(value)
