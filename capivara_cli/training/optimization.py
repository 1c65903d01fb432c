"""Optimisers and the learning-rate schedule."""

from __future__ import annotations

import math
from collections.abc import Sequence

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
