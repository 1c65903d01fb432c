"""The base of captioners that run a transformers model: batches, seeds, repetition penalties, decoding."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from transformers import GenerationConfig, LogitsProcessorList

from capivara_cli.languages import Language
from capivara_cli.languages.prompts import is_request
from capivara_cli.models.decoding import Halving, SeededSampling, end_tokens
from capivara_cli.models.generation import Draw, Setup

if TYPE_CHECKING:
    from PIL.Image import Image

Draws = Sequence[Sequence[Draw]]
"""The captions to generate for each image."""

# Kept from a checkpoint's generation config: the tokens that begin and end a text. The other entries set how tokens are
# chosen (Qwen-VL samples, Florence-2 has three beams, ViT-GPT2 ends after 16 tokens), which ``Decoding`` sets here.
_TOKEN_SETTINGS = (
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
    "decoder_start_token_id",
    "forced_bos_token_id",
    "forced_eos_token_id",
    "bad_words_ids",
    "suppress_tokens",
    "begin_suppress_tokens",
)


class CaptionRow(NamedTuple):
    """One caption to generate: the index and the encoding of its image, its draw, and the tokens of its prompt."""

    image: int
    encoding: Any
    draw: Draw
    prompt_ids: list[int]


class TransformersCaptioner(ABC):
    """Prepares images in threads, encodes each once, and generates any number of captions for it.

    A family of models defines ``encode``, ``prompt_ids`` and ``generate_arguments``.
    """

    half = "float16"
    images_at_once, rows_at_once = (64, 8), (512, 64)  # on CUDA, elsewhere; halved when memory runs out

    def __init__(self, model: Any, processor: Any, by: str, setup: Setup) -> None:
        self.model = model
        self.processor = processor
        self.tokenizer = getattr(processor, "tokenizer", processor)
        self.by = by
        self.decoding = setup.decoding
        device = 0 if model.device.type == "cuda" else 1
        self.batch_size = self.images_at_once[device]
        self._fit_images, self._fit_rows = Halving(self.batch_size), Halving(self.rows_at_once[device])
        self.generator.generation_config = token_settings(self.generator.generation_config)

    @property
    def generator(self) -> Any:
        """The module whose ``generate`` writes the text."""
        return self.model

    @abstractmethod
    def prompts(self, language: Language) -> tuple[str, ...]:
        """The default prompts for a language."""

    def prepare(self, image: Image) -> Any:
        """One RGB image -> the input of ``encode``. Called in threads."""
        images = getattr(self.processor, "image_processor", self.processor)
        return images(images=image, return_tensors="pt")["pixel_values"][0]

    @abstractmethod
    def encode(self, prepared: Sequence[Any]) -> list[Any]:
        """Encode prepared images in one batch: one encoding per image, which its rows share."""

    @abstractmethod
    def prompt_ids(self, encoding: Any, prompt: str) -> list[int]:
        """The tokens of a prompt, which the text continues."""

    @abstractmethod
    def generate_arguments(self, rows: Sequence[CaptionRow]) -> dict[str, Any]:
        """The arguments of ``generate`` for rows of one batch."""

    def batch_key(self, row: CaptionRow) -> Hashable:
        """Rows with the same value form a batch: by default rows of one length, so none is padded."""
        return len(row.prompt_ids)

    def __call__(self, prepared: Sequence[Any]) -> Callable[[Draws], list[list[str]]]:
        """Encode prepared images; return a function from draws to texts, which can be called several times."""
        with torch.inference_mode():
            encodings = self._fit_images(prepared, self.encode)

        def texts_of(draws: Draws) -> list[list[str]]:
            rows = [
                CaptionRow(image, encoding, draw, self.prompt_ids(encoding, draw.prompt))
                for image, (encoding, image_draws) in enumerate(zip(encodings, draws, strict=True))
                for draw in image_draws
            ]
            texts = iter(self._texts(rows))
            return [[next(texts) for _ in image_draws] for image_draws in draws]

        return texts_of

    def _texts(self, rows: Sequence[CaptionRow]) -> list[str]:
        """One text per row, by ``generate``; a batch is either beam-searched or not."""
        batches: dict[Hashable, list[int]] = {}
        for index, row in enumerate(rows):
            beam_search = self.decoding.beams > 1 and row.draw.seed is None
            batches.setdefault((beam_search, self.batch_key(row)), []).append(index)
        texts = [""] * len(rows)
        for indexes in batches.values():
            batch = [rows[index] for index in indexes]
            for index, row, tokens in zip(indexes, batch, self._fit_rows(batch, self._generated), strict=True):
                texts[index] = self._text(row.draw.prompt, tokens)
        return texts

    @torch.inference_mode()
    def _generated(self, rows: Sequence[CaptionRow]) -> list[list[int]]:
        """The new tokens of one batch. With beam search, either all rows have a seed or none has."""
        decoding, seeds = self.decoding, [row.draw.seed for row in rows]
        sampling = any(seed is not None for seed in seeds)
        arguments = self.generate_arguments(rows)
        generated = self.generator.generate(
            **arguments,
            max_new_tokens=decoding.max_tokens,
            do_sample=False,
            num_beams=1 if sampling else decoding.beams,
            repetition_penalty=decoding.repetition_penalty,
            no_repeat_ngram_size=decoding.no_repeat_ngram,
            logits_processor=LogitsProcessorList([SeededSampling(seeds, decoding)] if sampling else []),
        )
        ends = set(end_tokens(self.generator))
        return [before_end(row[prompt_length(arguments) :], ends) for row in generated.tolist()]

    def _text(self, prompt: str, tokens: list[int]) -> str:
        """The text of tokens: the answer to a request, or a prefix joined with its continuation."""
        if is_request(prompt) or not prompt:
            return self.tokenizer.decode(tokens, skip_special_tokens=True).strip()
        prefix = self.tokenizer(prompt, add_special_tokens=False)["input_ids"]
        start = self.tokenizer.decode(prefix, skip_special_tokens=True)
        continuation = self.tokenizer.decode([*prefix, *tokens], skip_special_tokens=True)[len(start) :]
        space = "" if start else " "  # a prefix of unknown words only decodes to nothing
        return f"{prompt}{space}{continuation}".rstrip()

    def to_device(self, value: torch.Tensor) -> torch.Tensor:
        """A tensor on the model's device; floating point in the model's type."""
        model = self.model
        return value.to(model.device, model.dtype) if value.is_floating_point() else value.to(model.device)


def prompt_length(arguments: dict[str, Any]) -> int:
    """The number of tokens before the new ones in each row that ``generate`` returns for these arguments."""
    ids = arguments.get("decoder_input_ids", arguments.get("input_ids"))
    return 1 if ids is None else int(ids.shape[1])  # without ids, the start token of an encoder-decoder


def before_end(tokens: Sequence[int], ends: set[int]) -> list[int]:
    """The tokens before the first end token.

    >>> before_end([5, 6, 2, 0, 0], {2})
    [5, 6]
    """
    return [*tokens][: next((index for index, token in enumerate(tokens) if token in ends), len(tokens))]


def token_settings(config: GenerationConfig) -> GenerationConfig:
    """A generation config reduced to the tokens that begin and end a text."""
    return GenerationConfig(**{name: getattr(config, name, None) for name in _TOKEN_SETTINGS})
