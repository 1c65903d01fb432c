"""Optimisers, and the moving average of weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch.nn import Parameter

BETAS = (0.9, 0.98)
EPSILON = 1e-6


def optimizer(kind: str, parameters: Sequence[Parameter], decay: float) -> torch.optim.Optimizer:
    """The optimiser: ``adamw`` has decoupled weight decay on matrices only, ``adam-l2`` an L2 penalty on everything.

    ``adam-l2`` is the optimiser of CAPIVARA's code, kept for comparison. In Adam, an L2 penalty of 0.2 outweighs the
    gradient of a contrastive loss and drives weights to zero. Both use betas of 0.9 and 0.98 and an epsilon of 1e-6.
    """
    if kind == "adam-l2":
        return torch.optim.Adam(parameters, betas=BETAS, eps=EPSILON, weight_decay=decay)
    groups = [
        {"params": [each for each in parameters if each.dim() >= 2], "weight_decay": decay},
        {"params": [each for each in parameters if each.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, betas=BETAS, eps=EPSILON)


class Average:
    """An exponential moving average of parameters: a ← d·a + (1 - d)·θ after each step, in float32.

    d = min(decay, (1 + step) / (10 + step)), so that the weights of the first steps fade quickly.
    """

    def __init__(self, parameters: Sequence[Parameter], decay: float) -> None:
        self._parameters, self._decay = list(parameters), decay
        self.values = [each.detach().clone() for each in parameters]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Update the averages with the parameters after step ``step``, from 0."""
        decay = min(self._decay, (1 + step) / (10 + step))
        for value, parameter in zip(self.values, self._parameters, strict=True):
            value.lerp_(parameter, 1 - decay)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Set the parameters to the averages within this context."""
        own = [each.detach().clone() for each in self._parameters]
        self.apply()
        try:
            yield
        finally:
            self._set(own)

    def apply(self) -> None:
        """Set the parameters to the averages."""
        self._set(self.values)

    @torch.no_grad()
    def _set(self, values: Sequence[torch.Tensor]) -> None:
        for parameter, value in zip(self._parameters, values, strict=True):
            parameter.copy_(value)
