"""Any image-to-text model of transformers, hf:ORG/NAME or hf:FOLDER: BLIP, GIT, Florence-2, PaliGemma, chat models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from capivara_cli.errors import CapivaraError
from capivara_cli.models import transformers_models
from capivara_cli.models.generation import Setup
from capivara_cli.stages.captioners import _blip2
from capivara_cli.stages.captioners._base import TransformersCaptioner
from capivara_cli.stages.captioners._chat_families import ChatModelCaptioner, PaliGemmaCaptioner
from capivara_cli.stages.captioners._encoder_families import (
    BlipCaptioner,
    EncoderDecoderCaptioner,
    Florence2Captioner,
    GitCaptioner,
)
from capivara_cli.stages.captioners._prompts import HINTS

FAMILIES: dict[str, type[TransformersCaptioner]] = {
    "blip": BlipCaptioner,
    "git": GitCaptioner,
    "vision-encoder-decoder": EncoderDecoderCaptioner,
    "florence2": Florence2Captioner,
    "paligemma": PaliGemmaCaptioner,
}
"""Families by ``model_type``; any other model is a chat model if its processor has a chat template."""


def load(variant: str, *, setup: Setup) -> TransformersCaptioner:
    """``hf:ORG/NAME`` or ``hf:FOLDER``. Code that comes with a model is never run (``trust_remote_code`` is off)."""
    if not variant:
        raise CapivaraError(
            "captioner hf: no model is named", "hf:ORG/NAME or hf:FOLDER, e.g. hf:Salesforce/blip-image-captioning-base"
        )
    folder = transformers_models.folder(variant, "the captioner's weights", hints=HINTS)
    return open_folder(folder, transformers_models.label(variant, folder), setup)


def open_folder(folder: Path, by: str, setup: Setup) -> TransformersCaptioner:
    """Load the model and the processor in a folder. Raises ``CapivaraError`` if the model cannot caption."""
    from transformers import AutoConfig, AutoModelForImageTextToText

    transformers_models.without_bars()
    try:
        kind = AutoConfig.from_pretrained(folder, local_files_only=True).model_type
        if kind == "blip-2":
            return _blip2.open_folder(folder, by, setup)
        processor = _processor(folder, kind)
    except transformers_models.LOAD_ERRORS as error:
        raise CapivaraError(f"{folder}: cannot be loaded as an image-to-text model: {error}") from error
    family = FAMILIES.get(kind, ChatModelCaptioner)
    if family is ChatModelCaptioner and not getattr(processor, "chat_template", None):
        raise CapivaraError(
            f"{folder}: a model of type {kind} without a chat template, so its prompts are unknown",
            f"--captioner hf takes {', '.join(FAMILIES)}, blip-2, and chat models that read images",
        )
    model = transformers_models.load_model(AutoModelForImageTextToText, folder, setup, family.half)
    return family(model, processor, by, setup)


def _processor(folder: Path, kind: str) -> Any:
    """A model's processor. An encoder-decoder has none, so its tokenizer gets the image processor as an attribute."""
    from transformers import AutoImageProcessor, AutoProcessor, AutoTokenizer

    if kind != "vision-encoder-decoder":
        return AutoProcessor.from_pretrained(folder, local_files_only=True)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    tokenizer.image_processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
    return tokenizer
