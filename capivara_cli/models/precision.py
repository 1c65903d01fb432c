"""The dtype of a tower: bfloat16 where that is faster, otherwise float32."""

from __future__ import annotations

import torch
from torch import nn

from capivara_cli.errors import UsageError

_SMALL = 256
"""Narrower towers are not faster in bfloat16, because conversion takes longer than multiplication."""


def precision(name: str, device: str, tower: nn.Module) -> torch.dtype:
    """The dtype for the option ``name``: "auto", "fp32" or "bf16".

    "auto" is bfloat16 if the device supports it and the tower is wide. Raises ``UsageError`` for "bf16" on a GPU
    without it.
    """
    if name == "fp32":
        return torch.float32
    supported = supports_bf16(device)
    if name == "bf16":
        if not supported and device.startswith("cuda"):
            raise UsageError(
                f"--precision bf16: {torch.cuda.get_device_name(device)} does not support bfloat16",
                "use --precision auto",
            )
        return torch.bfloat16
    width = max((module.in_features for module in tower.modules() if isinstance(module, nn.Linear)), default=0)
    return torch.bfloat16 if supported and width >= _SMALL else torch.float32


def supports_bf16(device: str) -> bool:
    """Whether a device multiplies bfloat16 faster than float32: a GPU, or a CPU with AVX512-BF16 or AMX."""
    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device == "cpu" and any(
        getattr(torch.cpu, name, bool)() for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    )
