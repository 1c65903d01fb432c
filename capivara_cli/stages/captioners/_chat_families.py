"""Models that read image and text as one sequence: chat models (LLaVA, Qwen-VL, Gemma, SmolVLM …) and PaliGemma."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from PIL import Image as Pillow

from capivara_cli.errors import CapivaraError
from capivara_cli.languages import Language
from capivara_cli.languages.prompts import is_request, unquoted
from capivara_cli.models.generation import Setup
from capivara_cli.stages.captioners._base import CaptionRow, TransformersCaptioner
from capivara_cli.stages.captioners._prompts import REQUEST, chat_prompts

if TYPE_CHECKING:
    from PIL.Image import Image

Inputs = dict[str, torch.Tensor]
"""A processor's output for one image and one text; the first dimension of every tensor is rows (or patches)."""

_BLANKS = [Pillow.new("RGB", size, "gray") for size in ((96, 64), (400, 640))]


class _Ending(NamedTuple):
    """How the inputs for a prompt differ from those for the first prompt: tokens cut off the end, tokens added."""

    cut: int
    added: Inputs


class _SequenceCaptioner(TransformersCaptioner):
    """Processes each image once, in a thread, with the first prompt; other prompts replace the end of its text.

    Rows of different lengths are padded on the left with their first token, which does not affect the repetition
    penalties. Where the first token is an image token (PaliGemma), only rows of one length form a batch.
    """

    half = "bfloat16"
    images_at_once, rows_at_once = (16, 4), (64, 8)

    def __init__(self, model: Any, processor: Any, by: str, setup: Setup) -> None:
        super().__init__(model, processor, by, setup)
        self._endings: dict[str, _Ending] = {}
        self._lock = Lock()  # tokenizers may not be used by two threads at once ("Already borrowed")
        self._blanks = [self._processed(blank, self.text(REQUEST)) for blank in _BLANKS]

    @abstractmethod
    def text(self, prompt: str) -> str:
        """The text that the processor gets for a prompt."""

    def prepare(self, image: Image) -> Inputs:
        return self._processed(image, self.text(REQUEST))

    def encode(self, prepared: Sequence[Inputs]) -> list[Inputs]:
        return list(prepared)

    def prompt_ids(self, encoding: Inputs, prompt: str) -> list[int]:
        return self._inputs(encoding, prompt)["input_ids"][0].tolist()

    def batch_key(self, row: CaptionRow) -> Hashable:
        """Rows whose tensors can be concatenated form a batch."""
        paddable = row.prompt_ids[0] != row.prompt_ids[1]  # a repeated first token is an image token
        per_token = _per_token(row.encoding)
        shapes = tuple((name, value.shape[1:]) for name, value in sorted(row.encoding.items()) if name not in per_token)
        return paddable or len(row.prompt_ids), shapes

    def generate_arguments(self, rows: Sequence[CaptionRow]) -> dict[str, Any]:
        inputs = [self._inputs(row.encoding, row.draw.prompt) for row in rows]
        width = max(len(row.prompt_ids) for row in rows)
        padded = [{**each, **_padded(each, width)} for each in inputs]
        return {name: self.to_device(torch.cat([each[name] for each in padded])) for name in inputs[0]}

    def _processed(self, image: Image, text: str) -> Inputs:
        with self._lock:
            inputs = self.processor(images=[image], text=[text], return_tensors="pt")
        return {name: value for name, value in inputs.items() if isinstance(value, torch.Tensor) and name != "labels"}

    def _inputs(self, encoding: Inputs, prompt: str) -> Inputs:
        """The inputs of an image for a prompt, derived from those for the first prompt."""
        if prompt not in self._endings:
            self._endings[prompt] = self._ending(prompt)
        ending, length = self._endings[prompt], encoding["input_ids"].shape[1]
        return {
            name: torch.cat([value[:, : length - ending.cut], ending.added[name]], 1) if name in ending.added else value
            for name, value in encoding.items()
        }

    def _ending(self, prompt: str) -> _Ending:
        """What a prompt changes in the inputs, found with blank images of two sizes, which must agree."""
        text = self.text(prompt)
        blanks = [self._processed(blank, text) for blank in _BLANKS]
        first, second = (_difference(*pair) for pair in zip(self._blanks, blanks, strict=True))
        if first.cut != second.cut or not all(map(torch.equal, first.added.values(), second.added.values())):
            raise CapivaraError(f"{self.by}: its processor puts the image after the text, which is not supported")
        return first


def _difference(before: Inputs, after: Inputs) -> _Ending:
    """The change at the end of ``before`` that makes it ``after``."""
    old, new = before["input_ids"][0].tolist(), after["input_ids"][0].tolist()
    differences = (one != other for one, other in zip(old, new, strict=False))
    common = next((index for index, differs in enumerate(differences) if differs), min(len(old), len(new)))
    return _Ending(len(old) - common, {name: after[name][:, common:] for name in _per_token(after)})


def _per_token(inputs: Inputs) -> set[str]:
    """The inputs with an entry for each token of the text: ids, masks, types."""
    shape = inputs["input_ids"].shape
    return {name for name, value in inputs.items() if value.shape[:2] == shape and not name.startswith("pixel")}


def _padded(inputs: Inputs, width: int) -> Inputs:
    """The inputs per token, padded on the left to ``width``: ids with the first id, all others with zeros."""
    padded = {}
    for name in _per_token(inputs):
        value = inputs[name]
        padding = value.new_zeros(1, width - value.shape[1], *value.shape[2:])
        padded[name] = torch.cat([padding + value[0, 0] if name == "input_ids" else padding, value], 1)
    return padded


class ChatModelCaptioner(_SequenceCaptioner):
    """A request is the user's turn and the answer is the caption; a prefix begins the assistant's turn.

    English captions continue the paper's prefixes; for other languages the request names the language.
    """

    def prompts(self, language: Language) -> tuple[str, ...]:
        return chat_prompts(language)

    def text(self, prompt: str) -> str:
        request, prefix = (prompt, "") if is_request(prompt) else (REQUEST, prompt)
        turn = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": request}]}
        chat = self.processor.apply_chat_template([turn], add_generation_prompt=True, tokenize=False)
        space = " " if prefix and not chat[-1:].isspace() and chat[-1:] != ">" else ""
        return f"{chat}{space}{prefix}"

    def _text(self, prompt: str, tokens: list[int]) -> str:
        text = super()._text(prompt, tokens)
        return unquoted(text) if is_request(prompt) else text


# Languages with another code in PaliGemma's training data, which uses the codes of Crossmodal-3600.
_CODES = {"he": "iw", "nb": "no", "tl": "fil"}


class PaliGemmaCaptioner(_SequenceCaptioner):
    """PaliGemma (Beyer et al., arXiv 2407.07726): every prompt is a task, for example ``caption pt``; the
    caption is the answer without the prompt."""

    def prompts(self, language: Language) -> tuple[str, ...]:
        return (f"caption {_CODES.get(language.code, language.code)}",)

    def text(self, prompt: str) -> str:
        return f"{self.processor.image_token}{prompt}"

    def _text(self, prompt: str, tokens: list[int]) -> str:
        return self.tokenizer.decode(tokens, skip_special_tokens=True).strip()
