"""What decays, and the average of the weights."""

from __future__ import annotations

import pytest
import torch

from capivara_cli.training.optimization import Average, optimizer


@pytest.mark.parametrize(("kind", "decayed"), [("adamw", [True, False]), ("adam-l2", [True, True])])
def test_what_decays(kind: str, decayed: list[bool]) -> None:
    """A matrix and a temperature without gradient from the loss: only decay moves them."""
    matrix, scalar = torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.tensor(1.0))
    made = optimizer(kind, [matrix, scalar], 0.2)
    for group in made.param_groups:
        group["lr"] = 0.1
        assert group["betas"] == (0.9, 0.98) and group["eps"] == 1e-6
    matrix.grad, scalar.grad = torch.zeros(2, 2), torch.zeros(())
    made.step()
    assert [matrix[0, 0].item() != 1, scalar.item() != 1] == decayed
    if kind == "adamw":
        assert matrix[0, 0].item() == pytest.approx(1 - 0.1 * 0.2)


def test_every_parameter_is_in_one_group() -> None:
    """Scalars and vectors do not decay, matrices and kernels do."""
    shapes: list[tuple[int, ...]] = [(), (3,), (3, 3), (2, 3, 3)]
    parameters = [torch.nn.Parameter(torch.zeros(shape)) for shape in shapes]
    decaying, others = optimizer("adamw", parameters, 0.2).param_groups
    assert (decaying["weight_decay"], others["weight_decay"]) == (0.2, 0.0)
    assert [tuple(each.shape) for each in decaying["params"]] == shapes[2:]
    assert [tuple(each.shape) for each in others["params"]] == shapes[:2]


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


def test_the_first_step_counts_nine_tenths_in_the_average() -> None:
    """d = min(decay, (1 + step) / (10 + step)): a tenth at step 0, two elevenths at step 1."""
    weight = torch.nn.Parameter(torch.tensor([8.0]))
    average = Average([weight], 0.999)
    assert average.values[0].item() == 8.0
    for step, expected in ((0, 0.8), (1, 0.8 * 2 / 11)):
        with torch.no_grad():
            weight.fill_(0.0)
        average.update(step)
        assert average.values[0].item() == pytest.approx(expected)
    low = Average([torch.nn.Parameter(torch.tensor([1.0]))], 0.05)
    low.update(0)
    assert low.values[0].item() == 1.0


def test_the_own_weights_come_back_after_the_average_even_after_an_error() -> None:
    weight = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    average = Average([weight], 0.9)
    with torch.no_grad():
        weight.fill_(5.0)
    with pytest.raises(KeyError), average.applied():
        assert weight.tolist() == [1.0, 2.0]
        raise KeyError
    assert weight.tolist() == [5.0, 5.0]
    assert average.values[0].tolist() == [1.0, 2.0]
    average.apply()
    assert weight.tolist() == [1.0, 2.0]
