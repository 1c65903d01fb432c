"""The training loop: exact to resume, safe to interrupt, and stopped by the first loss that is not a number."""

from __future__ import annotations

import io
import json
import math
import signal
import threading
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (torch's own name for it)

from capivara_cli import console
from capivara_cli.clip import Clip
from capivara_cli.errors import CapivaraError
from capivara_cli.runs import RunDir
from capivara_cli.training import tuning
from capivara_cli.training.data import Batches
from capivara_cli.training.encoder import Encoder
from capivara_cli.training.memory import peak_bytes
from capivara_cli.training.objective import MAX_LOGIT_SCALE, drift, info_nce
from capivara_cli.training.optimization import learning_rate, optimizer


@dataclass(frozen=True)
class Recipe:
    """How a model is trained; ``checkpoint_every`` steps, 0 for never."""

    steps: int
    lr: float
    min_lr: float
    warmup: int
    optimizer: str
    weight_decay: float
    learn_temperature: bool
    keep_weight: float
    checkpoint_every: int
    seed: int


class Trainer:
    """One run: the adapter in ``clip.model.text`` and the temperature, an optimiser, and a folder.

    All that is random in a step (the batch, dropout) is seeded by (seed, step), and a checkpoint holds the rest, so a
    run that was killed and resumed takes the very same steps as one that was not.
    """

    def __init__(self, clip: Clip, encoder: Encoder, batches: Batches, recipe: Recipe, run: RunDir) -> None:
        self.clip, self.encoder, self.batches, self.recipe, self.run = clip, encoder, batches, recipe, run
        self.text = clip.model.text
        self.logit_scale = clip.model.logit_scale.requires_grad_(recipe.learn_temperature)
        self.tuned = [each for each in self.text.parameters() if each.requires_grad]
        self.parameters = [*self.tuned, *([self.logit_scale] if recipe.learn_temperature else [])]
        self.optimizer = optimizer(recipe.optimizer, self.parameters, recipe.weight_decay)

    def train(self) -> float:
        """Take the steps that are left, from the last checkpoint on. Returns pairs per second.

        Raises ``CapivaraError`` when the loss is not finite. Ctrl-C ends the step, saves a checkpoint, and goes on up.
        """
        start = self._restore()
        self.run.cut_metrics(start)
        self.text.train()
        bar = console.Progress("train", self.recipe.steps)
        bar.done = start
        began = time.perf_counter()
        with _Interrupts() as interrupts, open(self.run.metrics, "a", encoding="utf-8", buffering=1) as log:
            for step in range(start, self.recipe.steps):
                line = self._step(step)
                log.write(json.dumps(line) + "\n")
                bar.advance(suffix=f"loss {line['loss']:.3f}")
                due = self.recipe.checkpoint_every and (step + 1) % self.recipe.checkpoint_every == 0
                if due or interrupts.pending:
                    self._save(step + 1)
                if interrupts.pending:
                    bar.close()
                    console.say(
                        f"interrupted: {self.run} is saved at step {step + 1:,}; the same command goes on from there"
                    )
                    raise KeyboardInterrupt
        bar.close()
        return (self.recipe.steps - start) * self.batches.size / max(time.perf_counter() - began, 1e-9)

    def _step(self, step: int) -> dict[str, Any]:
        began = time.perf_counter()
        rate = learning_rate(
            step, steps=self.recipe.steps, warmup=self.recipe.warmup, peak=self.recipe.lr, floor=self.recipe.min_lr
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        embeddings, rows = self.batches.draw(step)
        images = F.normalize(torch.from_numpy(embeddings).to(self.clip.device), dim=-1)
        encoded = self.encoder(rows, (self.recipe.seed, 3, step))
        texts = F.normalize(encoded.features, dim=-1)
        contrast = info_nce(images, texts, self.logit_scale)
        moved = self._drift(rows, texts)
        total = contrast + self.recipe.keep_weight * moved
        if not math.isfinite(total.item()):
            raise self._diverged(step, f"the loss is {total.item()}")
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        encoded.backward()
        self.encoder.devices.add_up([each.grad for each in self.tuned])
        self.optimizer.step()
        with torch.no_grad():
            self.logit_scale.clamp_(0, MAX_LOGIT_SCALE)
        return {
            "step": step + 1,
            "loss": contrast.item(),
            "drift": moved.item(),
            "lr": rate,
            "logit_scale": self.logit_scale.item(),
            "tokens": encoded.tokens,
            "padded": encoded.padded,
            "timing": {
                "seconds": round(time.perf_counter() - began, 6),
                "recomputed": encoded.recomputed,
                "peak_bytes": peak_bytes(self.clip.device),
            },
        }

    def _drift(self, rows: list[np.ndarray], texts: Tensor) -> Tensor:
        """How far the kept captions, the last of the batch, have moved from where the base model has them."""
        kept = self.batches.kept_size
        if not kept or not self.recipe.keep_weight:
            return texts.new_zeros(())
        before = F.normalize(self.encoder.before_training(rows[-kept:]), dim=-1)
        return drift(texts[-kept:], before)

    def _save(self, step: int) -> None:
        if not all(torch.isfinite(each).all() for each in self.parameters):
            raise self._diverged(step - 1, "a weight is not finite")
        buffer = io.BytesIO()
        torch.save(
            {
                "step": step,
                "adapter": tuning.state(self.text),
                "logit_scale": self.logit_scale.detach().cpu(),
                "optimizer": self.optimizer.state_dict(),
            },
            buffer,
        )
        self.run.save_checkpoint(step, buffer.getvalue())
        self.run.save(step=step)

    def _restore(self) -> int:
        """Load the last checkpoint; returns the number of steps done."""
        steps = self.run.checkpoint_steps()
        if not steps:
            return 0
        path = self.run.checkpoint(steps[-1])
        try:
            state = torch.load(path, map_location=self.clip.device, weights_only=True)
            tuning.set_state(self.text, state["adapter"])
            self.optimizer.load_state_dict(state["optimizer"])
            with torch.no_grad():
                self.logit_scale.copy_(state["logit_scale"])
        except (OSError, RuntimeError, ValueError, KeyError, EOFError) as error:
            raise CapivaraError(
                f"{path}: damaged: {error}", "delete it: the run goes on from the one before"
            ) from error
        console.say(f"{self.run}: goes on at step {state['step'] + 1:,} of {self.recipe.steps:,}")
        return state["step"]

    def _diverged(self, step: int, what: str) -> CapivaraError:
        saved = self.run.checkpoint_steps()
        kept = f"; the checkpoint of step {saved[-1]:,} is kept" if saved else ""
        return CapivaraError(
            f"{self.run}: training diverged at step {step + 1:,}: {what}{kept}",
            "try a lower --lr, a longer --warmup, or --no-learn-temperature, under another --name",
        )


class _Interrupts:
    """Ctrl-C takes effect between steps: in the middle of one, half of the weights would be a step ahead.

    The second Ctrl-C is not waited for. Outside the main thread, where no handler can be set, nothing changes.
    """

    def __enter__(self) -> _Interrupts:
        self.pending = False
        self._before: Any = None
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _note(self, number: int, frame: object) -> None:
        if self.pending:
            raise KeyboardInterrupt
        self.pending = True
