"""HTTP services: many requests at once, failures tried again with growing pauses, answers in order.

What is wrong with one request (400, 413, 422) is that request's; what is wrong with all of them (no key, no such model,
nobody there) is a ``CapivaraError``, after which no request is tried again. Keys come from the environment and are in
no message, also where a service repeats them.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event
from typing import Any

from capivara_cli import __version__, console
from capivara_cli.errors import CapivaraError
from capivara_cli.urls import public_url, without_secrets

TRIES = 7
LONGEST_PAUSE = 60.0  # seconds
TIMEOUT = 300.0

_AGAIN = frozenset({408, 409, 425, 429})
_REFUSED = frozenset({400, 413, 415, 422})


@dataclass(frozen=True)
class Refused:
    """The service will not answer this request, however often it is asked.

    ``parameter`` is what the service does not take, where it says that this is all.
    """

    why: str
    parameter: str = ""


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
            raise CapivaraError(f"--base-url {public_url(base_url)}: not an address", "e.g. http://localhost:8000/v1")
        self._key = os.environ.get(key_variable, "").strip() if key_variable else ""
        headers = {"user-agent": f"capivara/{__version__}"}
        if self._key:
            headers["authorization"] = f"{scheme} {self._key}"
        self.base_url = base_url.rstrip("/")
        self.shown_url = public_url(self.base_url)
        self.key_variable = key_variable
        self.tries = tries
        limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
        self._client = httpx.Client(headers=headers, timeout=httpx.Timeout(TIMEOUT, connect=10.0), limits=limits)
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="capivara-endpoint")
        self._given_up = Event()

    def post_all(self, path: str, bodies: Sequence[dict[str, Any]]) -> list[Any]:
        """POST every body as JSON; the parsed answers in order, ``Refused`` where there is none to be had."""
        pending = [self._pool.submit(self.post, path, body) for body in bodies]
        try:
            return [each.result() for each in pending]
        except BaseException:  # Ctrl-C as well: the program would wait for what the others still try
            self._given_up.set()
            for each in pending:
                each.cancel()
            raise

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """One request, tried again while the service is busy or away. Raises ``CapivaraError`` when it stays so."""
        import httpx

        url, shown = (f"{base}/{path.lstrip('/')}" for base in (self.base_url, self.shown_url))
        why, pause = "", 0.0
        for attempt in range(self.tries):
            if self._given_up.wait(pause):
                break
            pause = min(LONGEST_PAUSE, 0.5 * 2**attempt) * random.uniform(0.5, 1.0)
            try:
                answer = self._client.post(url, json=body)
            except httpx.TransportError as error:
                why = self._without_key(str(error)) or type(error).__name__
                continue
            if answer.status_code in _AGAIN or answer.status_code >= 500:
                why = f"HTTP {answer.status_code}: {self._said(answer)}"
                pause = _asked_to_wait(answer) or pause
                continue
            return self._understood(shown, answer)
        raise CapivaraError(
            f"{shown}: no answer after {self.tries} tries: {why}", "run the same command again: with --out, it goes on"
        )

    def _understood(self, url: str, answer: Any) -> Any:
        status = answer.status_code
        if status in _REFUSED:
            return Refused(self._said(answer), _not_taken(answer))
        if status in (401, 403):
            ways = f"set {self.key_variable} in the environment" if self.key_variable else "does it need a key?"
            raise CapivaraError(f"{url}: HTTP {status}: {self._said(answer)}", ways)
        if status >= 300:
            raise CapivaraError(
                f"{url}: HTTP {status}: {self._said(answer)}", "are --base-url and the model's name right?"
            )
        try:
            return answer.json()
        except ValueError as error:
            raise CapivaraError(f"{url}: the answer is not JSON", "is --base-url right?") from error

    def _said(self, answer: Any) -> str:
        """What a service says went wrong, in one short line."""
        error = _error(answer)
        said = error.get("message", error) if isinstance(error, dict) else error
        return self._without_key(" ".join(str(said).split()))[:300]

    def _without_key(self, text: str) -> str:
        return without_secrets(text.replace(self._key, "(the key)") if self._key else text)


def _error(answer: Any) -> Any:
    """What a service sent instead of an answer: the ``error`` of its JSON, else all of it."""
    try:
        said = answer.json()
    except ValueError:
        return answer.text
    return said.get("error", said) if isinstance(said, dict) else said


def _not_taken(answer: Any) -> str:
    """The parameter that is all that is wrong with a request, in the words of OpenAI; else ""."""
    error = _error(answer)
    if isinstance(error, dict) and str(error.get("code", "")).startswith("unsupported_"):
        return str(error.get("param") or "")
    return ""


def _asked_to_wait(answer: Any) -> float:
    """Seconds of a ``Retry-After`` header, 0 where there is none; a date is not waited for."""
    try:
        return min(LONGEST_PAUSE, max(0.0, float(answer.headers.get("retry-after", ""))))
    except ValueError:
        return 0.0


# Without these a request still means the same, and what OpenAI's newer models take instead.
_DISPENSABLE = frozenset({"max_tokens", "temperature", "top_p", "seed", "repetition_penalty"})
_NEWER = {"max_tokens": "max_completion_tokens"}


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
        self._names: dict[str, str] = {}  # what the service calls a parameter, "" for one that it does not take

    def ask_all(self, requests: Sequence[dict[str, Any]]) -> list[str | Refused]:
        """The text of the first choice for each request (messages, temperature, seed …), in order.

        What the model does not take is left out from then on, which is said once.
        """
        answers = self._asked(requests)
        while news := self._not_taken(answers):
            again = [place for place, answer in enumerate(answers) if getattr(answer, "parameter", "") in news]
            for place, answer in zip(again, self._asked([requests[place] for place in again]), strict=True):
                answers[place] = answer
        return [self._text(answer) for answer in answers]

    def _asked(self, requests: Sequence[dict[str, Any]]) -> list[Any]:
        bodies = []
        for request in requests:
            named = {self._names.get(name, name): value for name, value in request.items()}
            bodies.append({"model": self.model, **{name: value for name, value in named.items() if name}})
        return self.endpoint.post_all("chat/completions", bodies)

    def _not_taken(self, answers: Sequence[Any]) -> set[str]:
        """What requests were refused for and is from now on called otherwise or left out."""
        refused = {answer.parameter: answer.why for answer in answers if isinstance(answer, Refused)}
        news = (refused.keys() & _DISPENSABLE) - self._names.keys()
        for name in sorted(news):
            self._names[name] = _NEWER.get(name, "")
            if not self._names[name]:
                console.warn(f"{self.model}: does not take {name}, which is left out: {refused[name]}")
        return news

    def _text(self, answer: Any) -> str | Refused:
        if isinstance(answer, Refused):
            return answer
        try:
            return str(answer["choices"][0]["message"]["content"] or "").strip()
        except (KeyError, IndexError, TypeError) as error:
            url = self.endpoint.shown_url
            raise CapivaraError(
                f"{url}: the answer has no choices[0].message.content", "is it a chat model?"
            ) from error
