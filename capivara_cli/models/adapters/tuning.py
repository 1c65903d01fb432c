"""The options of tuning: the method and its settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from capivara_cli.pipeline.option_kinds import Names
from capivara_cli.pipeline.options import opt, parsed

_NAMES = {
    "method": "peft", "rank": "lora_r", "alpha": "lora_alpha", "dropout": "lora_dropout", "targets": "lora_targets",
    "projection": "projection", "layernorm": "layernorm", "bottleneck": "adapter_dim",
    "reduction": "compacter_reduction", "phm": "phm_dim", "prompt_tokens": "prompt_tokens",
}  # fmt: skip
"""Key of an ``adapter_config.json`` that capivara writes -> option, in the order of the file."""


@dataclass(frozen=True)
class Tuning:
    """The method and settings by which a text tower is tuned.

    ``projection``, ``layernorm``: train these modules too. None follows the source of the method: the published
    CAPIVARA-Opt trains the projection with LoRA, and arXiv 2305.03510 trains the LayerNorms of all layers with adapters
    and compacters.
    """

    peft: Literal["lora", "adapter", "compacter", "soft-prompt", "layernorm", "lit", "full"] = opt(
        "lora", "lit: the whole text tower; full: both towers"
    )
    lora_r: int = opt(8, "rank of LoRA", min=1)
    lora_alpha: float = opt(8.0, "alpha of LoRA: its output is scaled by alpha / rank", min=0)
    lora_dropout: float = opt(0.0, "dropout before LoRA", min=0, max=1)
    lora_targets: str = opt("", "linear modules with LoRA [default: query,value]", kind=Names())
    lora_init: str = opt("", "initial values: pissa, olora, loftq … [default: peft's own]")
    lora_use: str = opt("", "variants of LoRA: dora, rslora, or several", kind=Names())
    projection: bool | None = opt(None, "train the projection of the text tower too [default: with lora]")
    layernorm: bool | None = opt(None, "train the layers' LayerNorms too [default: with adapter and compacter]")
    adapter_dim: int = opt(24, "width of the adapters' bottleneck", min=1)
    compacter_reduction: int = opt(16, "tower's width / width of a compacter's bottleneck", min=1)
    phm_dim: int = opt(4, "Kronecker products in a compacter's layer", min=1)
    prompt_tokens: int = opt(4, "learned vectors of a soft prompt", min=1)

    @property
    def trains_projection(self) -> bool:
        """Whether the projection is trained too."""
        return self.peft == "lora" if self.projection is None else self.projection

    @property
    def trains_layernorm(self) -> bool:
        """Whether the LayerNorms of the layers are trained too."""
        return self.peft in ("adapter", "compacter") if self.layernorm is None else self.layernorm

    @property
    def targets(self) -> list[str]:
        """The linear modules for LoRA; [] for the tower's usual ones."""
        return list(parsed(self, "lora_targets"))

    @property
    def peft_options(self) -> dict[str, Any]:
        """Further fields of peft's LoraConfig: ``use_dora``, ``use_rslora``, ``init_lora_weights`` …"""
        variants: dict[str, Any] = {f"use_{name}": True for name in parsed(self, "lora_use")}
        return variants | ({"init_lora_weights": self.lora_init} if self.lora_init else {})

    def to_json(self) -> dict[str, Any]:
        """The settings for ``adapter_config.json``."""
        found = {key: getattr(self, option) for key, option in _NAMES.items()}
        return {**found, "targets": self.targets, "more": self.peft_options}

    @classmethod
    def from_json(cls, entry: dict[str, Any]) -> Tuning:
        """The inverse of ``to_json``. Raises ``KeyError`` if a setting is missing."""
        found = {option: entry[key] for key, option in _NAMES.items()}
        return cls(**{**found, "lora_targets": ",".join(entry["targets"]), **lora_extras(entry["more"])})


def lora_extras(config: dict[str, Any]) -> dict[str, Any]:
    """The values of ``lora_use`` and ``lora_init`` for a peft configuration.

    The initialisation is kept if it moves a part of the base's weights into the adapter.
    """
    initialisation = config.get("init_lora_weights")
    names = [name.removeprefix("use_") for name in ("use_dora", "use_rslora") if config.get(name)]
    moves = isinstance(initialisation, str) and initialisation not in ("gaussian", "orthogonal")
    return {"lora_use": ",".join(names), "lora_init": str(initialisation) if moves else ""}
