"""Prepare a loaded model for training: add the adapter, save memory, and measure the memory of a batch."""

from __future__ import annotations

import math
import re
from pathlib import Path

import torch
from torch import nn

from capivara_cli import console
from capivara_cli.models.adapters import methods
from capivara_cli.models.adapters.peft_backed import checkpoint_gradients, trainable
from capivara_cli.models.clip import Clip
from capivara_cli.models.precision import precision
from capivara_cli.models.run_document import Parameters
from capivara_cli.models.run_folder import RunDir
from capivara_cli.training.compact_tower import compile_layers, save_memory
from capivara_cli.training.data import TrainingData
from capivara_cli.training.devices import Devices
from capivara_cli.training.encoder import Encoder, ImageEncoder
from capivara_cli.training.memory import Budget, parse_size
from capivara_cli.training.options import Options, Resources

_OF_PROJECTION = re.compile(r"(base_model\.model\.|tower\.)?(proj|text_projection)(\.|$)")
_SAMPLE = 256
"""Number of captions, or of images, on which the memory of a token is measured."""


def tune(clip: Clip, options: Options, start: Path | None, seed: int) -> Parameters:
    """Add the adapter to the model and freeze all other parameters; print and return the parameter counts.

    ``start``: the folder of an adapter to start from, which determines the method and the initial values.
    """
    total = sum(parameter.numel() for parameter in clip.model.parameters())
    if options.resources.grad_checkpointing:
        checkpoint_gradients(clip.model.text)
    if options.temperature:
        with torch.no_grad():
            clip.model.logit_scale.fill_(-math.log(options.temperature))
    torch.manual_seed(seed)
    tuning = methods.tuning_of(start) if start else options.tuning
    clip.model.text = methods.tune(clip.model.text, tuning, clip.identity.model).to(clip.device)
    if start:
        methods.set_state(clip.model.text, methods.read_state(start))
    if tuning.peft == "full":
        clip.model.visual.requires_grad_(True)
    parts = _counts(clip, tuning.peft, options.learn_temperature and options.loss.uses_images)
    count = sum(parts.values())
    percent = round(100 * count / total, 4)
    rows = [[name, f"{number:,}", f"{100 * number / total:.4f} %"] for name, number in parts.items() if number]
    rows.append(["trained in all", f"{count:,}", f"{percent:.4f} %"])
    console.say(console.table(rows, ["", "parameters", "of the model"]))
    return {
        "method": tuning.peft,
        "targets": methods.targets(clip.model.text),
        "total": total,
        "trainable": count,
        "percent": percent,
        "parts": parts,
    }


def _counts(clip: Clip, method: str, temperature: bool) -> dict[str, int]:
    """The number of trainable parameters, by part of the model."""
    named = [(name, each.numel()) for name, each in clip.model.text.named_parameters() if each.requires_grad]
    projection = sum(count for name, count in named if _OF_PROJECTION.match(name))
    norms = sum(count for name, count in named if "LayerNorm" in name)
    return {
        f"in {method}": sum(count for _, count in named) - projection - norms,
        "in the projection": projection,
        "in LayerNorms": norms,
        "in the image tower": trainable(clip.model.visual),
        "temperature": int(temperature),
    }


def encoders(
    clip: Clip, data: TrainingData, resources: Resources, run: RunDir, devices: Devices
) -> tuple[Encoder, ImageEncoder | None]:
    """The encoder of texts, and the encoder of images if the image tower is trained, within the memory limit.

    A resumed run uses the precision and the chunk size in ``run.json``. A frozen image tower is removed from the model
    to free its memory.
    """
    batch, limit = run.document["batch"], parse_size(resources.memory)
    number = precision(batch.get("precision", resources.precision), clip.device, clip.model.text)
    run.save(batch={**batch, "precision": "bf16" if number == torch.bfloat16 else "fp32"})
    save_memory(clip.model.text, [data.store.tokens], number)
    if resources.compile:
        compile_layers(clip.model.text)
    images = None
    if trainable(clip.model.visual):
        images = ImageEncoder(clip, number, Budget(clip.device, limit, batch.get("image_chunk_tokens", 0)), devices)
    else:
        clip.model.visual = nn.Identity()  # images are stored vectors, so the tower is not needed
    encoder = Encoder(clip, number, Budget(clip.device, limit, batch.get("chunk_tokens", 0)), devices)
    encoder.measure_memory(data.store.rows(data.longest(_SAMPLE)))
    _warn_changed(run, batch.get("chunk_tokens"), encoder.budget.chunk_tokens)
    run.save(batch={**run.document["batch"], "chunk_tokens": encoder.budget.chunk_tokens})
    if images is not None:
        images.measure_memory([data.store.pixels[image] for image in data.target.images[:_SAMPLE]])
        _warn_changed(run, batch.get("image_chunk_tokens"), images.budget.chunk_tokens)
        run.save(batch={**run.document["batch"], "image_chunk_tokens": images.budget.chunk_tokens})
    return encoder, images


def _warn_changed(run: RunDir, before: int | None, tokens: int) -> None:
    """Tell the user if a resumed run has too little memory for its chunks: dropout is drawn per chunk."""
    if before not in (None, tokens):
        console.say(
            f"{run}: memory is too low for chunks of {before:,} tokens, so they have {tokens:,}: "
            "dropout differs from that of an uninterrupted run"
        )
