"""LoRA and LayerNorm tuning of the text tower by peft: add, count, save and load the parameters."""

from __future__ import annotations

import contextlib
import copy
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from capivara_cli.errors import CapivaraError
from capivara_cli.models.adapters.tuning import Tuning

_USUAL = (("query", "value"), ("q_proj", "v_proj"), ("q", "v"), ("c_fc", "c_proj"))
"""The names of the query and value projections in various towers.

open_clip's own towers have both in one matrix that peft cannot tune, so there LoRA tunes the feed-forward network.
"""


def add_lora(text: nn.Module, tuning: Tuning, base: str, whole: tuple[str, ...] = ()) -> Any:
    """The text tower as a peft model in which only the adapter is trained (LoRA, arXiv 2106.09685).

    ``base``: the name of its model. The projection (if ``tuning`` trains it and the tower has one) and the modules
    whose names end in one of ``whole`` are trained completely, besides the adapter. Raises ``CapivaraError`` that lists
    the linear modules if a target is not among them.
    """
    from peft import LoraConfig, get_peft_model

    known = linear_names(text)
    targets = tuning.targets or next((list(names) for names in _USUAL if set(names) <= set(known)), [])
    missing = [target for target in targets if target not in known]
    if missing or not targets:
        absent = f"this text tower has no linear module named {missing[0]!r}" if missing else "none are named"
        raise CapivaraError(f"--lora-targets {','.join(targets)}: {absent}", f"it has {', '.join(known)}")
    config = LoraConfig(
        r=tuning.lora_r,
        lora_alpha=tuning.lora_alpha,  # type: ignore[arg-type]
        lora_dropout=tuning.lora_dropout,
        target_modules=sorted(targets),
        modules_to_save=_whole(text, tuning.trains_projection, whole),
        bias="none",
        **tuning.peft_options,
    )
    text.requires_grad_(False)
    adapted = get_peft_model(text, config)
    config.base_model_name_or_path = base  # set late: peft warns about a name for an nn.Module
    return adapted


def add_layernorm(text: nn.Module, base: str, projection: bool) -> Any:
    """The text tower as a peft model in which only the LayerNorms of its layers are trained (arXiv 2312.11420).

    ``projection``: train the projection too.
    """
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
    """Suppress peft's irrelevant warning that LoRA does not support LayerNorm, within this context."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Unsupported layer type")
        yield


def _whole(text: nn.Module, projection: bool, names: tuple[str, ...]) -> list[str] | None:
    return [*(["proj"] if projection and has_projection(text) else []), *names] or None


def linear_names(text: nn.Module) -> list[str]:
    """The names for ``--lora-targets``: the last part of each linear module's name, in order of appearance.

    The linear module inside ``nn.MultiheadAttention`` is excluded: it is never called, so an adapter would have no
    effect.
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
    """Whether peft, which matches the ends of names, would train other modules too (NLLB's q_proj)."""
    return any(name.endswith("proj") and name != "proj" for name, _ in text.named_modules())


def has_projection(text: nn.Module) -> bool:
    """Whether a text tower has a projection with parameters."""
    return any(True for _ in getattr(text, "proj", nn.Identity()).parameters())


def checkpoint_gradients(text: nn.Module) -> None:
    """Keep only the inputs of each layer and compute the rest again in the backward pass, which saves memory."""
    transformer: Any = getattr(text, "transformer", None)
    if hasattr(transformer, "activation_checkpointing_enable"):  # the other name is deprecated
        transformer.activation_checkpointing_enable()
    else:
        text.set_grad_checkpointing(True)  # type: ignore[operator]


def trainable(module: nn.Module) -> int:
    """The number of parameters that receive a gradient."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def adapter_state(text: Any) -> dict[str, torch.Tensor]:
    """The adapter's parameters by their names in peft's file, detached and on the CPU."""
    from peft import get_peft_model_state_dict

    # With embedding layers, peft would look for the base model on the hub.
    state = get_peft_model_state_dict(text, save_embedding_layers=False)
    return {name: value.detach().cpu().clone().contiguous() for name, value in state.items()}


def set_adapter_state(text: Any, state: dict[str, torch.Tensor]) -> None:
    """Load parameters that ``adapter_state`` returned."""
    from peft import set_peft_model_state_dict

    set_peft_model_state_dict(text, state)


def save_config(text: Any, folder: Path) -> None:
    """Write ``adapter_config.json`` for ``PeftModel.from_pretrained``."""
    config = copy.copy(text.peft_config["default"])
    config.inference_mode = True
    config.target_modules = sorted(config.target_modules)  # the order of a set differs between processes
    config.save_pretrained(folder)


def save_tensors(tensors: dict[str, torch.Tensor], path: Path) -> None:
    """Write tensors as a safetensors file."""
    from safetensors.torch import save_file

    save_file({name: each.contiguous() for name, each in tensors.items()}, path, {"format": "pt"})
    path.chmod(0o644)  # safetensors lets only the owner read it
