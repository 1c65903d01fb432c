"""BLIP-2 that encodes each image once: all captions of an image share the vision tower's and the Q-Former's output."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from capivara_cli.errors import CapivaraError
from capivara_cli.languages import Language
from capivara_cli.languages.prompts import PREFIXES, is_request
from capivara_cli.models.decoding import (
    Halving,
    Prompts,
    cache_argument,
    continued,
    end_tokens,
    padded,
    preallocated_cache,
)
from capivara_cli.models.generation import Setup
from capivara_cli.models.transformers_models import LOAD_ERRORS, load_model, without_bars
from capivara_cli.stages.captioners._base import CaptionRow, TransformersCaptioner
from capivara_cli.stages.captioners._prompts import english_only

ROWS = 1024
"""The most captions generated in one batch; on a GPU fewer when its free memory has no room for them."""


class Blip2Captioner(TransformersCaptioner):
    """Continuations of prefixes, token for token those of ``Blip2ForConditionalGeneration.generate``.

    Each image is processed once for all its prefixes: ten prefixes cost 2.7 instead of 17.4 TFLOP per image with the
    paper's model. Prefixes are padded on the left and the padding is masked; the original pads on
    the right, and OPT then continues after padding ("a photo of of a man").
    """

    rows_at_once = (ROWS, ROWS)

    def __init__(self, model: Any, processor: Any, by: str, setup: Setup) -> None:
        super().__init__(model, processor, by, setup)
        self._fit_images = Halving(1 << 30)

    @property
    def generator(self) -> Any:
        return self.model.language_model

    @property
    def _is_encoder_decoder(self) -> bool:
        return bool(self.model.config.text_config.is_encoder_decoder)

    @property
    def _image_token(self) -> int:
        """The token that stands for the image where token ids are read.

        Folders of before 2024 (Salesforce/blip2-opt-2.7b in its first revisions) do not name it; their processor adds
        it to the tokenizer on loading. Where the language model has no score for it, padding takes its place.
        """
        config, tokenizer = self.model.config, self.tokenizer
        if config.image_token_index is not None:
            return int(config.image_token_index)
        token = tokenizer.convert_tokens_to_ids(str(self.processor.image_token))
        return int(token) if token < config.text_config.vocab_size else int(tokenizer.pad_token_id or 0)

    def prompts(self, language: Language) -> tuple[str, ...]:
        """The paper's prefixes for English; a request for another language, as multilingual mBLIP understands."""
        if language.code != "en" and self._is_encoder_decoder:
            return (f"Caption the image in {language.name}.",)
        return english_only(PREFIXES, language, self.by)

    def encode(self, prepared: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Pixels [3, height, width] per image -> input embeddings of the language model [queries, width] per image."""
        model = self.model
        patches = model.vision_model(pixel_values=self.to_device(torch.stack(list(prepared)))).last_hidden_state
        queries = model.qformer(
            query_embeds=model.query_tokens.expand(len(prepared), -1, -1),
            encoder_hidden_states=patches.to(model.query_tokens.dtype),  # the Q-Former stays in float32
            encoder_attention_mask=torch.ones(patches.shape[:-1], dtype=torch.long, device=patches.device),
        ).last_hidden_state
        return list(model.language_projection(queries.to(model.language_projection.weight.dtype)))

    def prompt_ids(self, encoding: torch.Tensor, prompt: str) -> list[int]:
        return self.tokenizer(prompt)["input_ids"]

    def generate_arguments(self, rows: Sequence[CaptionRow]) -> dict[str, Any]:
        images = torch.stack([row.encoding for row in rows])
        ids = torch.tensor([row.prompt_ids for row in rows], device=images.device)
        inputs = torch.cat([images, self.model.get_input_embeddings()(ids).to(images.dtype)], dim=1)
        arguments = {"inputs_embeds": inputs, "attention_mask": inputs.new_ones(inputs.shape[:2]).long()}
        if not self._is_encoder_decoder:  # the repetition penalties also read the prompt
            queries = ids.new_full((len(rows), images.shape[1]), self._image_token)
            arguments["input_ids"] = torch.cat([queries, ids], dim=1)
        return arguments

    def _texts(self, rows: Sequence[CaptionRow]) -> list[str]:
        """One text per row. Beam search and encoder-decoders use ``generate``; all else uses ``continued``."""
        self._fit_rows.size = min(self._fit_rows.size, self._rows_that_fit(rows))
        texts = [""] * len(rows)
        by_generate = [index for index, row in enumerate(rows) if self._needs_generate(row)]
        generated = super()._texts([rows[index] for index in by_generate])
        for index, text in zip(by_generate, generated, strict=True):
            texts[index] = text
        others = [index for index, row in enumerate(rows) if not self._needs_generate(row)]
        for index, tokens in zip(others, self._fit_rows([rows[each] for each in others], self._continued), strict=True):
            texts[index] = self._text(rows[index].draw.prompt, tokens)
        return texts

    def _needs_generate(self, row: CaptionRow) -> bool:
        return self._is_encoder_decoder or (self.decoding.beams > 1 and row.draw.seed is None)

    def _rows_that_fit(self, rows: Sequence[CaptionRow]) -> int:
        """How many of these rows fit in memory together."""
        if self.model.device.type != "cuda" or not rows:
            return ROWS
        prompt = max(len(row.prompt_ids) for row in rows)
        longest = rows[0].encoding.shape[0] + prompt + self.decoding.max_tokens
        free, _ = torch.cuda.mem_get_info(self.model.device)
        return min(ROWS, rows_that_fit(self.model.config.text_config, longest, self.model.dtype.itemsize, free))

    @torch.inference_mode()
    def _continued(self, rows: Sequence[CaptionRow]) -> list[list[int]]:
        """The language model reads each image once; its keys and values are copied to the rows of the image."""
        images = {row.image: row.encoding for row in rows}
        places = {image: place for place, image in enumerate(images)}
        language_model, device = self.model.language_model, self.model.device
        ids, mask = padded([row.prompt_ids for row in rows], self.tokenizer.pad_token_id or 0, device)
        cache = preallocated_cache(language_model, room=ids.shape[1] + self.decoding.max_tokens)
        embeddings = torch.stack(list(images.values()))
        known = cache_argument(language_model, cache)
        language_model(inputs_embeds=embeddings, **known, use_cache=True, logits_to_keep=1)
        cache.batch_select_indices(torch.tensor([places[row.image] for row in rows], device=device))
        prompts = Prompts(ids, mask, [row.draw.seed for row in rows], end_tokens(language_model))
        return continued(language_model, cache, prompts, self.decoding)

    def _text(self, prompt: str, tokens: list[int]) -> str:
        continuation = self.tokenizer.decode(tokens, skip_special_tokens=True).strip()
        return continuation if is_request(prompt) else f"{prompt} {continuation}".strip()


def rows_that_fit(config: Any, tokens: int, itemsize: int, free: int) -> int:
    """How many rows of ``tokens`` tokens have keys and values that fit in two thirds of ``free`` bytes; at least one.

    A token of OPT-2.7b has 32 layers of two times 2,560 numbers: 328 kB in float16, a caption of 90 tokens 29 MB.
    """
    per_row = tokens * config.num_hidden_layers * 2 * config.hidden_size * itemsize
    return max(1, 2 * free // (3 * per_row))


def open_folder(folder: Path, by: str, setup: Setup) -> Blip2Captioner:
    """Load the model and the processor in a folder. Raises ``CapivaraError`` if they are not BLIP-2."""
    from transformers import AutoConfig, Blip2ForConditionalGeneration, Blip2Processor

    without_bars()
    try:
        kind = AutoConfig.from_pretrained(folder, local_files_only=True).model_type
        if kind != "blip-2":
            raise CapivaraError(f"{folder}: a model of type {kind}, not blip-2", f"--captioner hf:{folder} may take it")
        processor = Blip2Processor.from_pretrained(folder, local_files_only=True)
    except LOAD_ERRORS as error:
        raise CapivaraError(f"{folder}: cannot be loaded as BLIP-2: {error}") from error
    return Blip2Captioner(load_model(Blip2ForConditionalGeneration, folder, setup), processor, by, setup)
