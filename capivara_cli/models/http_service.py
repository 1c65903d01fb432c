"""HTTP services: many requests at once, retries with growing pauses, answers in order.

A request that the service refuses (400, 413, 415, 422) fails alone. A problem of all requests (no key, no such model,
no server) raises ``CapivaraError`` and stops the retries. Keys come from the environment and appear in no message, even
if the service repeats them.
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
from capivara_cli.storage.network import SERVICE_VARIABLE, NetworkLimits, TooSlow, answered, service_seconds
from capivara_cli.storage.network_errors import error_line, hint_for, is_final
from capivara_cli.storage.retry import HttpStatus, Retry, is_refusal
from capivara_cli.urls import public_url, without_secrets

TIMEOUT = 300.0  # seconds for the whole answer to one request, unless CAPIVARA_SERVICE_SECONDS is set
LONGEST_PAUSE = 60.0
MAX_ANSWER = 64 << 20  # bytes

_REFUSED = frozenset({400, 413, 415, 422})


@dataclass(frozen=True)
class Refusal:
    """The answer to a request that the service refuses, and would refuse again.

    ``parameter`` is the name of a parameter that the service does not take, if it says that this is the only problem.
    """

    reason: str
    parameter: str = ""


class Endpoint:
    """A service at a base URL. ``key_variable`` is the environment variable with its key, "" if it needs none."""

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

        if not _is_web_url(base_url):
            raise CapivaraError(f"--base-url {public_url(base_url)}: not a URL", "e.g. http://localhost:8000/v1")
        self._key = os.environ.get(key_variable, "").strip() if key_variable else ""
        headers = {"user-agent": f"capivara/{__version__}"}
        if self._key:
            headers["authorization"] = f"{scheme} {self._key}"
        self.base_url = base_url.rstrip("/")
        self.shown_url = public_url(self.base_url)
        self.key_variable = key_variable
        self.tries = tries
        self._seconds = service_seconds(TIMEOUT)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=concurrency)  # late answers keep theirs
        # The longer timeout ends the threads of answers that were too late.
        timeout = httpx.Timeout(2 * self._seconds, connect=NetworkLimits.from_environment().connect)
        self._client = httpx.Client(headers=headers, timeout=timeout, limits=limits)
        self._pool = ThreadPoolExecutor(concurrency, thread_name_prefix="capivara-endpoint")
        self._failed = Event()

    def post_all(self, path: str, bodies: Sequence[dict[str, Any]]) -> list[Any]:
        """POST every body as JSON; returns the parsed answers in order, a ``Refusal`` for a request that is refused."""
        pending = [self._pool.submit(self.post, path, body) for body in bodies]
        try:
            return [each.result() for each in pending]
        except BaseException:  # Ctrl-C too: the program would wait for the retries of the others
            self._failed.set()
            for each in pending:
                each.cancel()
            raise

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """The answer to one request, repeated while the service is busy or unreachable.

        Raises ``CapivaraError`` if it stays so, or if every request would fail.
        """
        import httpx

        url, shown = (f"{base}/{path.lstrip('/')}" for base in (self.base_url, self.shown_url))

        def attempt() -> Any:
            if self._failed.is_set():
                raise CapivaraError(f"{shown}: stopped, as another request failed")
            answer = self._answer(url, body)
            if answer.status_code >= 400 and not is_refusal(answer.status_code):
                raise HttpStatus.of(answer, self._reason(answer))
            return answer

        def reason(error: BaseException) -> str:
            return self._without_key(error_line(error))

        def final(error: BaseException) -> CapivaraError | None:
            return CapivaraError(f"{shown}: {reason(error)}", hint_for(error)) if is_final(error) else None

        caught = (httpx.RequestError, HttpStatus, TooSlow)
        retry = Retry(
            shown, lambda: caught, reason, final, tries=self.tries, longest=LONGEST_PAUSE, pause=self._failed.wait
        )
        return self._parsed(shown, retry.call(attempt))

    def _answer(self, url: str, body: dict[str, Any]) -> Any:
        """The whole answer to a POST request. Raises ``TooSlow`` if it is not complete in time."""
        late = TooSlow(f"no complete answer in {self._seconds:g} s ({SERVICE_VARIABLE})")
        return answered(lambda: self._posted(url, body), self._seconds, late)

    def _posted(self, url: str, body: dict[str, Any]) -> Any:
        import httpx

        with self._client.stream("POST", url, json=body) as answer:
            data = bytearray()
            for block in answer.iter_bytes():
                data += block
                if len(data) > MAX_ANSWER:
                    raise CapivaraError(
                        f"{public_url(url)}: an answer of more than {MAX_ANSWER >> 20} MiB", "is --base-url right?"
                    )
            kept = {name: value for name, value in answer.headers.items() if name != "content-encoding"}
            return httpx.Response(answer.status_code, headers=kept, content=bytes(data))

    def _parsed(self, url: str, answer: Any) -> Any:
        status = answer.status_code
        if status in _REFUSED:
            return Refusal(self._reason(answer), _unsupported_parameter(answer))
        if status in (401, 403):
            hint = f"set {self.key_variable} in the environment" if self.key_variable else "does it need a key?"
            raise CapivaraError(f"{url}: HTTP {status}: {self._reason(answer)}", hint)
        if status >= 300:
            raise CapivaraError(
                f"{url}: HTTP {status}: {self._reason(answer)}", "are --base-url and the model's name right?"
            )
        try:
            return answer.json()
        except (ValueError, RecursionError) as error:
            raise CapivaraError(f"{url}: the answer is not JSON", "is --base-url right?") from error

    def _reason(self, answer: Any) -> str:
        """The message of the service about an error, in one short line."""
        error = _error(answer)
        message = error.get("message", error) if isinstance(error, dict) else error
        return self._without_key(" ".join(str(message).split()))[:300]

    def _without_key(self, text: str) -> str:
        return without_secrets(text.replace(self._key, "(the key)") if self._key else text)


def _is_web_url(text: str) -> bool:
    import httpx

    try:
        return text.startswith(("http://", "https://")) and bool(httpx.URL(text).host)
    except httpx.InvalidURL:
        return False


def _error(answer: Any) -> Any:
    """The ``error`` in the JSON of an answer, else its text."""
    try:
        document = answer.json()
    except (ValueError, RecursionError):
        return answer.text
    return document.get("error", document) if isinstance(document, dict) else document


def _unsupported_parameter(answer: Any) -> str:
    """The parameter that the service does not take, if OpenAI's error code says so; else ""."""
    error = _error(answer)
    if isinstance(error, dict) and str(error.get("code", "")).startswith("unsupported_"):
        return str(error.get("param") or "")
    return ""


# A request works without these. OpenAI's newer models take one of them under another name.
_OPTIONAL = frozenset({"max_tokens", "temperature", "top_p", "seed", "repetition_penalty"})
_RENAMED = {"max_tokens": "max_completion_tokens"}


class ChatService:
    """A model behind an OpenAI-compatible ``/chat/completions`` (OpenAI, vLLM, llama.cpp, Ollama, SGLang …)."""

    DEFAULT_URL = "https://api.openai.com/v1"

    def __init__(self, model: str, base_url: str, concurrency: int) -> None:
        self.model = model
        url = base_url or os.environ.get("OPENAI_BASE_URL") or self.DEFAULT_URL
        if url == self.DEFAULT_URL and not os.environ.get("OPENAI_API_KEY"):
            raise CapivaraError(
                "OPENAI_API_KEY is not set", "set it, or give another service: --base-url http://localhost:8000/v1"
            )
        self.endpoint = Endpoint(url, key_variable="OPENAI_API_KEY", concurrency=concurrency)
        self._names: dict[str, str] = {}  # parameter -> the service's name for it, "" for one that it does not take

    def answers(self, requests: Sequence[dict[str, Any]]) -> list[str | Refusal]:
        """The text of the first choice for each request (messages, temperature, seed …), in order.

        A parameter that the model does not take is omitted from then on, with one warning.
        """
        answers = self._post(requests)
        while unsupported := self._unsupported(answers):
            retried = [index for index, answer in enumerate(answers) if getattr(answer, "parameter", "") in unsupported]
            for index, answer in zip(retried, self._post([requests[index] for index in retried]), strict=True):
                answers[index] = answer
        return [self._text(answer) for answer in answers]

    def _post(self, requests: Sequence[dict[str, Any]]) -> list[Any]:
        bodies = []
        for request in requests:
            named = {self._names.get(name, name): value for name, value in request.items()}
            bodies.append({"model": self.model, **{name: value for name, value in named.items() if name}})
        return self.endpoint.post_all("chat/completions", bodies)

    def _unsupported(self, answers: Sequence[Any]) -> set[str]:
        """The newly refused parameters; from now on they get another name, or are omitted."""
        refused = {answer.parameter: answer.reason for answer in answers if isinstance(answer, Refusal)}
        unsupported = (refused.keys() & _OPTIONAL) - self._names.keys()
        for name in sorted(unsupported):
            self._names[name] = _RENAMED.get(name, "")
            if not self._names[name]:
                console.warn(f"{self.model}: does not take {name}, which is omitted: {refused[name]}")
        return unsupported

    def _text(self, answer: Any) -> str | Refusal:
        if isinstance(answer, Refusal):
            return answer
        try:
            return str(answer["choices"][0]["message"]["content"] or "").strip()
        except (KeyError, IndexError, TypeError) as error:
            url = self.endpoint.shown_url
            raise CapivaraError(
                f"{url}: the answer has no choices[0].message.content", "is it a chat model?"
            ) from error
