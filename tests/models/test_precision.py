"""The dtype of a tower: what is asked for, what the device can, and how wide the tower is."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from capivara_cli.errors import UsageError
from capivara_cli.models import precision as module
from capivara_cli.models.precision import precision


def tower(*widths: int) -> nn.Module:
    return nn.Sequential(*(nn.Linear(width, 1) for width in widths))


@pytest.mark.parametrize(
    ("name", "supported", "widths", "expected"),
    [
        ("auto", True, (256,), torch.bfloat16),
        ("auto", True, (255,), torch.float32),
        ("auto", True, (8, 300, 8), torch.bfloat16),
        ("auto", True, (), torch.float32),
        ("auto", False, (300,), torch.float32),
        ("fp32", True, (300,), torch.float32),
        ("bf16", True, (8,), torch.bfloat16),
        ("bf16", False, (8,), torch.bfloat16),
    ],
)
def test_the_dtype_of_a_tower(
    name: str, supported: bool, widths: tuple[int, ...], expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "supports_bf16", lambda device: supported)
    assert precision(name, "cpu", tower(*widths)) == expected


def test_a_gpu_without_bfloat16_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "supports_bf16", lambda device: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"the card {device}")
    with pytest.raises(UsageError, match="--precision bf16: the card cuda:1 does not support bfloat16"):
        precision("bf16", "cuda:1", tower(8))
    assert precision("auto", "cuda:1", tower(300)) == torch.float32


@pytest.mark.parametrize(("avx", "amx"), [(True, False), (False, True), (False, False)])
def test_a_processor_needs_either_instruction_set(avx: bool, amx: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    assert module.supports_bf16("cpu") is (avx or amx)
    assert module.supports_bf16("mps") is False
