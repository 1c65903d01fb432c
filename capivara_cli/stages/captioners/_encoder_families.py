"""Models with a separate image encoder, run once per image: BLIP, GIT, encoder-decoders, Florence-2."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import torch
from PIL import Image
from transformers.modeling_outputs import BaseModelOutput

from capivara_cli.errors import CapivaraError
from capivara_cli.languages import Language
from capivara_cli.languages.prompts import PREFIXES, is_request
from capivara_cli.models.generation import Setup
from capivara_cli.stages.captioners._base import CaptionRow, TransformersCaptioner
from capivara_cli.stages.captioners._prompts import english_only

_BLANK = Image.new("RGB", (64, 64))


class _PrefixCaptioner(TransformersCaptioner):
    """A model that was trained to continue English prefixes."""

    def prompts(self, language: Language) -> tuple[str, ...]:
        return english_only(PREFIXES, language, self.by)

    def _prompt_tokens(self, prompt: str) -> list[int]:
        return self.tokenizer(prompt, add_special_tokens=False)["input_ids"] if prompt else []


class BlipCaptioner(_PrefixCaptioner):
    """BLIP (Li et al., arXiv 2201.12086): every layer of the text decoder attends to the image patches."""

    @property
    def generator(self) -> Any:
        return self.model.text_decoder

    def __init__(self, model: Any, processor: Any, by: str, setup: Setup) -> None:
        super().__init__(model, processor, by, setup)
        text = model.config.text_config
        self.generator.generation_config.eos_token_id = text.sep_token_id  # as in the model's own generate
        self.generator.generation_config.pad_token_id = text.pad_token_id

    def encode(self, prepared: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        return list(self.model.vision_model(pixel_values=self.to_device(torch.stack(list(prepared)))).last_hidden_state)

    def prompt_ids(self, encoding: torch.Tensor, prompt: str) -> list[int]:
        return [self.model.config.text_config.bos_token_id, *self._prompt_tokens(prompt)]

    def generate_arguments(self, rows: Sequence[CaptionRow]) -> dict[str, Any]:
        patches = torch.stack([row.encoding for row in rows])
        return {
            "input_ids": torch.tensor([row.prompt_ids for row in rows], device=patches.device),
            "encoder_hidden_states": patches,
            "encoder_attention_mask": patches.new_ones(patches.shape[:-1], dtype=torch.long),
        }


class GitCaptioner(_PrefixCaptioner):
    """GIT (Wang et al., arXiv 2205.14100): one transformer reads patches and words.

    The prompt begins with [CLS] and has no [SEP] at its end, because [SEP] ends a caption.
    """

    def __init__(self, model: Any, processor: Any, by: str, setup: Setup) -> None:
        super().__init__(model, processor, by, setup)
        self.image_encoder = model.git.image_encoder
        model.git.image_encoder = _PassThrough()

    def encode(self, prepared: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        return list(self.image_encoder(self.to_device(torch.stack(list(prepared)))).last_hidden_state)

    def prompt_ids(self, encoding: torch.Tensor, prompt: str) -> list[int]:
        return [self.tokenizer.cls_token_id, *self._prompt_tokens(prompt)]

    def generate_arguments(self, rows: Sequence[CaptionRow]) -> dict[str, Any]:
        patches = torch.stack([row.encoding for row in rows])
        ids = torch.tensor([row.prompt_ids for row in rows], device=patches.device)
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "pixel_values": patches[:, None]}


class _PassThrough(torch.nn.Module):
    """Replaces GIT's image encoder: returns its input, which is already encoded."""

    def forward(self, pixel_values: torch.Tensor, **_: Any) -> BaseModelOutput:
        """[rows, 1, patches, width] -> the output of an encoder, [rows, patches, width]."""
        return BaseModelOutput(last_hidden_state=pixel_values[:, 0])


class EncoderDecoderCaptioner(_PrefixCaptioner):
    """An image encoder and a text decoder that takes no prompt (ViT-GPT2); a prefix from the user begins the text."""

    def prompts(self, language: Language) -> tuple[str, ...]:
        return english_only(("",), language, self.by)

    def encode(self, prepared: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        return list(self.model.encoder(pixel_values=self.to_device(torch.stack(list(prepared)))).last_hidden_state)

    def prompt_ids(self, encoding: torch.Tensor, prompt: str) -> list[int]:
        start = self.generator.generation_config.decoder_start_token_id
        return [self.tokenizer.bos_token_id if start is None else start, *self._prompt_tokens(prompt)]

    def generate_arguments(self, rows: Sequence[CaptionRow]) -> dict[str, Any]:
        patches = torch.stack([row.encoding for row in rows])
        ids = torch.tensor([row.prompt_ids for row in rows], device=patches.device)
        return {
            "encoder_outputs": BaseModelOutput(last_hidden_state=patches),
            "decoder_input_ids": ids,
            "decoder_attention_mask": torch.ones_like(ids),
        }


class Florence2Captioner(_PrefixCaptioner):
    """Florence-2 (Xiao et al., arXiv 2311.06242): the encoder reads image and task, the decoder writes the caption.

    A task (``<CAPTION>``) or another request is encoded with the image; a prefix is the beginning of the answer to
    the first task.
    """

    TASKS = ("<CAPTION>", "<DETAILED_CAPTION>", "<MORE_DETAILED_CAPTION>")

    def __init__(self, model: Any, processor: Any, by: str, setup: Setup) -> None:
        super().__init__(model, processor, by, setup)
        self._tasks: dict[str, tuple[int, ...]] = {}

    def prompts(self, language: Language) -> tuple[str, ...]:
        return english_only(self.TASKS, language, self.by)

    def encode(self, prepared: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        return list(self.model.get_image_features(self.to_device(torch.stack(list(prepared)))).pooler_output)

    def prompt_ids(self, encoding: torch.Tensor, prompt: str) -> list[int]:
        config = self.generator.generation_config
        start = [config.decoder_start_token_id]
        if is_request(prompt):
            return start
        forced = [] if config.forced_bos_token_id is None else [config.forced_bos_token_id]
        return [*start, *forced, *self._prompt_tokens(prompt)]

    def batch_key(self, row: CaptionRow) -> Hashable:
        return len(row.prompt_ids), len(self._task_ids(row.draw.prompt))

    def generate_arguments(self, rows: Sequence[CaptionRow]) -> dict[str, Any]:
        encoded: dict[tuple[int, tuple[int, ...]], torch.Tensor] = {}
        keys = [(row.image, self._task_ids(row.draw.prompt)) for row in rows]
        for key, row in zip(keys, rows, strict=True):
            if key not in encoded:
                encoded[key] = self._with_task(row.encoding, key[1])
        hidden = torch.stack([encoded[key] for key in keys])
        return {
            "encoder_outputs": BaseModelOutput(last_hidden_state=hidden),
            "attention_mask": hidden.new_ones(hidden.shape[:-1], dtype=torch.long),
            "decoder_input_ids": torch.tensor([row.prompt_ids for row in rows], device=hidden.device),
        }

    def _with_task(self, image: torch.Tensor, task: tuple[int, ...]) -> torch.Tensor:
        """Encode image features and the token ids of a task: [image tokens + task tokens, width]."""
        ids = torch.tensor([task], device=image.device)
        words = self.model.get_input_embeddings()(ids)
        image_places = (ids == self.processor.image_token_id)[..., None]
        inputs = words.masked_scatter(image_places, image.to(words.dtype))
        return self.model.get_encoder()(inputs_embeds=inputs).last_hidden_state[0]

    def _task_ids(self, prompt: str) -> tuple[int, ...]:
        """The encoder's input ids: placeholders for the image, then the words that the task stands for."""
        task = prompt if is_request(prompt) else self.TASKS[0]
        if task not in self._tasks:
            try:
                inputs = self.processor(images=_BLANK, text=task)
            except ValueError as error:
                raise CapivaraError(
                    f"{self.by}: does not know the task {task!r}: {error}", "give a task alone: <CAPTION>"
                ) from error
            (self._tasks[task],) = map(tuple, inputs["input_ids"])
        return self._tasks[task]
