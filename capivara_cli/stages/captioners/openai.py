"""A chat model that sees behind an OpenAI-compatible service (OpenAI, vLLM, Ollama …): openai:MODEL --base-url URL."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from capivara_cli import console
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.languages import Language
from capivara_cli.languages.prompts import PREFIXES, is_request, unquoted
from capivara_cli.models.generation import Draw, Setup
from capivara_cli.models.http_service import Chat, Refused
from capivara_cli.stages.captioners._prompts import in_english
from capivara_cli.stages.captioners._requests import asking_for, requests

if TYPE_CHECKING:
    from PIL.Image import Image

LONGEST_SIDE = 1024
"""Larger images are scaled down to this many pixels: services do so themselves, or bill by the pixel."""
QUALITY = 90

Draws = Sequence[Sequence[Draw]]


class ChatCaptioner:
    """One request per draw, sent in parallel within a batch; a refused request gives an empty text.

    A service cannot be made to continue a prefix, so the request asks the model to begin with it. The model may not
    comply.
    """

    def __init__(self, chat: Chat, setup: Setup) -> None:
        self.by = f"openai:{chat.model}"
        self.chat = chat
        self.decoding = setup.decoding
        self.batch_size = setup.concurrency
        self._warned = False

    def prompts(self, language: Language) -> tuple[str, ...]:
        """The paper's prefixes in English; requests that name any other language."""
        return PREFIXES if in_english(language) else requests(language)

    def prepare(self, image: Image) -> str:
        return data_url(image)

    def __call__(self, images: Sequence[str]) -> Callable[[Draws], list[list[str]]]:
        def texts_of(draws: Draws) -> list[list[str]]:
            asked = [(url, draw) for url, wanted in zip(images, draws, strict=True) for draw in wanted]
            answers = self.chat.ask_all([self._request(url, draw) for url, draw in asked])
            texts = (self._text(draw.prompt, answer) for (_, draw), answer in zip(asked, answers, strict=True))
            return [[next(texts) for _ in wanted] for wanted in draws]

        return texts_of

    def _request(self, url: str, draw: Draw) -> dict[str, Any]:
        decoding = self.decoding
        request: dict[str, Any] = {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": url}},
                        {"type": "text", "text": draw.prompt if is_request(draw.prompt) else asking_for(draw.prompt)},
                    ],
                }
            ],
            "max_tokens": decoding.max_tokens,
            "temperature": 0.0,
        }
        if draw.seed is not None:
            sampled = decoding.sampled()
            request |= {"temperature": sampled.temperature, "top_p": sampled.top_p, "seed": draw.seed % 2**31}
        if decoding.repetition_penalty != 1.0:  # known to vLLM and others, not to OpenAI
            request["repetition_penalty"] = decoding.repetition_penalty
        return request

    def _text(self, prompt: str, answer: str | Refused) -> str:
        if isinstance(answer, Refused):
            if not self._warned:
                console.warn(f"{self.by}: a caption was refused, and others may be: {answer.why}")
                self._warned = True
            return ""
        text = unquoted(answer)
        if not is_request(prompt) and text.casefold().startswith(prompt.casefold()):
            return prompt + text[len(prompt) :]
        return text


def data_url(image: Image) -> str:
    """An RGB image as a JPEG in a ``data:`` URL, at most ``LONGEST_SIDE`` pixels long."""
    if max(image.size) > LONGEST_SIDE:
        image = image.copy()
        image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode()


def load(variant: str, *, setup: Setup) -> ChatCaptioner:
    """``openai:MODEL`` at ``--base-url``, else ``$OPENAI_BASE_URL``, else OpenAI; the key is ``$OPENAI_API_KEY``."""
    if not variant:
        raise CapivaraError("captioner openai: which model?", "openai:MODEL, as the service calls it")
    of_local_models = {
        "--beams": setup.decoding.beams > 1,
        "--no-repeat-ngram": setup.decoding.no_repeat_ngram,
        "--bits": setup.bits,
        "--compile": setup.compile,
    }
    if given := [option for option, value in of_local_models.items() if value]:
        raise UsageError(f"{', '.join(given)}: not for --captioner openai: a service is not told so", "leave it out")
    return ChatCaptioner(Chat(variant, setup.base_url, setup.concurrency), setup)
