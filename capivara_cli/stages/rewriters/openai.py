"""A chat model behind an OpenAI-compatible service (OpenAI, vLLM, llama.cpp, Ollama …): openai:MODEL --base-url URL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from capivara_cli import console
from capivara_cli.errors import CapivaraError
from capivara_cli.languages import Language
from capivara_cli.languages.prompts import unquoted
from capivara_cli.models.generation import RewriteRequest, Setup
from capivara_cli.models.http_service import ChatService, Refusal
from capivara_cli.plugins import RewriterOptions
from capivara_cli.stages.rewriters._exemplars import Exemplars, exemplars


class ServiceRewriter:
    """Sends the pairs as earlier turns of the conversation; the rewrite is the first line, after any ``</think>``."""

    def __init__(self, chat: ChatService, pairs: Exemplars, language: Language, setup: Setup, shots: int) -> None:
        self.by = f"rewrite:openai:{chat.model}"
        self.chat = chat
        self.pairs = pairs
        self.decoding = setup.decoding
        self.shots = shots
        self.exemplars = pairs.texts
        self.instruction = (
            f"Say each image caption differently, in {language.name}, with the same facts and no others. "
            "Answer with the new caption alone, in one line."
        )
        self._warned = False

    def __call__(self, requests: Sequence[RewriteRequest]) -> list[str]:
        answers = self.chat.answers([self._body(request) for request in requests])
        return [self._line(answer) for answer in answers]

    def _body(self, request: RewriteRequest) -> dict[str, Any]:
        turns = [{"role": "system", "content": self.instruction}]
        for before, after in self.pairs.drawn(request, self.shots):
            turns += [{"role": "user", "content": before}, {"role": "assistant", "content": after}]
        return {
            "messages": [*turns, {"role": "user", "content": " ".join(request.text.split())}],
            "temperature": self.decoding.temperature,
            "top_p": self.decoding.top_p,
            "max_tokens": self.decoding.max_tokens,
            "seed": request.seed % 2**31,
        }

    def _line(self, answer: str | Refusal) -> str:
        if isinstance(answer, Refusal):
            if not self._warned:
                console.warn(f"{self.by}: the service refused a caption, which gets no rewrite: {answer.reason}")
                self._warned = True
            return ""
        return unquoted(answer.rpartition("</think>")[2].strip().partition("\n")[0])


def load(variant: str, *, language: Language, setup: Setup, options: RewriterOptions) -> ServiceRewriter:
    """``openai:MODEL`` at ``--base-url``, else ``$OPENAI_BASE_URL``, else OpenAI; the key is ``$OPENAI_API_KEY``."""
    if not variant:
        raise CapivaraError("rewriter openai: no model is named", "openai:MODEL, with the service's name of the model")
    chat = ChatService(variant, setup.base_url, setup.concurrency)
    return ServiceRewriter(chat, exemplars(options.exemplars, language), language, setup, options.shots)
