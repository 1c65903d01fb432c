"""Make a text tower smaller and faster. Results change only by rounding."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import nn

from capivara_cli.models.adapters.layers import Dropout, UsedTokens, matmul_attention
from capivara_cli.models.adapters.methods import word_embedding

_ATTENTION = "capivara_short"


def save_memory(tower: nn.Module, rows: Iterable[np.ndarray], dtype: torch.dtype) -> None:
    """Change a text tower in place so that it needs less memory.

    Frozen weights get ``dtype``, and the embedding table keeps only the tokens in ``rows``. On a CPU,
    dropout and attention are replaced by faster ones.
    """
    _keep_used_tokens(tower, rows)
    if next(tower.parameters()).device.type == "cpu":
        _for_cpu(tower)
    for module in tower.modules():
        if hasattr(module, "cast_input_dtype_enabled"):
            module.cast_input_dtype_enabled = False  # type: ignore[assignment]  # peft would cast to float32 what autocast then casts back
    for parameter in tower.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.clone()  # a view of the mapped file would keep the whole file in memory
        elif parameter.is_floating_point():
            parameter.data = parameter.data.to(dtype, copy=True)


def compile_layers(tower: nn.Module) -> None:
    """Compile the layers of a transformer by torch.compile, for any batch size and length."""
    for layer in tower.modules():
        if type(layer).__name__.endswith(("Layer", "ResidualAttentionBlock")):
            layer.compile(dynamic=True)


def _for_cpu(tower: nn.Module) -> None:
    """Replace dropout and the attention of transformers by versions that are faster on a CPU."""
    for module in list(tower.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Dropout:
                setattr(module, name, Dropout(child.p).train(child.training))
    transformer: Any = getattr(tower, "transformer", None)
    if hasattr(transformer, "set_attn_implementation") and transformer.config._attn_implementation == "sdpa":
        from transformers import AttentionInterface, AttentionMaskInterface
        from transformers.masking_utils import sdpa_mask

        AttentionInterface.register(_ATTENTION, matmul_attention)
        AttentionMaskInterface.register(_ATTENTION, sdpa_mask)
        transformer.set_attn_implementation(_ATTENTION)


def _keep_used_tokens(tower: nn.Module, rows: Iterable[np.ndarray]) -> None:
    """Keep of a frozen word embedding only the tokens in ``rows``, padding, and special tokens."""
    name, words = word_embedding(tower)
    if words.weight.requires_grad:
        return
    occurs = np.zeros(words.num_embeddings, bool)
    occurs[:4] = True  # padding and the tokens of beginning and end
    if words.padding_idx is not None:
        occurs[words.padding_idx] = True
    for row in rows:
        occurs[row] = True
    parent, _, last = name.rpartition(".")
    setattr(tower.get_submodule(parent), last, UsedTokens(words, torch.from_numpy(np.flatnonzero(occurs))))
