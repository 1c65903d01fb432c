"""BLIP-2 that encodes each image once: all captions of an image share the vision tower's and the Q-Former's output."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from transformers import LogitsProcessorList

from capivara_cli.errors import CapivaraError
from capivara_cli.languages import Language
from capivara_cli.languages.prompts import PREFIXES, is_request
from capivara_cli.models.decoding import Halving, Prompts, SeededSampling, continued, ends_of, padded, roomy_cache
from capivara_cli.models.generation import Draw, Setup
from capivara_cli.models.transformers_models import LOAD_ERRORS, load_model, without_bars
from capivara_cli.stages.captioners._prompts import in_english, only_english

if TYPE_CHECKING:
    from PIL.Image import Image

Draws = Sequence[Sequence[Draw]]

ROWS = 1024
"""The most captions generated in one batch; on a GPU fewer when its free memory has no room for them."""


class _Row(NamedTuple):
    """One caption to generate: the index of its image, its draw, and the tokens of its prompt."""

    image: int
    draw: Draw
    ids: list[int]


class Blip2Captioner:
    """Continuations of prefixes, token for token those of ``Blip2ForConditionalGeneration.generate``.

    Each image is processed once for all its prefixes: ten prefixes cost 2.7 instead of 17.4 TFLOP per image with the
    paper's model. Prefixes are padded on the left and the padding is masked; the original pads on
    the right, and OPT then continues after padding ("a photo of of a man").
    """

    def __init__(self, model: Any, processor: Any, by: str, setup: Setup) -> None:
        self.model = model
        self.processor = processor
        self.by = by
        self.decoding = setup.decoding
        self.batch_size = 64 if model.device.type == "cuda" else 8
        self._fit_images, self._fit_rows = Halving(1 << 30), Halving(ROWS)

    def prompts(self, language: Language) -> tuple[str, ...]:
        """The paper's prefixes for English; a request for another language, as multilingual mBLIP understands."""
        if not in_english(language) and self.model.config.text_config.is_encoder_decoder:
            return (f"Caption the image in {language.name}.",)
        return PREFIXES if in_english(language) else only_english(self.by, language)

    def prepare(self, image: Image) -> torch.Tensor:
        """One image -> pixels [3, height, width]."""
        return self.processor.image_processor(images=image, return_tensors="pt")["pixel_values"][0]

    def __call__(self, pixels: Sequence[torch.Tensor]) -> Callable[[Draws], list[list[str]]]:
        """Encode prepared images; return a function from draws to texts, which can be called several times."""
        seen = self._fit_images(pixels, lambda some: list(self.see(torch.stack(list(some))))) if pixels else []

        def texts_of(draws: Draws) -> list[list[str]]:
            rows = [self._row(image, draw) for image, wanted in enumerate(draws) for draw in wanted]
            self._fit_rows.size = min(self._fit_rows.size, self._room(rows))
            texts = iter(self._fit_rows(rows, lambda some: self._texts(seen, some)))
            return [[next(texts) for _ in wanted] for wanted in draws]

        return texts_of

    @torch.inference_mode()
    def see(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels [n, 3, height, width] -> input embeddings of the language model [n, queries, width]."""
        model = self.model
        patches = model.vision_model(pixel_values=pixels.to(model.device, model.dtype)).last_hidden_state
        told = model.qformer(
            query_embeds=model.query_tokens.expand(len(pixels), -1, -1),
            encoder_hidden_states=patches.to(model.query_tokens.dtype),  # the Q-Former stays in float32
            encoder_attention_mask=torch.ones(patches.shape[:-1], dtype=torch.long, device=patches.device),
        ).last_hidden_state
        return model.language_projection(told.to(model.language_projection.weight.dtype))

    def _row(self, image: int, draw: Draw) -> _Row:
        return _Row(image, draw, self.processor.tokenizer(draw.prompt)["input_ids"])

    def _room(self, rows: Sequence[_Row]) -> int:
        """How many of these rows fit in memory together."""
        if self.model.device.type != "cuda" or not rows:
            return ROWS
        longest = self.model.config.num_query_tokens + max(len(row.ids) for row in rows) + self.decoding.max_tokens
        free, _ = torch.cuda.mem_get_info(self.model.device)
        return min(ROWS, rows_that_fit(self.model.config.text_config, longest, self.model.dtype.itemsize, free))

    def _texts(self, seen: Sequence[torch.Tensor], rows: Sequence[_Row]) -> list[str]:
        """One text per row. Beam search and encoder-decoders use ``generate``; all else uses ``continued``."""
        encodes = self.model.config.text_config.is_encoder_decoder
        beams = self.decoding.beams > 1
        searched = [place for place, row in enumerate(rows) if encodes or (beams and row.draw.seed is None)]
        others = [place for place in range(len(rows)) if place not in set(searched)]
        texts = [""] * len(rows)
        for places, write in ((searched, self._searched), (others, self._continued)):
            chosen = [rows[place] for place in places]
            for place, row, tokens in zip(places, chosen, write(seen, chosen) if chosen else (), strict=True):
                said = self.processor.tokenizer.decode(tokens, skip_special_tokens=True).strip()
                texts[place] = said if is_request(row.draw.prompt) else f"{row.draw.prompt} {said}".strip()
        return texts

    @torch.inference_mode()
    def _continued(self, seen: Sequence[torch.Tensor], rows: Sequence[_Row]) -> list[list[int]]:
        """The language model reads each image once; its keys and values are copied to the rows of the image."""
        images = list(dict.fromkeys(row.image for row in rows))
        language_model, device = self.model.language_model, self.model.device
        ids, mask = padded([row.ids for row in rows], self._pad, device)
        cache = roomy_cache(language_model, room=ids.shape[1] + self.decoding.max_tokens)
        shown = torch.stack([seen[image] for image in images])
        language_model(inputs_embeds=shown, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache.batch_select_indices(torch.tensor([images.index(row.image) for row in rows], device=device))
        prompts = Prompts(ids, mask, [row.draw.seed for row in rows], ends_of(language_model))
        return continued(language_model, cache, prompts, self.decoding)

    @torch.inference_mode()
    def _searched(self, seen: Sequence[torch.Tensor], rows: Sequence[_Row]) -> list[list[int]]:
        """New tokens by ``generate``, for beam search and encoder-decoders; prompts of one length form a batch."""
        tokens: list[list[int]] = [[] for _ in rows]
        alike: dict[tuple[int, bool], list[int]] = {}
        for place, row in enumerate(rows):
            alike.setdefault((len(row.ids), row.draw.seed is None), []).append(place)
        for places in alike.values():
            generated = self._generated(seen, [rows[place] for place in places])
            for place, ids in zip(places, generated, strict=True):
                tokens[place] = ids
        return tokens

    def _generated(self, seen: Sequence[torch.Tensor], rows: Sequence[_Row]) -> list[list[int]]:
        """``generate`` on rows of one length, either all with a seed or all without."""
        model, decoding = self.model, self.decoding
        config, device = model.config, model.device
        shown = torch.stack([seen[row.image] for row in rows])
        ids = torch.tensor([row.ids for row in rows], device=device)
        shown = torch.cat([shown, model.get_input_embeddings()(ids).to(shown.dtype)], dim=1)
        given: dict[str, Any] = {"inputs_embeds": shown, "attention_mask": shown.new_ones(shown.shape[:2]).long()}
        skipped = 0
        if not config.text_config.is_encoder_decoder:  # the repetition penalties also read the prompt
            queries = ids.new_full((len(rows), config.num_query_tokens), config.image_token_id)
            given["input_ids"] = torch.cat([queries, ids], dim=1)
            skipped = shown.shape[1]
        sampling = [SeededSampling([row.draw.seed for row in rows], decoding)] if rows[0].draw.seed is not None else []
        generated = model.language_model.generate(
            **given,
            max_new_tokens=decoding.max_tokens,
            do_sample=False,
            num_beams=1 if sampling else decoding.beams,
            repetition_penalty=decoding.repetition_penalty,
            no_repeat_ngram_size=decoding.no_repeat_ngram,
            logits_processor=LogitsProcessorList(sampling),
        )
        ends = set(ends_of(model.language_model))
        return [[token for token in row if token not in ends] for row in generated[:, skipped:].tolist()]

    @property
    def _pad(self) -> int:
        pad = self.processor.tokenizer.pad_token_id
        return 0 if pad is None else pad


def rows_that_fit(config: Any, tokens: int, itemsize: int, free: int) -> int:
    """How many rows of ``tokens`` tokens have keys and values that fit in two thirds of ``free`` bytes; at least one.

    A token of OPT-2.7b has 32 layers of two times 2,560 numbers: 328 kB in float16, a caption of 90 tokens 29 MB.
    """
    per_row = tokens * config.num_hidden_layers * 2 * config.hidden_size * itemsize
    return max(1, 2 * free // (3 * per_row))


def open_folder(folder: Path, by: str, setup: Setup) -> Blip2Captioner:
    """Load the model and the processor in a folder; ``CapivaraError`` when they are not BLIP-2."""
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
