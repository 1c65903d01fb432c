"""The terms of the objective against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from capivara_cli.training.objective import (
    Align,
    Distill,
    Features,
    ImageText,
    Keep,
    Objective,
    drift,
    info_nce,
    sigmoid_loss,
)


def test_info_nce_of_orthogonal_pairs() -> None:
    """Two pairs, each text equal to its image: both directions are -log(e^s / (e^s + 1))."""
    loss = info_nce(torch.eye(2), torch.eye(2), torch.tensor(math.log(4.0)))
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-4)), rel=1e-5)


def test_info_nce_is_the_mean_of_both_directions() -> None:
    images, texts = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    rows = (math.log(2) + math.log(2)) / 2  # image to text: both texts are alike
    columns = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(1))) / 2  # text to image
    assert info_nce(images, texts, torch.tensor(0.0)).item() == pytest.approx((rows + columns) / 2, rel=1e-5)


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


def test_a_distance_between_texts_is_of_each_pair_and_not_of_each_number() -> None:
    texts, anchors = torch.tensor([[1.0, 0.0], [3.0, 4.0]]), torch.tensor([[2.0, 0.0], [4.0, -3.0]])
    assert drift(texts, anchors).item() == pytest.approx((0 + 1) / 2)  # the same direction, and a right angle


def test_versions_without_a_partner_are_left_out_of_the_mean_over_versions() -> None:
    """Of three versions the second has no anchor; the first has one of two, the third both."""
    zeros = torch.zeros(2, 2)
    anchors = [torch.full((2, 2), value) for value in (1.0, 9.0, 2.0)]
    masks = [torch.tensor(each) for each in ([True, False], [False, False], [True, True])]
    for term, partners in ((Align("mse"), "anchors"), (Distill(), "teacher")):
        mask = {"anchors": "aligned", "teacher": "has_teacher"}[partners]
        features = Features([zeros] * 3, torch.tensor(0.0), **{partners: anchors, mask: masks})  # type: ignore[arg-type]
        assert term(features).item() == pytest.approx((1 + 4) / 2)


def test_images_and_texts_need_images() -> None:
    with pytest.raises(ValueError, match="clip needs images"):
        ImageText()(Features([unit(2, 0)], torch.tensor(0.0)))


def test_siglip_without_a_bias_is_the_loss_of_clip() -> None:
    images, texts, scale = unit(4, 0), unit(4, 1), torch.tensor(1.0)
    plain = Features([texts], scale, images=images)
    biased = Features([texts], scale, torch.tensor(-1.0), images=images)
    assert ImageText("siglip")(plain) == ImageText("clip")(plain) == ImageText("clip")(biased)
    assert ImageText("siglip")(biased) == sigmoid_loss(images, texts, scale, torch.tensor(-1.0))
