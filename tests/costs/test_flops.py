"""Operations of models, against counting by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from capivara_cli.costs.flops import COUNTED


def counted(work: Callable[[], object]) -> int:
    COUNTED.watch()
    before = COUNTED.total
    work()
    return COUNTED.total - before


def test_a_forward_pass_is_two_per_weight_and_row() -> None:
    model = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 4))
    with torch.no_grad():
        assert counted(lambda: model(torch.zeros(3, 7, 6))) == 2 * 21 * (30 + 20)


@pytest.mark.parametrize(("trained", "operations"), [(True, 6), (False, 4)])
def test_training_adds_what_the_gradients_need(trained: bool, operations: int) -> None:
    first, second = nn.Linear(10, 10), nn.Linear(10, 10)
    for parameter in second.parameters():
        parameter.requires_grad_(trained)
    for parameter in first.parameters():
        parameter.requires_grad_(False)
    plain = torch.zeros(1, 10)
    live = torch.zeros(1, 10, requires_grad=True)
    assert counted(lambda: first(plain)) == 200
    assert counted(lambda: second(live)) == 100 * operations
    assert counted(lambda: second(plain)) == 100 * (4 if trained else 2)


def test_patches_of_an_image_and_attention() -> None:
    patches = nn.Conv2d(3, 8, kernel_size=4, stride=4, groups=1)
    attention = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    image, tokens = torch.zeros(2, 3, 16, 16), torch.zeros(2, 5, 8)
    with torch.no_grad():
        assert counted(lambda: patches(image)) == 2 * (2 * 8 * 4 * 4) * 3 * 16
        projections, products = 4 * 2 * 10 * 64, 4 * 2 * 5 * 5 * 8
        assert counted(lambda: attention(tokens, tokens, tokens)) == projections + products


def test_what_is_not_pytorchs_is_added_by_who_runs_it() -> None:
    COUNTED.take()
    assert counted(lambda: COUNTED.add(7)) == 7
    assert (COUNTED.take(), COUNTED.take()) == (7, 0)


def test_the_toy_model_costs_what_its_layers_say() -> None:
    from capivara_cli.models.clip import load_clip
    from capivara_cli.models.fixed_batches import by_width

    clip = load_clip("toy")
    texts = ["a red square"] * 16  # a full batch
    (width,) = by_width([len(clip.tokenize(texts)[0])], 77)
    once = counted(lambda: clip.embed_texts(texts))
    assert counted(lambda: clip.embed_texts(texts * 2)) == 2 * once
    linear = sum(layer.weight.numel() for layer in clip.model.text.modules() if isinstance(layer, nn.Linear))
    assert once == pytest.approx(2 * 16 * width * linear, rel=0.35)  # 2 per parameter and token
