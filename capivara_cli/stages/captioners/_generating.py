"""The base of captioners that use ``generate`` of transformers: batches, seeds, repetition penalties, decoding."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from transformers import GenerationConfig, LogitsProcessorList

from capivara_cli.languages import Language
from capivara_cli.languages.prompts import is_request
from capivara_cli.models.decoding import Halving, SeededSampling, ends_of
from capivara_cli.models.generation import Draw, Setup

if TYPE_CHECKING:
    from PIL.Image import Image

Draws = Sequence[Sequence[Draw]]

# Kept from a checkpoint's generation config: the tokens that begin and end a text. The rest sets how words are chosen
# (Qwen-VL samples, Florence-2 has three beams, ViT-GPT2 ends after 16 tokens), which ``Decoding`` sets here.
_OF_THE_MODEL = (
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


class Row(NamedTuple):
    """One caption to generate: its encoded image, its draw, and the tokens of its prompt."""

    seen: Any
    draw: Draw
    ids: list[int]


class GeneratingCaptioner(ABC):
    """Prepares images in threads, encodes each once, and generates any number of captions for it.

    A family of models defines ``see``, ``ids`` and ``given``.
    """

    half = "float16"
    images_at_once, rows_at_once = (64, 8), (512, 64)  # on CUDA, elsewhere; what does not fit is halved

    def __init__(self, model: Any, processor: Any, by: str, setup: Setup) -> None:
        self.model = model
        self.processor = processor
        self.tokenizer = getattr(processor, "tokenizer", processor)
        self.by = by
        self.decoding = setup.decoding
        place = 0 if model.device.type == "cuda" else 1
        self.batch_size = self.images_at_once[place]
        self._fit_images, self._fit_rows = Halving(self.batch_size), Halving(self.rows_at_once[place])
        self.writer.generation_config = only_tokens(self.writer.generation_config)

    @property
    def writer(self) -> Any:
        """The model whose ``generate`` writes the words."""
        return self.model

    @abstractmethod
    def prompts(self, language: Language) -> tuple[str, ...]:
        """The default prompts for a language."""

    def prepare(self, image: Image) -> Any:
        """One RGB image -> what ``see`` takes of it. Called in threads."""
        images = getattr(self.processor, "image_processor", self.processor)
        return images(images=image, return_tensors="pt")["pixel_values"][0]

    @abstractmethod
    def see(self, prepared: Sequence[Any]) -> list[Any]:
        """Encode prepared images in one batch: one encoding per image, which its rows share."""

    @abstractmethod
    def ids(self, seen: Any, prompt: str) -> list[int]:
        """The tokens of a prompt, which the text continues."""

    @abstractmethod
    def given(self, rows: Sequence[Row]) -> dict[str, Any]:
        """The arguments of ``generate`` for rows of one batch."""

    def alike(self, row: Row) -> Hashable:
        """Rows with the same value form a batch: by default rows of one length, so none is padded."""
        return len(row.ids)

    def __call__(self, prepared: Sequence[Any]) -> Callable[[Draws], list[list[str]]]:
        """Encode prepared images; return a function from draws to texts, which can be called several times."""
        with torch.inference_mode():
            seen = self._fit_images(prepared, self.see)

        def texts_of(draws: Draws) -> list[list[str]]:
            rows = [
                Row(each, draw, self.ids(each, draw.prompt))
                for each, wanted in zip(seen, draws, strict=True)
                for draw in wanted
            ]
            texts = iter(self._texts(rows))
            return [[next(texts) for _ in wanted] for wanted in draws]

        return texts_of

    def _texts(self, rows: Sequence[Row]) -> list[str]:
        together: dict[Hashable, list[int]] = {}
        for place, row in enumerate(rows):
            searched = self.decoding.beams > 1 and row.draw.seed is None
            together.setdefault((searched, self.alike(row)), []).append(place)
        texts = [""] * len(rows)
        for places in together.values():
            chosen = [rows[place] for place in places]
            for place, row, tokens in zip(places, chosen, self._fit_rows(chosen, self._generated), strict=True):
                texts[place] = self._text(row.draw.prompt, tokens)
        return texts

    @torch.inference_mode()
    def _generated(self, rows: Sequence[Row]) -> list[list[int]]:
        """The new tokens of one batch. With beam search, either all rows have a seed or none has."""
        decoding, seeds = self.decoding, [row.draw.seed for row in rows]
        sampling = any(seed is not None for seed in seeds)
        given = self.given(rows)
        generated = self.writer.generate(
            **given,
            max_new_tokens=decoding.max_tokens,
            do_sample=False,
            num_beams=1 if sampling else decoding.beams,
            repetition_penalty=decoding.repetition_penalty,
            no_repeat_ngram_size=decoding.no_repeat_ngram,
            logits_processor=LogitsProcessorList([SeededSampling(seeds, decoding)] if sampling else []),
        )
        ends = set(ends_of(self.writer))
        return [until(row[self.skipped(given) :], ends) for row in generated.tolist()]

    def skipped(self, given: dict[str, Any]) -> int:
        """The number of prompt tokens at the start of each row that ``generate`` returns."""
        return given["decoder_input_ids" if "decoder_input_ids" in given else "input_ids"].shape[1]

    def _text(self, prompt: str, tokens: list[int]) -> str:
        """The text of tokens: the answer to a request, or a prefix and its continuation joined."""
        if is_request(prompt) or not prompt:
            return self.tokenizer.decode(tokens, skip_special_tokens=True).strip()
        before = self.tokenizer(prompt, add_special_tokens=False)["input_ids"]
        start = self.tokenizer.decode(before, skip_special_tokens=True)
        said = self.tokenizer.decode([*before, *tokens], skip_special_tokens=True)[len(start) :]
        space = "" if start else " "  # a prefix of unknown words only decodes to nothing
        return f"{prompt}{space}{said}".rstrip()

    def placed(self, value: torch.Tensor) -> torch.Tensor:
        """A tensor on the model's device; floating point in the model's type."""
        model = self.model
        return value.to(model.device, model.dtype) if value.is_floating_point() else value.to(model.device)


def until(tokens: Sequence[int], ends: set[int]) -> list[int]:
    """The tokens before the first end token.

    >>> until([5, 6, 2, 0, 0], {2})
    [5, 6]
    """
    return [*tokens][: next((place for place, token in enumerate(tokens) if token in ends), len(tokens))]


def only_tokens(config: GenerationConfig) -> GenerationConfig:
    """A generation config reduced to the tokens that begin and end a text."""
    return GenerationConfig(**{name: getattr(config, name, None) for name in _OF_THE_MODEL})
