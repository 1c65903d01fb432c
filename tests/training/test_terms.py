"""The terms of the objective against values worked out by hand, and what a step encodes for each of them."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from capivara_cli.training.objective import Align, Distill, Features, ImageText, Keep, Objective, info_nce, sigmoid_loss
from capivara_cli.training.optimization import Average


def unit(count: int, seed: int) -> torch.Tensor:
    return F.normalize(torch.randn(count, 16, generator=torch.Generator().manual_seed(seed)), dim=-1)


def test_the_sigmoid_loss_by_hand() -> None:
    """Two orthogonal pairs, scale 2, bias -1: two matches at 1, two others at -1."""
    loss = sigmoid_loss(torch.eye(2), torch.eye(2), torch.tensor(math.log(2.0)), torch.tensor(-1.0))
    assert loss.item() == pytest.approx((2 * math.log(1 + math.exp(-1)) + 2 * math.log(1 + math.exp(-1))) / 2, rel=1e-6)


def test_of_several_versions_the_loss_is_the_mean_over_them() -> None:
    """L = 1/M sum of CLIP(I, T_j) (LaCLIP-MT), in value and in gradient; one version alone is the plain loss."""
    images, scale = unit(12, 0), torch.tensor(2.0)
    texts = [unit(12, seed).requires_grad_() for seed in (1, 2, 3)]
    together = ImageText()(Features(texts, scale, images=images))
    apart = sum(info_nce(images, F.normalize(each, dim=-1), scale) for each in texts) / 3
    assert together.item() == pytest.approx(apart.item(), rel=1e-6)
    for ours, theirs in zip(torch.autograd.grad(together, texts), torch.autograd.grad(apart, texts), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-8)
    alone = ImageText()(Features(texts[:1], scale, images=images))
    assert alone.item() == pytest.approx(info_nce(images, texts[0], scale).item(), rel=1e-6)


def test_alignment_is_the_mean_square_over_all_numbers_of_outputs_as_they_are() -> None:
    texts, anchors = torch.tensor([[3.0, 0.0], [1.0, 1.0]]), torch.tensor([[1.0, 0.0], [9.0, 9.0]])
    features = Features(
        [texts], torch.tensor(0.0), anchors=[anchors], aligned=[torch.tensor([True, False])]
    )  # the second has no anchor
    assert Align("mse")(features).item() == pytest.approx(2.0)  # (2² + 0²) / 2
    assert Align("cosine")(features).item() == pytest.approx(0.0)
    both = Features([texts], torch.tensor(0.0), anchors=[anchors], aligned=[torch.tensor([True, True])])
    assert Align("mse")(both).item() == pytest.approx((4 + 64 + 64) / 4)
    cosine = 1 / math.sqrt(2)
    logits = torch.tensor([[100.0, 100 * cosine], [100 * cosine, 100.0]])
    expected = F.cross_entropy(logits, torch.arange(2)).item()
    assert Align("contrastive")(both).item() == pytest.approx(expected, abs=1e-6)
    none = Features([texts], torch.tensor(0.0), anchors=[anchors], aligned=[torch.tensor([False, False])])
    assert Align("mse")(none).item() == 0


def test_teaching_counts_only_those_that_are_taught() -> None:
    texts, teacher = torch.tensor([[3.0, 0.0], [1.0, 1.0]]), torch.tensor([[1.0, 0.0], [9.0, 9.0]])
    features = Features([texts], torch.tensor(0.0), teacher=[teacher], has_teacher=[torch.tensor([True, False])])
    assert Distill()(features).item() == pytest.approx(2.0)


def test_kept_captions_are_the_last() -> None:
    texts = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    features = Features([texts], torch.tensor(0.0), kept=torch.tensor([[5.0, 0.0]]))
    assert Keep()(features).item() == pytest.approx(1.0)  # at a right angle
    assert Keep()(Features([texts], torch.tensor(0.0))).item() == 0


def test_an_objective_is_the_weighted_sum() -> None:
    images, texts = unit(6, 0), unit(6, 1)
    features = Features([texts], torch.tensor(1.0), images=images, kept=unit(2, 2))
    total, values = Objective((ImageText(weight=0.5), Keep(3.0)))(features)
    assert total.item() == pytest.approx(0.5 * values["clip"] + 3 * values["drift"], rel=1e-6)
    assert Objective((Align(),)).needs("anchors") and not Objective((Align(),)).needs("images")


def test_the_average_forgets_the_beginning() -> None:
    weight = torch.nn.Parameter(torch.tensor([0.0]))
    average = Average([weight], 0.9)
    expected = 0.0
    for step in range(200):
        with torch.no_grad():
            weight.fill_(step)
        average.update(step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
    assert average.values[0].item() == pytest.approx(expected, rel=1e-5)
    with average.applied():
        assert weight.item() == pytest.approx(expected, rel=1e-5)
    assert weight.item() == 199
