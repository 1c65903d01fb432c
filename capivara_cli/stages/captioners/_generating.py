"""What captioners on ``generate`` of transformers share: rows that go together, seeds, guards, memory, words."""

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

# What of a checkpoint's generation config stays: with which tokens a text begins and ends. The rest of it chooses words
# (Qwen-VL samples, Florence-2 has three beams, ViT-GPT2 ends after 16 tokens), and that is for ``Decoding`` to say.
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
    """One caption to be written: what was seen of its image, its draw, and the tokens its text begins after."""

    seen: Any
    draw: Draw
    ids: list[int]


class GeneratingCaptioner(ABC):
    """Images are prepared in threads, seen once, and told about as often as asked.

    A family of models says how: ``see``, ``ids`` and ``given`` are what differs.
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
        """What an image is captioned with where the user does not say."""

    def prepare(self, image: Image) -> Any:
        """One RGB image -> what ``see`` takes of it. Called in threads."""
        images = getattr(self.processor, "image_processor", self.processor)
        return images(images=image, return_tensors="pt")["pixel_values"][0]

    @abstractmethod
    def see(self, prepared: Sequence[Any]) -> list[Any]:
        """Look at prepared images together: per image what its rows share."""

    @abstractmethod
    def ids(self, seen: Any, prompt: str) -> list[int]:
        """The tokens that a text about an image begins after."""

    @abstractmethod
    def given(self, rows: Sequence[Row]) -> dict[str, Any]:
        """What ``generate`` is given for rows that are alike."""

    def alike(self, row: Row) -> Hashable:
        """Rows for which this is the same are written together: by default those of one length, so none is padded."""
        return len(row.ids)

    def __call__(self, prepared: Sequence[Any]) -> Callable[[Draws], list[list[str]]]:
        """Look at prepared images; what is returned tells of each image the texts of its draws, as often as asked."""
        with torch.inference_mode():
            seen = self._fit_images(prepared, self.see)

        def tell(draws: Draws) -> list[list[str]]:
            rows = [
                Row(each, draw, self.ids(each, draw.prompt))
                for each, wanted in zip(seen, draws, strict=True)
                for draw in wanted
            ]
            texts = iter(self._texts(rows))
            return [[next(texts) for _ in wanted] for wanted in draws]

        return tell

    def _texts(self, rows: Sequence[Row]) -> list[str]:
        together: dict[Hashable, list[int]] = {}
        for place, row in enumerate(rows):
            searched = self.decoding.beams > 1 and row.draw.seed is None
            together.setdefault((searched, self.alike(row)), []).append(place)
        texts = [""] * len(rows)
        for places in together.values():
            chosen = [rows[place] for place in places]
            for place, row, tokens in zip(places, chosen, self._fit_rows(chosen, self._written), strict=True):
                texts[place] = self._text(row.draw.prompt, tokens)
        return texts

    @torch.inference_mode()
    def _written(self, rows: Sequence[Row]) -> list[list[int]]:
        """The new tokens of rows that are alike, all with a seed where there are beams, or all without."""
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
        """How many of the tokens that ``generate`` returns were given to it."""
        return given["decoder_input_ids" if "decoder_input_ids" in given else "input_ids"].shape[1]

    def _text(self, prompt: str, tokens: list[int]) -> str:
        """The words of tokens: an answer alone, or after a prefix, with a space between where the model has one."""
        if is_request(prompt) or not prompt:
            return self.tokenizer.decode(tokens, skip_special_tokens=True).strip()
        before = self.tokenizer(prompt, add_special_tokens=False)["input_ids"]
        start = self.tokenizer.decode(before, skip_special_tokens=True)
        said = self.tokenizer.decode([*before, *tokens], skip_special_tokens=True)[len(start) :]
        space = "" if start else " "  # a prefix of words that are all unknown has no text to join
        return f"{prompt}{space}{said}".rstrip()

    def placed(self, value: torch.Tensor) -> torch.Tensor:
        """A tensor where the model is, pixels in its number type."""
        model = self.model
        return value.to(model.device, model.dtype) if value.is_floating_point() else value.to(model.device)


def until(tokens: Sequence[int], ends: set[int]) -> list[int]:
    """The tokens before the first that ends a text.

    >>> until([5, 6, 2, 0, 0], {2})
    [5, 6]
    """
    return [*tokens][: next((place for place, token in enumerate(tokens) if token in ends), len(tokens))]


def only_tokens(config: GenerationConfig) -> GenerationConfig:
    """A generation config with nothing but the tokens that a model's texts begin and end with."""
    return GenerationConfig(**{name: getattr(config, name, None) for name in _OF_THE_MODEL})
