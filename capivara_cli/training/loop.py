"""The training loop. A resumed run takes the same steps as an uninterrupted one; a non-finite loss ends a run."""

from __future__ import annotations

import contextlib
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
from capivara_cli.errors import CapivaraError
from capivara_cli.models.adapters import methods
from capivara_cli.models.clip import Clip
from capivara_cli.models.run_document import Metrics
from capivara_cli.models.run_folder import RunDir
from capivara_cli.training.checkpoints import Checkpoints
from capivara_cli.training.data import Batch, Batches
from capivara_cli.training.encoder import Encoded, Encoder, ImageEncoder
from capivara_cli.training.memory import peak_bytes
from capivara_cli.training.objective import MAX_LOGIT_SCALE, Features, Objective
from capivara_cli.training.optimization import Average, optimizer
from capivara_cli.training.options import Options
from capivara_cli.training.teacher import Teacher
from capivara_cli.training.trackers import Log
from capivara_cli.training.validation import Validation

_NAMED = 5
"""Number of keys of a batch that an error names."""


@dataclass(frozen=True)
class TrainerInputs:
    """The inputs of a trainer. ``images``: the encoder of images, None if the image tower is frozen."""

    clip: Clip
    encoder: Encoder
    batches: Batches
    objective: Objective
    images: ImageEncoder | None = None
    validation: Validation | None = None
    teacher: Teacher | None = None


@dataclass
class BestValidation:
    """The best validation so far: its mean recall, its step, and the number of validations since then."""

    score: float = -math.inf
    step: int = 0
    since: int = 0


class Trainer:
    """One run: the tuned parameters of ``clip.model``, the temperature, an optimiser, and a run folder.

    Everything random in a step (the batch, dropout) is seeded by (seed, step), and a checkpoint has the rest of the
    state. So a run that was killed and resumed takes exactly the same steps as an uninterrupted one.
    """

    def __init__(
        self, parts: TrainerInputs, options: Options, seed: int, run: RunDir, log: Log = lambda line: None
    ) -> None:
        self.clip, self.encoder, self.batches = parts.clip, parts.encoder, parts.batches
        self.objective = parts.objective
        self.images, self.validation, self.teacher = parts.images, parts.validation, parts.teacher
        self.options, self.seed, self.run, self._log = options, seed, run, log
        self.schedule, self.selection = options.schedule, options.selection
        self.live_anchors = options.loss.align_anchor == "live"
        self.devices = self.encoder.devices
        clip, self.text = self.clip, self.clip.model.text
        learned = options.learn_temperature and self.objective.needs("images")
        scalars = [clip.model.logit_scale, getattr(clip.model, "logit_bias", None)]
        self.scalars = [each.requires_grad_(learned) for each in scalars if each is not None]
        self.tuned = [each for each in self.text.parameters() if each.requires_grad]
        if self.images is not None:
            self.tuned += [each for each in clip.model.visual.parameters() if each.requires_grad]
        self.parameters = [*self.tuned, *(self.scalars if learned else [])]
        self.optimizer = optimizer(self.schedule.optimizer, self.parameters, self.schedule.weight_decay)
        self.average = Average(self.parameters, self.schedule.ema) if self.schedule.ema else None
        self.best = BestValidation()
        self.checkpoints = Checkpoints(run, clip.device)

    def train(self) -> float:
        """Take the remaining steps from the last checkpoint on; returns pairs per second.

        Afterwards the model has the weights of the best validation; without validation the average (``--ema``), or the
        last weights. Raises ``CapivaraError`` if the loss is not finite. On Ctrl-C it finishes the step, saves a
        checkpoint, and raises ``KeyboardInterrupt``.
        """
        start = self._restore()
        if self.devices.first:
            self.run.cut_metrics(start)
        self.text.train()
        bar = console.Progress("train", self.schedule.steps)
        bar.done = start
        began = time.perf_counter()
        steps = range(start, self.schedule.steps) if not self._out_of_patience else range(0)
        done = 0
        with _Interrupts() as interrupts, contextlib.ExitStack() as files:
            out = None
            if self._writes:
                out = files.enter_context(open(self.run.metrics, "a", encoding="utf-8", buffering=1))
            for step in steps:
                line = self._step(step)
                if (scores := self._validate(step)) is not None:
                    line["val"] = scores
                done += 1
                left = self.schedule.steps - step - 1
                line["timing"]["left"] = round((time.perf_counter() - began) / done * left, 1)
                if out is not None:
                    out.write(json.dumps(line) + "\n")
                    self._log(line)
                bar.advance(suffix=f"{line['timing']['pairs_per_second']:,.0f} pairs/s, loss {line['loss']:.3f}")
                pending = self.devices.any(interrupts.pending)
                every = self.options.resources.checkpoint_every
                due = every and (step + 1) % every == 0
                if due or pending:
                    self._save(step + 1)
                if pending:
                    bar.close()
                    raise KeyboardInterrupt
                if self._out_of_patience:
                    break
        bar.close()
        seconds = max(time.perf_counter() - began, 1e-9)
        self._choose_weights()
        return done * self.batches.size / seconds

    @property
    def _writes(self) -> bool:
        return self.devices.first

    @property
    def _out_of_patience(self) -> bool:
        return bool(self.selection.patience) and self.best.since >= self.selection.patience

    def _step(self, step: int) -> Metrics:
        """Take step ``step``, from 0: draw a batch, encode it, update the parameters; returns its line of metrics."""
        began = time.perf_counter()
        rate = self.schedule.rate(step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        batch = self.batches.draw(step)
        encoded, features, pixels = self._features(batch, step)
        total, terms = self.objective(features)
        if not math.isfinite(total.item()):
            raise self._diverged(step, f"the loss is {total.item()}", batch)
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()
        encoded.backward()
        if pixels is not None:
            pixels.backward()
        self.devices.add_up_gradients(self.tuned)
        self.optimizer.step()
        with torch.no_grad():
            self.clip.model.logit_scale.clamp_(0, MAX_LOGIT_SCALE)
        if self.average is not None:
            self.average.update(step)
        seconds = time.perf_counter() - began
        return {
            "step": step + 1,
            "loss": total.item(),
            "terms": terms,
            "lr": rate,
            "logit_scale": self.clip.model.logit_scale.item(),
            "tokens": encoded.tokens,
            "padded": encoded.padded,
            "timing": {
                "seconds": round(seconds, 6),
                "pairs_per_second": round(self.batches.size / seconds, 1),
                "recomputed": encoded.recomputed,
                "peak_bytes": peak_bytes(self.clip.device),
            },
        }

    def _features(self, batch: Batch, step: int) -> tuple[Encoded, Features, Encoded | None]:
        """The encoded texts, the features of the batch, and the encoded images, None if images are stored vectors.

        A caption that the batch uses several times is encoded once.
        """
        store, live = self.batches.data.store, self.live_anchors
        aligned = self.objective.needs("anchors")
        tuned = [batch.captions.ravel(), *([_real(batch.anchors)] if aligned and live else [])]
        ids = np.unique(np.concatenate(tuned))
        encoded = self.encoder(store.rows(ids), (self.seed, 3, step))
        versions = self._look_up(encoded.features, ids, batch.captions)
        untuned = self._untuned(batch, frozen_anchors=aligned and not live)
        pixels = None
        images = None
        if self.images is not None:
            pixels = self.images([store.pixels[image] for image in batch.images], (self.seed, 4, step))
            images = F.normalize(pixels.features, dim=-1)
        elif self.objective.needs("images"):
            stored = store.images[batch.images, batch.views].astype(np.float32)
            images = F.normalize(torch.from_numpy(stored).to(self.clip.device), dim=-1)
        anchors = (
            self._look_up(encoded.features, ids, batch.anchors) if live else self._look_up(*untuned, batch.anchors)
        )
        targets = self.teacher.sources(batch) if self.teacher else np.zeros((0, 0), np.int64)
        features = Features(
            versions=versions,
            logit_scale=self.clip.model.logit_scale,
            logit_bias=getattr(self.clip.model, "logit_bias", None),
            images=images,
            anchors=anchors if aligned else (),
            aligned=self._mask(batch.anchors) if aligned else (),
            teacher=[self.teacher.of(row).to(self.clip.device) for row in targets] if self.teacher else (),
            has_teacher=self._mask(targets),
            kept=self._look_up(*untuned, batch.captions[:1, -batch.kept :])[0] if self._keeps(batch) else None,
        )
        return encoded, features, pixels

    def _keeps(self, batch: Batch) -> bool:
        return bool(batch.kept) and self.objective.needs("kept")

    def _untuned(self, batch: Batch, frozen_anchors: bool) -> tuple[Tensor, np.ndarray]:
        """Features [n, dim] by the untuned tower of kept captions and frozen anchors, and the ids of these captions."""
        wanted = [batch.captions[0, -batch.kept :]] if self._keeps(batch) else []
        wanted += [_real(batch.anchors)] if frozen_anchors else []
        ids = np.unique(np.concatenate(wanted)) if wanted else np.zeros(0, np.int64)
        if not len(ids):
            return torch.zeros(1, self.clip.dim, device=self.clip.device), ids
        return self.encoder.untuned_features(self.batches.data.store.rows(ids)), ids

    def _look_up(self, features: Tensor, ids: np.ndarray, wanted: np.ndarray) -> list[Tensor]:
        """Features [n, dim] for each row of ids in ``wanted``; arbitrary ones for id -1, which a mask excludes."""
        indexes = np.clip(np.searchsorted(ids, wanted), 0, max(0, len(ids) - 1))
        return [features[torch.from_numpy(row).to(features.device)] for row in indexes]

    def _mask(self, ids: np.ndarray) -> list[Tensor]:
        return [torch.from_numpy(row >= 0).to(self.clip.device) for row in ids]

    def _validate(self, step: int) -> dict[str, float] | None:
        """Validate every ``val_every`` steps and after the last one; save the best weights. None for other steps."""
        every = self.selection.val_every
        if self.validation is None or not ((every and (step + 1) % every == 0) or step + 1 == self.schedule.steps):
            return None
        with self.average.applied() if self.average else contextlib.nullcontext():
            scores = self.validation(self.encoder)
            if scores["mean"] > self.best.score:
                self.best = BestValidation(scores["mean"], step + 1)
                if self._writes:
                    self.checkpoints.save_best(step + 1, self._weights())
            else:
                self.best.since += 1
        self.text.train()
        return scores

    def _choose_weights(self) -> None:
        if self.best.step:
            self._load_weights(self.checkpoints.best())
        elif self.average is not None:
            self.average.apply()

    def _weights(self) -> dict[str, Any]:
        state = {"adapter": methods.state(self.text), "scalars": [each.detach().cpu() for each in self.scalars]}
        if self.images is not None:
            state["visual"] = self.clip.model.visual.state_dict()
        return state

    def _load_weights(self, state: dict[str, Any]) -> None:
        methods.set_state(self.text, state["adapter"])
        if self.images is not None:
            self.clip.model.visual.load_state_dict(state["visual"])
        with torch.no_grad():
            for scalar, value in zip(self.scalars, state["scalars"], strict=True):
                scalar.copy_(value)

    def _save(self, step: int) -> None:
        if not all(torch.isfinite(each).all() for each in self.parameters):
            raise self._diverged(step - 1, "a weight is not finite")
        if self._writes:
            state = {
                **self._weights(),
                "optimizer": self.optimizer.state_dict(),
                "average": self.average.values if self.average else [],
                "best": [self.best.score, self.best.step, self.best.since],
            }
            self.checkpoints.save(step, state)
        self.devices.wait()

    def _restore(self) -> int:
        """Load the last checkpoint, if any; returns the number of finished steps."""
        state = self.checkpoints.last(self.devices)
        if state is None:
            return 0
        self._load_weights(state)
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average.values = state["average"]
        self.best = BestValidation(*state["best"])
        step: int = state["step"]
        steps = self.schedule.steps
        where = f"at step {step + 1:,} of {steps:,}" if step < steps else f"after the last step, {steps:,}"
        console.say(f"{self.run}: resumed {where}")
        return step

    def _diverged(self, step: int, what: str, batch: Batch | None = None) -> CapivaraError:
        saved = self.run.checkpoint_steps()
        kept = f"; the checkpoint of step {saved[-1]:,} is kept" if saved else ""
        of = ""
        if batch is not None:
            keys = [self.batches.data.store.key(image) for image in batch.images[:_NAMED]]
            of = f", on the batch of {', '.join(map(repr, keys))}{' …' if len(batch.images) > _NAMED else ''}"
        return CapivaraError(
            f"{self.run}: training diverged at step {step + 1:,}: {what}{of}{kept}",
            "try a lower --lr, a longer --warmup, or --no-learn-temperature, under another --name",
        )


def _real(ids: np.ndarray) -> np.ndarray:
    return ids[ids >= 0]


class _Interrupts:
    """Delays Ctrl-C to the end of a step, because within a step some weights are updated and others are not.

    A second Ctrl-C takes effect at once. Outside the main thread no handler can be set, so Ctrl-C works as usual.
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
