"""Any image-to-text model of transformers, hf:ORG/NAME or hf:FOLDER: BLIP, GIT, ViT-GPT2, chat models that see."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from capivara_cli import pretrained
from capivara_cli.captioners._prompts import MAX_NEW_TOKENS, PREFIXES, WAYS
from capivara_cli.errors import CapivaraError

if TYPE_CHECKING:
    from PIL.Image import Image

REQUEST = "Write a one-sentence caption of this image."
TEMPERATURE, TOP_P = 1.0, 0.9
_WITHOUT_PROMPT = frozenset({"vision-encoder-decoder", "pix2struct"})


class HfCaptioner:
    """Greedy continuations of prefixes where the model takes text; else the greedy caption and then sampled ones."""

    prefixes = PREFIXES

    def __init__(self, model: Any, processor: Any, by: str) -> None:
        self.model = model
        self.processor = processor
        self.by = by
        self.kind: str = model.config.model_type
        self.tokenizer = getattr(processor, "tokenizer", processor)

    def __call__(self, images: Sequence[Image], prefixes: Sequence[str]) -> list[list[str]]:
        """Per image, one caption per prefix; a model that takes no text tells ``len(prefixes)`` captions of its own."""
        if not images:
            return []
        with torch.inference_mode():
            if self.kind in _WITHOUT_PROMPT:
                return [self._sampled(image, len(prefixes)) for image in images]
            columns = [self._continued(images, prefix) for prefix in prefixes]
        return [list(row) for row in zip(*columns, strict=True)]

    def _continued(self, images: Sequence[Image], prefix: str) -> list[str]:
        """One prefix for all images, so nothing is padded."""
        inputs = self._inputs(images, prefix)
        generated = self.model.generate(**inputs, max_new_tokens=MAX_NEW_TOKENS, do_sample=False, num_beams=1)
        given = inputs["input_ids"]
        if generated.shape[1] >= given.shape[1] and torch.equal(generated[:, : given.shape[1]], given):
            generated = generated[:, given.shape[1] :]
        texts = self.tokenizer.batch_decode(generated, skip_special_tokens=True)
        return [f"{prefix} {_without(prefix, text)}".strip() for text in texts]

    def _inputs(self, images: Sequence[Image], prefix: str) -> dict[str, Any]:
        pictures = list(images)
        if getattr(self.processor, "chat_template", None):
            turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": REQUEST}]}
            chat = self.processor.apply_chat_template([turn], add_generation_prompt=True, tokenize=False)
            inputs = self.processor(
                images=[[picture] for picture in pictures], text=[chat + prefix] * len(images), return_tensors="pt"
            )
        elif self.kind == "git":  # its prompt opens with [CLS] and is not closed, or the caption would be over
            ids = self.tokenizer(prefix, add_special_tokens=False)["input_ids"]
            rows = torch.tensor([[self.tokenizer.cls_token_id, *ids]] * len(images))
            inputs = {**self.processor(images=pictures, return_tensors="pt"), "input_ids": rows}
            inputs["attention_mask"] = torch.ones_like(rows)
        else:
            inputs = self.processor(images=pictures, text=[prefix] * len(images), return_tensors="pt")
        return self._placed(inputs)

    def _placed(self, inputs: Any) -> dict[str, Any]:
        model = self.model
        return {
            name: value.to(model.device, model.dtype) if value.is_floating_point() else value.to(model.device)
            for name, value in inputs.items()
        }

    def _sampled(self, image: Image, count: int) -> list[str]:
        """The greedy caption, then samples whose seed is the image: the same in any batch, on any run."""
        images = getattr(self.processor, "image_processor", self.processor)
        inputs = self._placed(images(images=image, return_tensors="pt"))
        seed = int.from_bytes(hashlib.sha256(image.tobytes()).digest()[:6], "big")
        texts = []
        for index in range(count):
            torch.manual_seed(seed + index)
            generated = self.model.generate(
                **inputs,
                max_new_tokens=MAX_NEW_TOKENS,
                num_beams=1,
                **({"do_sample": True, "temperature": TEMPERATURE, "top_p": TOP_P} if index else {"do_sample": False}),
            )
            texts.append(self.tokenizer.batch_decode(generated, skip_special_tokens=True)[0].strip())
        return texts


def _without(prefix: str, text: str) -> str:
    """The text after the prompt, which some models repeat (BLIP: without its case)."""
    text = text.strip()
    return text[len(prefix) :].strip() if text.casefold().startswith(prefix.casefold()) else text


def load(variant: str, *, device: str) -> HfCaptioner:
    """``hf:ORG/NAME`` or ``hf:FOLDER``. Code that comes with a model is never run (``trust_remote_code`` off)."""
    from transformers import AutoImageProcessor, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer

    if not variant:
        raise CapivaraError(
            "captioner hf: which model?", "hf:ORG/NAME or hf:FOLDER, e.g. hf:Salesforce/blip-image-captioning-base"
        )
    folder = pretrained.folder(pretrained.Wanted(variant, "the captioner's weights", ways=WAYS))
    pretrained.without_bars()
    try:
        model: Any = AutoModelForImageTextToText.from_pretrained(
            folder, dtype=pretrained.number_type(device), local_files_only=True
        )
        if model.config.model_type in _WITHOUT_PROMPT:  # they come without a joint processor
            processor: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            processor.image_processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
        else:
            processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
    except pretrained.LOAD_ERRORS as error:
        raise CapivaraError(f"{folder}: cannot be loaded as an image-to-text model: {error}") from error
    return HfCaptioner(model.to(device).eval(), processor, pretrained.label(variant, folder))
