"""The training loop of the toy captioner and rewriter: Muon for the weight matrices, AdamW for the rest.

In short trials Muon learned the shapes from about half the images that AdamW took, and images cost the minutes.
It needs torch 2.9; only rebuilding the toy models does, not using them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial

import torch

# Embeddings and output heads, by parts of their names, are not for Muon: their rows are independent of each other.
ROWWISE = ("embed", "lm_head", "things", "facts")


def fit(
    modules: Sequence[torch.nn.Module], loss_of: Callable[[], torch.Tensor], steps: int, rate: float, name: str
) -> None:
    """Take `steps` steps down `loss_of`, which draws a new batch at each call; every hundredth loss goes to stderr."""
    optimizers = make_optimizers(modules, rate)
    schedules = [torch.optim.lr_scheduler.LambdaLR(each, partial(rise_and_fall, steps=steps)) for each in optimizers]
    parameters = [parameter for module in modules for parameter in module.parameters()]
    for step in range(steps):
        loss = loss_of()
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        for optimizer in optimizers:
            optimizer.step()
        for schedule in schedules:
            schedule.step()
        if step % 100 == 0:
            sys.stderr.write(f"{name}: step {step} of {steps}, loss {loss.item():.3f}\n")


def make_optimizers(modules: Sequence[torch.nn.Module], rate: float) -> list[torch.optim.Optimizer]:
    """Return Muon for the hidden weight matrices at `rate` and AdamW for everything else at 0.4 of it."""
    matrices: list[torch.nn.Parameter] = []
    others: list[torch.nn.Parameter] = []
    for module in modules:
        for name, parameter in module.named_parameters():
            hidden = parameter.ndim == 2 and not any(part in name for part in ROWWISE)
            (matrices if hidden else others).append(parameter)
    return [
        torch.optim.Muon(matrices, lr=rate, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=0.4 * rate, betas=(0.9, 0.98), weight_decay=0.01),
    ]


def rise_and_fall(step: int, steps: int) -> float:
    """Return the share of the peak rate at `step`: up in the first twentieth, then down to a fiftieth, linearly."""
    return min(1.0, (step + 1) / (0.05 * steps)) * (1 - 0.98 * step / steps)
