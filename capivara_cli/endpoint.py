"""HTTP services: many requests at once, failures tried again with growing pauses, answers in order.

What is wrong with one request (400, 413, 422) is that request's; what is wrong with all of them (no key, no such model,
nobody there) is a ``CapivaraError``. Keys come from the environment and are in no message.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from capivara_cli import __version__
from capivara_cli.errors import CapivaraError

TRIES = 7
LONGEST_PAUSE = 60.0  # seconds
TIMEOUT = 300.0

_AGAIN = frozenset({408, 409, 425, 429})
_REFUSED = frozenset({400, 413, 415, 422})


@dataclass(frozen=True)
class Refused:
    """The service will not answer this request, however often it is asked."""

    why: str


class Endpoint:
    """A service at a base URL. ``key_variable`` is the environment variable with the key, if it needs one."""

    def __init__(
        self,
        base_url: str,
        *,
        key_variable: str = "",
        scheme: str = "Bearer",
        concurrency: int = 16,
        tries: int = TRIES,
    ) -> None:
        import httpx

        if not base_url.startswith(("http://", "https://")):
            raise CapivaraError(f"--base-url {base_url}: not an address", "e.g. http://localhost:8000/v1")
        key = os.environ.get(key_variable, "") if key_variable else ""
        headers = {"user-agent": f"capivara/{__version__}"}
        if key:
            headers["authorization"] = f"{scheme} {key}"
        self.base_url = base_url.rstrip("/")
        self.key_variable = key_variable
        self.tries = tries
        limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        self._client = httpx.Client(headers=headers, timeout=httpx.Timeout(TIMEOUT, connect=10.0), limits=limits)
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="capivara-endpoint")

    def post_all(self, path: str, bodies: Sequence[dict[str, Any]]) -> list[Any]:
        """POST every body as JSON; the parsed answers in order, ``Refused`` where there is none to be had."""
        pending = [self._pool.submit(self.post, path, body) for body in bodies]
        try:
            return [each.result() for each in pending]
        finally:
            for each in pending:
                each.cancel()

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """One request, tried again while the service is busy or away. Raises ``CapivaraError`` when it stays so."""
        import httpx

        url = f"{self.base_url}/{path.lstrip('/')}"
        why, pause = "", 0.0
        for attempt in range(self.tries):
            time.sleep(pause)
            pause = min(LONGEST_PAUSE, 0.5 * 2**attempt) * random.uniform(0.5, 1.0)
            try:
                answer = self._client.post(url, json=body)
            except httpx.TransportError as error:
                why = str(error) or type(error).__name__
                continue
            if answer.status_code in _AGAIN or answer.status_code >= 500:
                why = f"HTTP {answer.status_code}: {_said(answer)}"
                pause = _asked_to_wait(answer) or pause
                continue
            return self._understood(url, answer)
        raise CapivaraError(
            f"{url}: no answer after {self.tries} tries: {why}", "run the same command again: with --out, it goes on"
        )

    def _understood(self, url: str, answer: Any) -> Any:
        status = answer.status_code
        if status in _REFUSED:
            return Refused(_said(answer))
        if status in (401, 403):
            ways = f"set {self.key_variable} in the environment" if self.key_variable else "does it need a key?"
            raise CapivaraError(f"{url}: HTTP {status}: {_said(answer)}", ways)
        if status >= 300:
            raise CapivaraError(f"{url}: HTTP {status}: {_said(answer)}", "are --base-url and the model's name right?")
        try:
            return answer.json()
        except ValueError as error:
            raise CapivaraError(f"{url}: the answer is not JSON", "is --base-url right?") from error


def _said(answer: Any) -> str:
    """What a service says went wrong, in one short line."""
    try:
        said = answer.json()
        said = said.get("error", said) if isinstance(said, dict) else said
        said = said.get("message", said) if isinstance(said, dict) else said
    except ValueError:
        said = answer.text
    return " ".join(str(said).split())[:300]


def _asked_to_wait(answer: Any) -> float:
    """Seconds of a ``Retry-After`` header, 0 where there is none; a date is not waited for."""
    try:
        return min(LONGEST_PAUSE, max(0.0, float(answer.headers.get("retry-after", ""))))
    except ValueError:
        return 0.0


class Chat:
    """A model behind an OpenAI-compatible ``/chat/completions`` (OpenAI, vLLM, llama.cpp, Ollama, SGLang …)."""

    DEFAULT_URL = "https://api.openai.com/v1"

    def __init__(self, model: str, base_url: str, concurrency: int) -> None:
        self.model = model
        url = base_url or os.environ.get("OPENAI_BASE_URL") or self.DEFAULT_URL
        if url == self.DEFAULT_URL and not os.environ.get("OPENAI_API_KEY"):
            raise CapivaraError(
                "OPENAI_API_KEY is not set", "set it, or name another service: --base-url http://localhost:8000/v1"
            )
        self.endpoint = Endpoint(url, key_variable="OPENAI_API_KEY", concurrency=concurrency)

    def ask_all(self, requests: Sequence[dict[str, Any]]) -> list[str | Refused]:
        """The text of the first choice for each request (messages, temperature, seed …), in order."""
        bodies = [{"model": self.model, **request} for request in requests]
        return [self._text(answer) for answer in self.endpoint.post_all("chat/completions", bodies)]

    def _text(self, answer: Any) -> str | Refused:
        if isinstance(answer, Refused):
            return answer
        try:
            return str(answer["choices"][0]["message"]["content"] or "").strip()
        except (KeyError, IndexError, TypeError) as error:
            url = self.endpoint.base_url
            raise CapivaraError(
                f"{url}: the answer has no choices[0].message.content", "is it a chat model?"
            ) from error
