"""A vision chat model of an OpenAI-compatible service (OpenAI, vLLM, Ollama …): openai:MODEL --base-url URL."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from capivara_cli import console
from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.languages import Language
from capivara_cli.languages.prompts import is_request, unquoted
from capivara_cli.models.generation import Draw, Setup
from capivara_cli.models.http_service import ChatService, Refusal
from capivara_cli.stages.captioners._prompts import chat_prompts, request_for_prefix

if TYPE_CHECKING:
    from PIL.Image import Image

LONGEST_SIDE = 1024
"""The most pixels per side: services scale larger images down themselves, or bill by the pixel."""
QUALITY = 90

Draws = Sequence[Sequence[Draw]]


class ServiceCaptioner:
    """Sends one request per draw, the requests of a batch in parallel; a refused request gives an empty text.

    A service cannot continue a prefix, so the request asks the model to begin with it. The model may not comply.
    """

    def __init__(self, chat: ChatService, setup: Setup) -> None:
        self.by = f"openai:{chat.model}"
        self.chat = chat
        self.decoding = setup.decoding
        self.batch_size = setup.concurrency
        self._warned = False

    def prompts(self, language: Language) -> tuple[str, ...]:
        return chat_prompts(language)

    def prepare(self, image: Image) -> str:
        return data_url(image)

    def __call__(self, images: Sequence[str]) -> Callable[[Draws], list[list[str]]]:
        def texts_of(draws: Draws) -> list[list[str]]:
            flat = [(url, draw) for url, image_draws in zip(images, draws, strict=True) for draw in image_draws]
            answers = self.chat.answers([self._request(url, draw) for url, draw in flat])
            texts = (self._text(draw.prompt, answer) for (_, draw), answer in zip(flat, answers, strict=True))
            return [[next(texts) for _ in image_draws] for image_draws in draws]

        return texts_of

    def _request(self, url: str, draw: Draw) -> dict[str, Any]:
        decoding = self.decoding
        text = draw.prompt if is_request(draw.prompt) else request_for_prefix(draw.prompt)
        request: dict[str, Any] = {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": url}},
                        {"type": "text", "text": text},
                    ],
                }
            ],
            "max_tokens": decoding.max_tokens,
            "temperature": 0.0,
        }
        if draw.seed is not None:
            sampled = decoding.sampled()
            request |= {"temperature": sampled.temperature, "top_p": sampled.top_p, "seed": draw.seed % 2**31}
        if decoding.repetition_penalty != 1.0:  # vLLM and others know it, OpenAI does not
            request["repetition_penalty"] = decoding.repetition_penalty
        return request

    def _text(self, prompt: str, answer: str | Refusal) -> str:
        if isinstance(answer, Refusal):
            if not self._warned:
                console.warn(f"{self.by}: the service refused a caption, and may refuse others: {answer.reason}")
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


def load(variant: str, *, setup: Setup) -> ServiceCaptioner:
    """``openai:MODEL`` at ``--base-url``, else ``$OPENAI_BASE_URL``, else OpenAI; the key is ``$OPENAI_API_KEY``."""
    if not variant:
        raise CapivaraError("captioner openai: no model is named", "openai:MODEL, with the service's name of the model")
    local_only = {
        "--beams": setup.decoding.beams > 1,
        "--no-repeat-ngram": setup.decoding.no_repeat_ngram,
        "--bits": setup.bits,
        "--compile": setup.compile,
    }
    if given := [option for option, value in local_only.items() if value]:
        raise UsageError(f"{', '.join(given)}: a service has no such setting", "omit it with --captioner openai")
    return ServiceCaptioner(ChatService(variant, setup.base_url, setup.concurrency), setup)
