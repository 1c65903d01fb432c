"""The training loop on towers of one layer: which tower embeds what, when it validates, averages, saves and stops."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from support.stores import store_of, strings
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from capivara_cli.errors import CapivaraError
from capivara_cli.models.run_folder import RunDir
from capivara_cli.pipeline.options import build
from capivara_cli.training.data import Anchors, Batches, CaptionPool, select
from capivara_cli.training.devices import Devices
from capivara_cli.training.loop import BestValidation, Trainer, TrainerInputs
from capivara_cli.training.objective import Align, Distill, ImageText, Keep, Objective
from capivara_cli.training.options import Options

DIM = 4
IMAGES = Objective((ImageText(),))


class Tower(nn.Module):
    """A text tower in which a text is one token."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(64, DIM)
        self.words.weight.data = torch.randn(64, DIM, generator=torch.Generator().manual_seed(0))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.words(tokens)[:, 0]


class Encoder:
    """The interface of ``encoder.Encoder``, with the seeds it was given."""

    def __init__(self, tower: Tower) -> None:
        self.tower, self.untuned, self.devices = tower, copy.deepcopy(tower), Devices()
        self.seeds: list[tuple[int, ...]] = []
        self.asked_untuned = 0

    def __call__(self, rows: Sequence[np.ndarray], seed: Sequence[int]) -> Any:
        self.seeds.append(tuple(seed))
        made = self.tower(torch.tensor(np.array(rows, np.int64)))
        leaf = made.detach().requires_grad_()
        return SimpleNamespace(features=leaf, tokens=len(rows), padded=len(rows), recomputed=0,
                               backward=lambda: made.backward(leaf.grad))  # fmt: skip

    def untuned_features(self, rows: Sequence[np.ndarray]) -> Tensor:
        self.asked_untuned += 1
        return self.untuned(torch.tensor(np.array(rows, np.int64))).detach()


@dataclass
class Made:
    """A trainer with its parts, and the weights after each step."""

    trainer: Trainer
    tower: Tower
    encoder: Encoder
    batches: Batches
    run: RunDir
    weights: list[Tensor] = field(default_factory=list)

    def lines(self) -> list[dict[str, Any]]:
        """``metrics.jsonl`` without the clock."""
        return [{key: value for key, value in line.items() if key != "timing"} for line in self.run.read_metrics()]


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., Made]:
    """Make a trainer on eight images with two views, two Portuguese captions, and one English one to keep."""

    def make(objective: Objective = IMAGES, name: str = "pt", **given: Any) -> Made:
        validation, teacher = given.pop("validation", None), given.pop("teacher", None)
        options = build(
            Options,
            **{"lang": "pt", "steps": 6, "lr": 0.1, "min_lr": 0.01, "warmup": 2, "checkpoint_every": 2, **given},
        )
        store = store_of([[2, 1]] * 8)
        keys, key_bounds = strings([f"key{number}" for number in range(8)])
        store = replace(store, keys=keys, key_bounds=key_bounds)
        vectors = np.random.default_rng(0).normal(size=(8, 2, DIM)).astype(np.float16)
        data = select(replace(store, images=vectors), ["pt"], ["en"])
        anchors = Anchors(CaptionPool.of(store, store.lang == 1)) if objective.needs("anchors") else None
        batches = Batches(replace(data, anchors=anchors), 6, 0.34 if objective.needs("kept") else 0.0, seed=0)
        tower = Tower()
        model = nn.Module()
        model.text, model.logit_scale = tower, nn.Parameter(torch.tensor(2.0))
        encoder = Encoder(tower)
        clip: Any = SimpleNamespace(model=model, device="cpu", dim=DIM)
        parts = TrainerInputs(clip, encoder, batches, objective, None, validation, teacher)  # type: ignore[arg-type]
        weights: list[Tensor] = []
        run = RunDir(tmp_path / name)
        run.save(request={}, **BASE)
        trainer = Trainer(parts, options, 5, run, lambda line: weights.append(tower.words.weight.detach().clone()))
        return Made(trainer, tower, encoder, batches, run, weights)

    return make


BASE: Any = {
    "base": {"source": {}, "identity": {}, "image": "1", "text": "2"},
    "data": {"samples": 8, "captions": {}, "authors": [], "embedded_here": 0, "fingerprint": "3"},
}


def rows_of(tower: Tower, ids: np.ndarray) -> Tensor:
    return tower.words.weight.detach()[torch.from_numpy(ids)]


ALL = Objective((ImageText(), Align(), Keep()))


@pytest.mark.parametrize("anchor", ["frozen", "live"])
def test_anchors_are_of_the_base_unless_live_and_kept_captions_always(made: Callable[..., Made], anchor: str) -> None:
    found = made(ALL, align_anchor=anchor)
    with torch.no_grad():
        found.tower.words.weight.add_(1.0)  # it has learned
    batch = found.batches.draw(3)
    assert batch.kept == 2
    _, features, _ = found.trainer._features(batch, 3)
    (texts,), (anchors,), (aligned,) = features.versions, features.anchors, features.aligned
    assert torch.equal(texts, rows_of(found.tower, batch.captions[0]))
    assert aligned.tolist() == [True] * 4 + [False] * 2  # kept captions have no anchor
    tower = found.tower if anchor == "live" else found.encoder.untuned
    assert torch.equal(anchors[aligned], rows_of(tower, batch.anchors[0][batch.anchors[0] >= 0]))
    assert features.kept is not None
    assert torch.equal(features.kept, rows_of(found.encoder.untuned, batch.captions[0, -2:]))


def test_images_are_the_drawn_views(made: Callable[..., Made]) -> None:
    found = made()
    batch = found.batches.draw(0)
    assert set(batch.views.tolist()) == {0, 1}
    _, features, _ = found.trainer._features(batch, 0)
    store = found.batches.data.store
    expected = [store.images[image, view] for image, view in zip(batch.images, batch.views, strict=True)]
    assert features.images is not None
    torch.testing.assert_close(features.images, F.normalize(torch.tensor(np.array(expected, np.float32)), dim=-1))


def test_the_base_is_asked_only_where_a_term_needs_it(made: Callable[..., Made]) -> None:
    for objective, anchor, times in ((IMAGES, "frozen", 0), (ALL, "frozen", 1), (ALL, "live", 1),
                                     (Objective((ImageText(), Align())), "live", 0)):  # fmt: skip
        found = made(objective, align_anchor=anchor)
        found.trainer._features(found.batches.draw(0), 0)
        assert found.encoder.asked_untuned == times


def test_a_caption_learns_from_its_own_source(made: Callable[..., Made]) -> None:
    sources = lambda batch: np.where(batch.captions % 2, batch.captions + 100, -1)  # noqa: E731
    teacher: Any = SimpleNamespace(
        sources=sources, of=lambda ids: torch.from_numpy(ids).float()[:, None].expand(-1, DIM)
    )
    found = made(Objective((ImageText(), Distill())), teacher=teacher)
    batch = found.batches.draw(0)
    _, features, _ = found.trainer._features(batch, 0)
    (target,), (known,) = features.teacher, features.has_teacher
    assert known.tolist() == [bool(caption % 2) for caption in batch.captions[0]]
    assert target[known][:, 0].tolist() == [caption + 100 for caption in batch.captions[0] if caption % 2]


def test_every_step_draws_dropout_of_its_own(made: Callable[..., Made]) -> None:
    found = made()
    found.trainer.train()
    assert len(set(found.encoder.seeds)) == len(found.encoder.seeds) == 6
    assert {seed[0] for seed in found.encoder.seeds} == {5}


def test_the_rate_of_a_step_is_that_of_the_schedule(made: Callable[..., Made]) -> None:
    found = made()
    found.trainer.train()
    schedule = found.trainer.schedule
    assert [line["lr"] for line in found.lines()] == [schedule.rate(step) for step in range(6)]
    assert [line["step"] for line in found.lines()] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(("start", "end"), [(4.7, 4.60517), (-0.5, 0.0)])
def test_the_temperature_stays_between_its_bounds(made: Callable[..., Made], start: float, end: float) -> None:
    found = made(steps=1, warmup=0, lr=1e-6)
    found.trainer.clip.model.logit_scale.data.fill_(start)
    found.trainer.train()
    assert found.trainer.clip.model.logit_scale.item() == pytest.approx(end, abs=1e-4)


def test_the_average_takes_in_every_step_from_the_first_one_on(made: Callable[..., Made]) -> None:
    found = made(ema=0.9)
    expected = found.tower.words.weight.detach().clone()
    found.trainer.train()
    for step, weights in enumerate(found.weights):
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * weights
    assert len(found.weights) == 6 and not torch.equal(found.weights[0], found.weights[-1])
    torch.testing.assert_close(found.tower.words.weight.detach(), expected)


class Scores:
    """A validation with the given scores, and the weights it has seen."""

    def __init__(self, *scores: float) -> None:
        self.left: Iterator[float] = iter(scores)
        self.seen: list[Tensor] = []

    def __call__(self, encoder: Any) -> dict[str, float]:
        self.seen.append(encoder.tower.words.weight.detach().clone())
        return {"mean": next(self.left)}


def test_the_first_of_equal_validations_is_the_best_and_patience_counts_the_others(made: Callable[..., Made]) -> None:
    """Validated at steps 2, 4, 6 and 8: patience of 2 ends after two that are not better than step 4."""
    found = made(steps=20, val="x", val_every=2, patience=2, validation=Scores(5.0, 7.0, 7.0, 6.0))
    found.trainer.train()
    assert found.trainer.best == BestValidation(7.0, 4, 2)
    assert [line["step"] for line in found.lines() if "val" in line] == [2, 4, 6, 8]
    assert len(found.lines()) == 8
    assert torch.equal(found.tower.words.weight, found.weights[3])  # those of step 4


def test_a_better_validation_starts_patience_anew(made: Callable[..., Made]) -> None:
    found = made(steps=5, val="x", val_every=1, patience=2, validation=Scores(5.0, 4.0, 6.0, 5.0, 7.0))
    found.trainer.train()
    assert found.trainer.best == BestValidation(7.0, 5, 0)
    assert len(found.lines()) == 5


def test_the_last_step_is_validated_whatever_its_number(made: Callable[..., Made]) -> None:
    found = made(steps=5, val="x", val_every=2, validation=Scores(1.0, 2.0, 3.0))
    found.trainer.train()
    assert [line["step"] for line in found.lines() if "val" in line] == [2, 4, 5]
    assert found.trainer.best == BestValidation(3.0, 5, 0)


def test_the_average_is_validated_and_the_own_weights_learn_on(made: Callable[..., Made]) -> None:
    scores = Scores(1.0, 2.0)
    found = made(steps=4, ema=0.5, val="x", val_every=2, validation=scores)
    plain = made(steps=4, name="plain")
    found.trainer.train()
    plain.trainer.train()
    for one, other in zip(found.weights, plain.weights, strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(scores.seen[0], found.weights[1])
    assert torch.equal(found.tower.words.weight, scores.seen[1])


@pytest.mark.parametrize(("every", "kept"), [(2, [4, 6]), (6, [6]), (4, [4]), (0, [])])
def test_checkpoints_are_of_every_so_many_steps(made: Callable[..., Made], every: int, kept: list[int]) -> None:
    found = made(checkpoint_every=every)
    found.trainer.train()
    assert found.run.checkpoint_steps() == kept


def test_a_resumed_run_has_the_average_the_best_and_the_patience_it_had(made: Callable[..., Made]) -> None:
    """The best was before the checkpoint; of two validations without improvement one is after it."""
    given: dict[str, Any] = {"ema": 0.5, "val": "x", "val_every": 2, "patience": 2, "steps": 12}
    clean = made(name="clean", validation=Scores(9.0, 5.0, 6.0), **given)
    clean.trainer.train()
    assert clean.trainer.best == BestValidation(9.0, 2, 2) and len(clean.lines()) == 6
    clean.run.checkpoint(6).unlink()  # as if it had been killed after step 5
    again = made(name="clean", validation=Scores(6.0), **given)
    average = again.trainer.average
    assert average is not None
    lines = clean.lines()
    again.trainer.train()
    assert again.lines() == lines
    assert again.trainer.best == clean.trainer.best
    assert len(again.weights) == 2
    assert clean.trainer.average is not None
    for ours, theirs in zip(average.values, clean.trainer.average.values, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    assert torch.equal(again.tower.words.weight, clean.tower.words.weight)


def test_a_run_that_is_out_of_patience_takes_no_further_step(made: Callable[..., Made]) -> None:
    given: dict[str, Any] = {"val": "x", "val_every": 2, "patience": 1, "steps": 12}
    made(validation=Scores(9.0, 5.0), **given).trainer.train()
    again = made(validation=Scores(), **given)
    assert again.trainer.train() == 0.0
    assert len(again.lines()) == 4


def test_weights_that_are_no_numbers_are_not_saved(made: Callable[..., Made]) -> None:
    found = made()
    step = found.trainer._step

    def broken(number: int) -> Any:
        line = step(number)
        if number == 3:
            found.tower.words.weight.data[0, 0] = float("inf")
        return line

    found.trainer._step = broken  # type: ignore[method-assign]
    with pytest.raises(CapivaraError, match="diverged at step 4: a weight is not finite; the checkpoint of step 2"):
        found.trainer.train()
    assert found.run.checkpoint_steps() == [2]


@pytest.mark.parametrize(("at", "kept"), [(1, ""), (4, "; the checkpoint of step 2 is kept")])
def test_a_loss_that_is_no_number_ends_the_run_and_names_its_batch(
    made: Callable[..., Made], at: int, kept: str
) -> None:
    found = made()
    objective, calls = found.trainer.objective, []

    def diverging(features: Any) -> Any:
        calls.append(1)
        total, terms = objective(features)
        return total * (float("nan") if len(calls) == at else 1), terms

    diverging.needs = objective.needs  # type: ignore[attr-defined]
    found.trainer.objective = diverging  # type: ignore[assignment]
    with pytest.raises(CapivaraError) as raised:
        found.trainer.train()
    images = ", ".join(f"'key{image}'" for image in found.batches.draw(at - 1).images[:5])
    says = f"training diverged at step {at}: the loss is nan, on the batch of {images} …{kept}"
    assert raised.value.message == f"{found.run}: {says}"
    assert len(found.lines()) == at - 1 and not found.run.finished


def test_a_step_is_in_the_metrics_when_it_is_over(made: Callable[..., Made]) -> None:
    """A kill loses no step that was taken."""
    found = made(steps=4)
    lines: list[int] = []
    found.trainer._log = lambda line: lines.append(len(found.run.read_metrics()))
    found.trainer.train()
    assert lines == [1, 2, 3, 4]


def test_the_remaining_time_is_that_of_the_remaining_steps(made: Callable[..., Made]) -> None:
    found = made(steps=3)
    found.trainer.train()
    timing = [json.loads(line)["timing"] for line in found.run.metrics.read_text().splitlines()]
    assert timing[-1]["left"] == 0.0 and all(each["left"] >= 0 for each in timing)
