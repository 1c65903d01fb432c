"""A chat model behind an OpenAI-compatible service (OpenAI, vLLM, llama.cpp, Ollama …): openai:MODEL --base-url URL."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from capivara_cli import console
from capivara_cli.endpoint import Chat, Refused
from capivara_cli.errors import CapivaraError
from capivara_cli.generation import Ask, Setup
from capivara_cli.languages import Language
from capivara_cli.rewriters._exemplars import Pairs, exemplars


class ChatRewriter:
    """Shows the pairs as earlier turns of the conversation, and takes the first line of the answer."""

    def __init__(self, chat: Chat, pairs: Pairs, language: Language, setup: Setup, shots: int) -> None:
        self.by = f"rewrite:openai:{chat.model}"
        self.chat = chat
        self.pairs = pairs
        self.decoding = setup.decoding
        self.shots = min(shots, len(pairs))
        self.instruction = (
            f"Say each image caption differently, in {language.name}, with the same facts and no others. "
            "Answer with the new caption alone, in one line."
        )
        self._said = False

    def __call__(self, asks: Sequence[Ask]) -> list[str]:
        answers = self.chat.ask_all([self._request(ask) for ask in asks])
        return [self._line(answer) for answer in answers]

    def _request(self, ask: Ask) -> dict[str, Any]:
        turns = [{"role": "system", "content": self.instruction}]
        for before, after in random.Random(ask.seed).sample(self.pairs, self.shots):
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
            if not self._said:
                console.warn(f"{self.by}: refused a caption, which stays as it is: {answer.why}")
                self._said = True
            return ""
        return answer.strip().partition("\n")[0].strip(" \"'“”«»")


def load(variant: str, *, language: Language, setup: Setup, options: Any) -> ChatRewriter:
    """``openai:MODEL`` at ``--base-url``, else ``$OPENAI_BASE_URL``, else OpenAI; the key is ``$OPENAI_API_KEY``."""
    if not variant:
        raise CapivaraError("rewriter openai: which model?", "openai:MODEL, as the service calls it")
    chat = Chat(variant, setup.base_url, setup.concurrency)
    return ChatRewriter(chat, exemplars(options.exemplars, language), language, setup, options.shots)
