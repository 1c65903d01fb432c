"""LoRA on the text tower through peft: put in, counted, saved, loaded."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from capivara_cli.errors import CapivaraError

_USUAL = (("query", "value"), ("q_proj", "v_proj"), ("q", "v"), ("c_fc", "c_proj"))
"""Queries and values by the towers' names for them; open_clip's own towers have these in one, so there the
feed-forward network is taken."""


@dataclass(frozen=True)
class Lora:
    """LoRA (arXiv 2106.09685): rank, alpha, dropout, names of the linear modules it is put on (none: the usual ones);
    ``projection``: the tower's projection trains as a whole beside it, and so do the modules whose names end as one of
    ``whole``."""

    rank: int
    alpha: float
    dropout: float
    targets: tuple[str, ...]
    projection: bool
    whole: tuple[str, ...] = ()


def add_lora(text: nn.Module, lora: Lora, base: str, more: dict[str, Any] | None = None) -> Any:
    """The text tower as a peft model in which only the adapter trains. ``base`` names the model it belongs to.

    ``more``: further fields of peft's LoraConfig by name (use_dora, use_rslora, init_lora_weights, …).

    Raises ``CapivaraError`` naming the modules there are when a target is not among them. A tower without a
    projection module trains the LoRA matrices alone.
    """
    from peft import LoraConfig, get_peft_model

    there = linear_names(text)
    targets = lora.targets or next((names for names in _USUAL if set(names) <= set(there)), ())
    missing = [target for target in targets if target not in there]
    if missing or not targets:
        absent = f"this text tower has no linear module named {missing[0]!r}" if missing else "none are named"
        raise CapivaraError(f"--lora-targets {','.join(targets)}: {absent}", f"it has {', '.join(there)}")
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]
        lora_dropout=lora.dropout,
        target_modules=sorted(targets),
        modules_to_save=_whole(text, lora.projection, lora.whole),
        bias="none",
        **(more or {}),
    )
    text.requires_grad_(False)
    adapted = get_peft_model(text, config)
    config.base_model_name_or_path = base  # peft warns when it is set earlier: an nn.Module has no name
    return adapted


def add_layernorm(text: nn.Module, base: str, projection: bool) -> Any:
    """The text tower as a peft model in which only the LayerNorms of its layers train (arXiv 2312.11420)."""
    from peft import LNTuningConfig, get_peft_model

    layers = [name for name, module in text.named_modules() if isinstance(module, nn.LayerNorm)]
    inner = [name for name in layers if name.endswith("output.LayerNorm")] or layers
    config = LNTuningConfig(target_modules=inner, modules_to_save=_whole(text, projection, ()))
    text.requires_grad_(False)
    with quiet_peft():
        adapted = get_peft_model(text, config)
    config.base_model_name_or_path = base
    return adapted


@contextlib.contextmanager
def quiet_peft() -> Iterator[None]:
    """Without the warning that peft's LoRA has no layer for a LayerNorm: it is given where it was not asked for one."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Unsupported layer type")
        yield


def _whole(text: nn.Module, projection: bool, names: tuple[str, ...]) -> list[str] | None:
    return [*(["proj"] if projection and has_projection(text) else []), *names] or None


def linear_names(text: nn.Module) -> list[str]:
    """Names that ``--lora-targets`` can take: the last part of every linear module's, in order of appearance.

    The linear inside ``nn.MultiheadAttention`` is left out: it is not called as a module, an adapter there is ignored.
    """
    attentions = {name for name, module in text.named_modules() if isinstance(module, nn.MultiheadAttention)}
    return list(
        dict.fromkeys(
            name.rpartition(".")[2]
            for name, module in text.named_modules()
            if isinstance(module, nn.Linear)
            and name.rpartition(".")[0] not in attentions
            and not name.startswith("proj.")
            and name != "proj"
        )
    )


def confuses_projection(text: nn.Module) -> bool:
    """Whether peft, which takes names by their ends, would train other modules with the projection (NLLB's q_proj)."""
    return any(name.endswith("proj") and name != "proj" for name, _ in text.named_modules())


def has_projection(text: nn.Module) -> bool:
    return any(True for _ in getattr(text, "proj", nn.Identity()).parameters())


def checkpoint_gradients(text: nn.Module) -> None:
    """Keep only what enters each layer and compute the rest again in the backward pass: less memory, more work."""
    transformer: Any = getattr(text, "transformer", None)
    if hasattr(transformer, "activation_checkpointing_enable"):  # the other name is deprecated
        transformer.activation_checkpointing_enable()
    else:
        text.set_grad_checkpointing(True)  # type: ignore[operator]


def trainable(module: nn.Module) -> int:
    """Parameters that receive a gradient."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def adapter_state(text: Any) -> dict[str, torch.Tensor]:
    """The adapter's parameters alone, detached and on the CPU; names as in the peft file."""
    from peft import get_peft_model_state_dict

    # Asked about embeddings, peft would look for the base model on the hub.
    state = get_peft_model_state_dict(text, save_embedding_layers=False)
    return {name: value.detach().cpu().clone().contiguous() for name, value in state.items()}


def set_adapter_state(text: Any, state: dict[str, torch.Tensor]) -> None:
    from peft import set_peft_model_state_dict

    set_peft_model_state_dict(text, state)


def save_config(text: Any, folder: Path) -> None:
    """``adapter_config.json``, as ``PeftModel.from_pretrained`` reads it."""
    config = text.peft_config["default"]
    training, config.inference_mode = config.inference_mode, True
    config.save_pretrained(folder)
    config.inference_mode = training


def save_tensors(tensors: dict[str, torch.Tensor], path: Path) -> None:
    from safetensors.torch import save_file

    save_file({name: each.contiguous() for name, each in tensors.items()}, path, {"format": "pt"})
    path.chmod(0o644)  # safetensors leaves it to the owner alone
