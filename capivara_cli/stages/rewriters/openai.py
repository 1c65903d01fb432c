"""A chat model behind an OpenAI-compatible service (OpenAI, vLLM, llama.cpp, Ollama …): openai:MODEL --base-url URL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from capivara_cli import console
from capivara_cli.errors import CapivaraError
from capivara_cli.languages import Language
from capivara_cli.languages.prompts import unquoted
from capivara_cli.models.generation import Ask, Setup
from capivara_cli.models.http_service import Chat, Refused
from capivara_cli.stages.rewriters._exemplars import Exemplars, exemplars


class ChatRewriter:
    """Sends the pairs as earlier turns of the conversation; the rewrite is the first line after ``</think>``."""

    def __init__(self, chat: Chat, pairs: Exemplars, language: Language, setup: Setup, shots: int) -> None:
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

    def __call__(self, asks: Sequence[Ask]) -> list[str]:
        answers = self.chat.ask_all([self._request(ask) for ask in asks])
        return [self._line(answer) for answer in answers]

    def _request(self, ask: Ask) -> dict[str, Any]:
        turns = [{"role": "system", "content": self.instruction}]
        for before, after in self.pairs.drawn(ask, self.shots):
            turns += [{"role": "user", "content": before}, {"role": "assistant", "content": after}]
        return {
            "messages": [*turns, {"role": "user", "content": " ".join(ask.text.split())}],
            "temperature": self.decoding.temperature,
            "top_p": self.decoding.top_p,
            "max_tokens": self.decoding.max_tokens,
            "seed": ask.seed % 2**31,
        }

    def _line(self, answer: str | Refused) -> str:
        if isinstance(answer, Refused):
            if not self._warned:
                console.warn(f"{self.by}: refused a caption, which stays as it is: {answer.why}")
                self._warned = True
            return ""
        return unquoted(answer.rpartition("</think>")[2].strip().partition("\n")[0])


def load(variant: str, *, language: Language, setup: Setup, options: Any) -> ChatRewriter:
    """``openai:MODEL`` at ``--base-url``, else ``$OPENAI_BASE_URL``, else OpenAI; the key is ``$OPENAI_API_KEY``."""
    if not variant:
        raise CapivaraError("rewriter openai: which model?", "openai:MODEL, as the service calls it")
    chat = Chat(variant, setup.base_url, setup.concurrency)
    return ChatRewriter(chat, exemplars(options.exemplars, language), language, setup, options.shots)
