"""Tune a text tower by LoRA, its variants, LayerNorms (all by peft), adapters, soft prompts, or as a whole."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from capivara_cli import console
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.models import file_digests
from capivara_cli.models.adapters import configuration, peft_backed
from capivara_cli.models.adapters.layers import Adapter, Compacter, CorrectedLinear, PromptedTower, PromptEmbedding
from capivara_cli.models.adapters.tuning import Tuning
from capivara_cli.models.clip_files import ADAPTER_BASE
from capivara_cli.models.run_document import Base
from capivara_cli.storage.checksums import with_checksum

WEIGHTS, CONFIG, IMAGES = "adapter_model.safetensors", "adapter_config.json", "image_tower.safetensors"

_SITES = ("output.dense", "mlp.c_proj", "mlp.fc2", "mlp.down_proj", "DenseReluDense.wo", "fc2")
"""Names of the linear layers that end an attention or feed-forward block, in the towers of various libraries."""
_NORMS = "output.LayerNorm"


def tune(text: nn.Module, tuning: Tuning, base: str) -> Any:
    """The text tower with the modules that the method adds; only tuned parameters have ``requires_grad``.

    ``base``: the name of its model, for ``adapter_config.json``. Raises ``CapivaraError`` for a tower without the
    modules that the method tunes.
    """
    text.requires_grad_(False)
    if tuning.peft in ("lora", "layernorm"):
        tuning = _without_other_proj(text, tuning)
    if tuning.peft == "lora":
        adapted = peft_backed.add_lora(text, tuning, base, _norms(tuning))
        if tuning.lora_init:  # PiSSA and others move a part of the base's weights into the adapter
            _remember(each for each in adapted.parameters() if each.requires_grad)
        return adapted
    if tuning.peft == "layernorm":
        return peft_backed.add_layernorm(text, base, tuning.trains_projection)
    tower = _OWN[tuning.peft](text, tuning)
    for name, parameter in tower.named_parameters():
        trained = tuning.peft in ("lit", "full")
        trained |= tuning.trains_layernorm and _NORMS in name
        trained |= tuning.trains_projection and name.startswith(("proj.", "tower.proj."))
        if trained:
            parameter.requires_grad_(True)
            _remember([parameter])
    tower.tuning = tuning  # type: ignore[assignment]
    return tower


def _remember(parameters: Iterable[nn.Parameter]) -> None:
    """Keep the current values in ``before``, for ``untuned``."""
    for parameter in parameters:
        parameter.before = parameter.detach().clone()  # type: ignore[attr-defined]


def _without_other_proj(text: nn.Module, tuning: Tuning) -> Tuning:
    """The tuning without the projection if peft would train other modules whose names end in ``proj`` too.

    Raises ``CapivaraError`` if the user gave ``--projection``.
    """
    if (
        not tuning.trains_projection
        or not peft_backed.has_projection(text)
        or not peft_backed.confuses_projection(text)
    ):
        return tuning
    if tuning.projection:
        raise CapivaraError(
            "--projection: peft would train every module of this text tower whose name ends in proj",
            f"--peft {tuning.peft} --no-projection, or --peft lit",
        )
    console.say("the projection is not trained: peft cannot distinguish it from other modules of this text tower")
    return replace(tuning, projection=False)


def targets(tower: Any) -> list[str]:
    """The names of the linear modules with LoRA; [] for other methods."""
    config = getattr(tower, "peft_config", {}).get("default")
    return sorted(getattr(config, "target_modules", None) or []) if config else []


def _norms(tuning: Tuning) -> tuple[str, ...]:
    return (_NORMS,) if tuning.trains_layernorm else ()


def _unchanged(text: nn.Module, tuning: Tuning) -> nn.Module:
    return text


def _adapters(text: nn.Module, tuning: Tuning) -> nn.Module:
    return _append_to_blocks(text, lambda width: Adapter(width, tuning.adapter_dim))


def _compacters(text: nn.Module, tuning: Tuning) -> nn.Module:
    def compacter(width: int) -> nn.Module:
        reduction, phm = tuning.compacter_reduction, tuning.phm_dim
        if width % (reduction * phm):
            raise UsageError(
                f"--compacter-reduction {reduction} and --phm-dim {phm}: their product does not divide the tower's "
                f"width, {width}"
            )
        return Compacter(width, reduction, phm)

    return _append_to_blocks(text, compacter)


def _append_to_blocks(text: nn.Module, make: Callable[[int], nn.Module]) -> nn.Module:
    """Put ``make(width)`` after every linear layer that ends a block."""
    found = False
    for name, module in list(text.named_modules()):
        if isinstance(module, nn.Linear) and f".{name}".endswith(tuple(f".{site}" for site in _SITES)):
            parent, _, last = name.rpartition(".")
            setattr(text.get_submodule(parent), last, CorrectedLinear(module, make(module.out_features)))
            found = True
    if not found:
        raise CapivaraError(f"this text tower has no linear layer named {' or '.join(_SITES)} to put an adapter on")
    return text


def _prompted(text: nn.Module, tuning: Tuning) -> nn.Module:
    name, words = word_embedding(text)
    vectors = torch.empty(tuning.prompt_tokens, words.embedding_dim, device=words.weight.device).normal_(std=0.02)
    parent, _, last = name.rpartition(".")
    setattr(text.get_submodule(parent), last, PromptEmbedding(words, vectors))
    native = 0 if hasattr(text, "config") else int(getattr(text, "context_length", 0) or 0)
    return PromptedTower(text, tuning.prompt_tokens, native)


_OWN = {"lit": _unchanged, "full": _unchanged, "adapter": _adapters, "compacter": _compacters, "soft-prompt": _prompted}


def word_embedding(text: nn.Module) -> tuple[str, nn.Embedding]:
    """The name and module of the tower's word embedding. Raises ``CapivaraError`` if it has none."""
    transformer: Any = getattr(text, "transformer", None)
    words = getattr(text, "token_embedding", None)  # in open_clip's own towers; the others are Hugging Face's
    if words is None and hasattr(transformer, "get_input_embeddings"):
        words = transformer.get_input_embeddings()
    words = words.words if isinstance(words, PromptEmbedding) else words
    if not isinstance(words, nn.Embedding):
        raise CapivaraError("no word embedding was found in this text tower")
    return next(name for name, module in text.named_modules() if module is words), words


@contextlib.contextmanager
def untuned(tower: Any) -> Iterator[None]:
    """Make the tower compute as before tuning, and without dropout, within this context."""
    training = tower.training
    tower.eval()
    try:
        remembers = any(hasattr(parameter, "before") for parameter in tower.parameters())
        adapter = hasattr(tower, "disable_adapter") and not remembers
        with tower.disable_adapter() if adapter else _switched_off(tower):
            yield
    finally:
        tower.train(training)


@contextlib.contextmanager
def _switched_off(tower: nn.Module) -> Iterator[None]:
    added = [module for module in tower.modules() if isinstance(module, (CorrectedLinear, PromptedTower))]
    changed = [parameter for parameter in tower.parameters() if hasattr(parameter, "before")]
    tuned = [parameter.data for parameter in changed]
    for module in added:
        module.on = False
    for parameter in changed:
        parameter.data = parameter.before  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for parameter, data in zip(changed, tuned, strict=True):
            parameter.data = data
        for module in added:
            module.on = True


def state(tower: Any) -> dict[str, Tensor]:
    """The tuned parameters by name (for peft's methods, by the names in peft's file), detached, float32, on the CPU."""
    if hasattr(tower, "peft_config"):
        return peft_backed.adapter_state(tower)
    return {name: each.detach().cpu().clone() for name, each in tower.named_parameters() if each.requires_grad}


def set_state(tower: Any, values: dict[str, Tensor]) -> None:
    """Load parameters that ``state`` returned. Raises ``CapivaraError`` if they are of another method or tower."""
    if hasattr(tower, "peft_config"):
        peft_backed.set_adapter_state(tower, values)
        return
    own = {name: each for name, each in tower.named_parameters() if each.requires_grad}
    if own.keys() != values.keys():
        different = sorted(own.keys() ^ values.keys())[0]
        raise CapivaraError(f"the adapter belongs to another method or text tower: {different} is not in both")
    with torch.no_grad():
        for name, value in values.items():
            own[name].copy_(value)


def save(tower: Any, folder: Path, base: Base, images: nn.Module | None = None) -> None:
    """Write ``adapter_config.json`` and ``adapter_model.safetensors``, which peft can read if it has the method.

    ``base`` (source, and the digests of both towers) is written to ``base.json``, because an adapter fits no other
    model, with the digests of the files. ``images``: the image tower, if it was trained too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if hasattr(tower, "peft_config"):
        peft_backed.save_config(tower, folder)
    else:
        (folder / CONFIG).write_text(json.dumps({configuration.OWN: tower.tuning.to_json()}, indent=2) + "\n", "utf-8")
    peft_backed.save_tensors(state(tower), folder / WEIGHTS)
    if images is not None:
        peft_backed.save_tensors({name: value.cpu() for name, value in images.state_dict().items()}, folder / IMAGES)
    write_base(folder, base)


def write_base(folder: Path, base: Mapping[str, Any]) -> None:
    """Write ``base.json``: how to load the base of an adapter, and the digests of the other files of its folder."""
    files = file_digests.digests(folder, (CONFIG, WEIGHTS, IMAGES))
    document = with_checksum({**base, file_digests.FILES: files})
    (folder / ADAPTER_BASE).write_text(json.dumps(document, indent=2) + "\n", "utf-8")


def load_image_tower(images: nn.Module, folder: Path) -> bool:
    """Load the image tower of an adapter folder; returns False if the folder has none."""
    from safetensors.torch import load_file

    if not (folder / IMAGES).is_file():
        return False
    images.load_state_dict(load_file(folder / IMAGES))
    return True


def tuning_of(folder: Path) -> Tuning:
    """The tuning of the adapter in a folder, to start another one from it.

    Raises ``CapivaraError`` for a method of peft that capivara does not have, and for a damaged configuration.
    """
    return configuration.tuning_of(folder, _NORMS)


def read_state(folder: Path) -> dict[str, Tensor]:
    """The tensors of an adapter folder, for ``set_state``."""
    from safetensors.torch import load_file

    if (folder / WEIGHTS).is_file():
        return load_file(folder / WEIGHTS)
    return torch.load(folder / "adapter_model.bin", map_location="cpu", weights_only=True)


def can_merge(folder: Path) -> bool:
    """Whether the adapter in a folder can be merged into the tower's own weights."""
    own = configuration.read(folder).get(configuration.OWN, {"method": "lora"})
    return own.get("method") in ("lora", "layernorm", "lit", "full")


def load(text: nn.Module, folder: Path, device: str) -> Any:
    """The tower with a saved adapter, ready to encode; an adapter in peft's format is merged into its weights."""
    if configuration.OWN not in configuration.read(folder):
        from peft import PeftModel

        with peft_backed.quiet_peft():
            return PeftModel.from_pretrained(text, str(folder), torch_device=device).merge_and_unload()
    tower = tune(text, tuning_of(folder), "")
    set_state(tower.to(device), read_state(folder))
    return tower
