"""HTTP services: many requests at once, failed ones repeated with growing pauses, answers in order.

A request that the service refuses (400, 413, 422) fails alone. A failure of all requests (no key, no such model, no
server) is a ``CapivaraError``, after which no request is repeated. Keys come from the environment and appear in no
message, even where a service repeats them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event
from typing import Any

from capivara_cli import __version__, console
from capivara_cli.errors import CapivaraError
from capivara_cli.storage.retry import HttpStatus, Retry, is_refusal
from capivara_cli.urls import public_url, without_secrets

TIMEOUT = 300.0  # seconds
LONGEST_PAUSE = 60.0

_REFUSED = frozenset({400, 413, 415, 422})


@dataclass(frozen=True)
class Refused:
    """The answer to a request that the service refuses, and would refuse again.

    ``parameter`` is the only thing wrong with the request, where the service says so: it does not take this parameter.
    """

    why: str
    parameter: str = ""


class Endpoint:
    """A service at a base URL. ``key_variable`` is the environment variable with its key, if it needs one."""

    def __init__(
        self,
        base_url: str,
        *,
        key_variable: str = "",
        scheme: str = "Bearer",
        concurrency: int = 16,
        tries: int = 0,
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
        """POST every body as JSON; returns the parsed answers in order, ``Refused`` for a request that has none."""
        pending = [self._pool.submit(self.post, path, body) for body in bodies]
        try:
            return [each.result() for each in pending]
        except BaseException:  # Ctrl-C as well: the program would wait for the tries of the others
            self._given_up.set()
            for each in pending:
                each.cancel()
            raise

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """The answer to one request, repeated while the service is busy or away.

        Raises ``CapivaraError`` when it stays so, or when every request would fail.
        """
        import httpx

        url, shown = (f"{base}/{path.lstrip('/')}" for base in (self.base_url, self.shown_url))

        def asked() -> Any:
            if self._given_up.is_set():
                raise CapivaraError(f"{shown}: another request has failed")
            answer = self._client.post(url, json=body)
            if answer.status_code >= 400 and not is_refusal(answer.status_code):
                raise HttpStatus.of(answer, self._said(answer))
            return answer

        def why(error: BaseException) -> str:
            return self._without_key(str(error)) or type(error).__name__

        caught = (httpx.TransportError, HttpStatus)
        retry = Retry(shown, lambda: caught, why, tries=self.tries, longest=LONGEST_PAUSE, pause=self._given_up.wait)
        return self._understood(shown, retry.call(asked))

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
        """The service's own account of an error, in one short line."""
        error = _error(answer)
        said = error.get("message", error) if isinstance(error, dict) else error
        return self._without_key(" ".join(str(said).split()))[:300]

    def _without_key(self, text: str) -> str:
        return without_secrets(text.replace(self._key, "(the key)") if self._key else text)


def _error(answer: Any) -> Any:
    """The ``error`` in the JSON of an answer, else all of its text."""
    try:
        said = answer.json()
    except ValueError:
        return answer.text
    return said.get("error", said) if isinstance(said, dict) else said


def _not_taken(answer: Any) -> str:
    """The only parameter that is wrong with a request, as OpenAI names it; else ""."""
    error = _error(answer)
    if isinstance(error, dict) and str(error.get("code", "")).startswith("unsupported_"):
        return str(error.get("param") or "")
    return ""


# A request means the same without these. OpenAI's newer models take one of them under another name.
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
        self._names: dict[str, str] = {}  # the service's name of a parameter, "" for one that it does not take

    def ask_all(self, requests: Sequence[dict[str, Any]]) -> list[str | Refused]:
        """The text of the first choice for each request (messages, temperature, seed …), in order.

        A parameter that the model does not take is left out from then on, with one warning.
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
        """The parameters that requests were refused for; from now on they get another name, or are left out."""
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
