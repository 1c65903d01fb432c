"""The schedule of the optimiser: number of steps, batch size, learning rate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from capivara_cli.pipeline.options import opt


@dataclass(frozen=True)
class Schedule:
    """Steps, batch size, learning rate and optimiser; the defaults are those of CAPIVARA + Opt (arXiv 2310.13683)."""

    steps: int = opt(1500, "training steps", min=1)
    batch_size: int = opt(1000, "pairs per step; all pairs if there are fewer", min=2)
    lr: float = opt(1e-5, "highest learning rate", min=0)
    min_lr: float = opt(1e-6, "learning rate at the start and at the end", min=0)
    warmup: int = opt(250, "steps of warm-up", min=0)
    weight_decay: float = opt(0.2, "weight decay", min=0)
    optimizer: Literal["adamw", "adam-l2"] = opt("adamw", "adamw: decay on matrices; adam-l2: as in the paper")
    ema: float = opt(0.0, "moving average of the weights, such as 0.999; 0: none", min=0, max=1)

    @property
    def warmup_steps(self) -> int:
        """``warmup``; if that is more than half of the steps, a sixth of them (the paper's share, 250 of 1500)."""
        return self.warmup if self.warmup <= self.steps // 2 else self.steps // 6

    def rate(self, step: int) -> float:
        """The learning rate at ``step``, from 0.

        Linear from ``min_lr`` to ``lr`` during the warm-up, then half a cosine back to ``min_lr``: the schedule of
        CAPIVARA (CosineWarmupLR), which starts its warm-up at ``min_lr``, not at 0.
        """
        floor, warmup = min(self.min_lr, self.lr), self.warmup_steps
        if step < warmup:
            return floor + (self.lr - floor) * step / warmup
        progress = (step - warmup) / max(1, self.steps - warmup)
        return floor + (self.lr - floor) * (1 + math.cos(math.pi * progress)) / 2
