"""BLIP-2 with the image looked at once: vision tower and Q-Former run once per image, not once per prefix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from capivara_cli.captioners._prompts import MAX_NEW_TOKENS, PREFIXES
from capivara_cli.errors import CapivaraError
from capivara_cli.pretrained import LOAD_ERRORS, number_type, without_bars

if TYPE_CHECKING:
    from PIL.Image import Image


class Blip2Captioner:
    """Greedy continuations of prefixes, token for token those of ``Blip2ForConditionalGeneration.generate``.

    Ten prefixes cost one pass of the vision tower instead of ten: 4.3 instead of 17.4 TFLOP per image with the paper's
    model. Prefixes of one length in tokens are continued together, so that nothing is ever padded: the original pads
    on the right, and OPT then continues after padding ("a photo of of a man").
    """

    prefixes = PREFIXES

    def __init__(self, model: Any, processor: Any, by: str) -> None:
        self.model = model
        self.processor = processor
        self.by = by

    def __call__(self, images: Sequence[Image], prefixes: Sequence[str]) -> list[list[str]]:
        """Per image, one caption per prefix, in order; a caption begins with its prefix."""
        if not images:
            return []
        tokens = [self.processor.tokenizer(prefix)["input_ids"] for prefix in prefixes]
        groups: dict[int, list[int]] = {}
        for index, ids in enumerate(tokens):
            groups.setdefault(len(ids), []).append(index)
        captions = [[""] * len(prefixes) for _ in images]
        with torch.inference_mode():
            seen = self.see(images)
            for group in groups.values():
                continued = self._continue(seen, [tokens[index] for index in group])
                for column, index in enumerate(group):
                    for row, texts in enumerate(continued):
                        captions[row][index] = f"{prefixes[index]} {texts[column]}".strip()
        return captions

    def see(self, images: Sequence[Image]) -> torch.Tensor:
        """What the language model is shown of each image: [n, queries, width of the language model]."""
        model = self.model
        pixels = self.processor.image_processor(images=list(images), return_tensors="pt")["pixel_values"]
        patches = model.vision_model(pixel_values=pixels.to(model.device, model.dtype)).last_hidden_state
        told = model.qformer(
            query_embeds=model.query_tokens.expand(len(images), -1, -1),
            encoder_hidden_states=patches.to(model.query_tokens.dtype),  # the Q-Former stays in float32
            encoder_attention_mask=torch.ones(patches.shape[:-1], dtype=torch.long, device=patches.device),
        ).last_hidden_state
        return model.language_projection(told.to(model.language_projection.weight.dtype))

    def _continue(self, seen: torch.Tensor, tokens: list[list[int]]) -> list[list[str]]:
        """Per image, the continuation of each row of ``tokens``, all of one length."""
        images, prompts = len(seen), len(tokens)
        ids = torch.tensor(tokens, device=seen.device)
        text = self.model.get_input_embeddings()(ids).to(seen.dtype)
        shown = torch.cat(  # image after image, each with every prompt
            [seen.repeat_interleave(prompts, dim=0), text.repeat(images, 1, 1)], dim=1
        )
        generated = self.model.language_model.generate(
            inputs_embeds=shown,
            attention_mask=torch.ones(shown.shape[:2], dtype=torch.long, device=seen.device),
            max_new_tokens=MAX_NEW_TOKENS,
            do_sample=False,
            num_beams=1,
        )  # given embeddings alone, generate returns the new tokens alone
        texts = self.processor.tokenizer.batch_decode(generated, skip_special_tokens=True)
        return [[text.strip() for text in texts[row * prompts : (row + 1) * prompts]] for row in range(images)]


def open_folder(folder: Path, by: str, device: str) -> Blip2Captioner:
    """Load the model and the processor in a folder; ``CapivaraError`` when they are no BLIP-2."""
    from transformers import AutoConfig, Blip2ForConditionalGeneration, Blip2Processor

    without_bars()
    try:
        kind = AutoConfig.from_pretrained(folder, local_files_only=True).model_type
        if kind != "blip-2":
            raise CapivaraError(f"{folder}: a model of type {kind}, not blip-2", f"--captioner hf:{folder} may take it")
        processor = Blip2Processor.from_pretrained(folder, local_files_only=True)
        model: Any = Blip2ForConditionalGeneration.from_pretrained(
            folder, dtype=number_type(device), local_files_only=True
        )
    except LOAD_ERRORS as error:
        raise CapivaraError(f"{folder}: cannot be loaded as BLIP-2: {error}") from error
    return Blip2Captioner(model.to(device).eval(), processor, by)
