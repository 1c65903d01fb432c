"""The training loop of the toy captioner and rewriter: Muon for the weight matrices, AdamW for the rest.

In short trials Muon needed about half as many images as AdamW to learn the shapes, and most of the time is spent on
images. Muon needs torch 2.9, but only to rebuild the toy models, not to use them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial

import torch

# Parts of the names of embeddings and output heads. Muon does not suit them: their rows are independent.
ROWWISE = ("embed", "lm_head", "things", "facts")


def fit(
    modules: Sequence[torch.nn.Module], loss_of: Callable[[], torch.Tensor], steps: int, rate: float, name: str
) -> None:
    """Minimise `loss_of`, which draws a new batch at each call. Every hundredth loss is printed to stderr."""
    optimizers = make_optimizers(modules, rate)
    schedules = [torch.optim.lr_scheduler.LambdaLR(each, partial(rate_factor, steps=steps)) for each in optimizers]
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
    """Return Muon at `rate` for the hidden weight matrices, and AdamW at 0.4 of `rate` for all other parameters."""
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


def rate_factor(step: int, steps: int) -> float:
    """Return the share of the peak learning rate at `step`: a warm-up of 5% of the steps, then linear decay to 2%."""
    return min(1.0, (step + 1) / (0.05 * steps)) * (1 - 0.98 * step / steps)
