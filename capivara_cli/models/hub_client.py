"""The client of ``huggingface_hub``: limits on its waiting, its errors, and one line for each of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from capivara_cli.storage.network import NetworkLimits, Pace
from capivara_cli.storage.network_errors import error_line, is_final, network_errors

_REFUSED = {
    401: "there is no such repository, or it is gated or private and HF_TOKEN is not set",
    403: "the repository is gated or private, and your HF_TOKEN gives no access to it",
    404: "there is no such repository",
}


def limit_waiting() -> None:
    """Limit the waiting of all requests of ``huggingface_hub``, which has no timeout for most of them.

    Called before each request, because the client is made anew after some errors.
    """
    from huggingface_hub import get_session

    session = get_session()
    hooks = session.event_hooks
    if _set_timeouts not in hooks["request"]:
        session.event_hooks = {
            "request": [*hooks["request"], _set_timeouts],
            "response": [*hooks["response"], _watch_body],
        }


def _set_timeouts(request: Any) -> None:
    limits = NetworkLimits.from_environment()
    given = request.extensions.get("timeout") or {}
    own = {"connect": limits.connect, "read": limits.seconds, "write": limits.seconds, "pool": limits.seconds}
    shorter = {name: min(given.get(name) or seconds, seconds) for name, seconds in own.items()}
    request.extensions = {**request.extensions, "timeout": shorter}


def _watch_body(response: Any) -> None:
    body = response.stream

    class WatchedBody(type(body)):  # type: ignore[misc]  # the client accepts only streams of its own class
        def __init__(self) -> None:
            pass

        def __iter__(self) -> Iterator[bytes]:
            return Pace(NetworkLimits.from_environment()).watched(iter(body))

        def close(self) -> None:
            body.close()

    response.stream = WatchedBody()


def hub_errors() -> tuple[type[BaseException], ...]:
    """The exceptions of ``huggingface_hub``, ``hf_xet`` and their HTTP client.

    Half an answer, or the page of another server, makes them raise any of the last ones.
    """
    from huggingface_hub import errors

    own = [getattr(errors, name, OSError) for name in ("EntryNotFoundError", "XetDownloadError")]
    answers = (ValueError, LookupError, TypeError, AttributeError, AssertionError, RuntimeError)
    return (*network_errors(), *own, *answers)


def is_refusal(error: BaseException) -> bool:
    """Whether another try cannot succeed. "Not in the cache" counts as the error that prevented the download."""
    return is_final(_first_cause(error))


def reason(error: BaseException, endpoint: str) -> str:
    """Why a download from the hub failed, in one line."""
    error = _first_cause(error)
    answer = getattr(error, "response", None)
    if answer is not None:
        status = answer.status_code
        said = getattr(error, "server_message", "") or ""
        more = _REFUSED.get(status) or " ".join(str(said).split())[:200]
        return f"{endpoint} answers HTTP {status}" + (f": {more}" if more else "")
    if isinstance(error, network_errors()):
        return f"the download from {endpoint} failed: {error_line(error)}"
    return f"the answer of {endpoint} cannot be used: {type(error).__name__}: {error_line(error)}"


def _first_cause(error: BaseException) -> BaseException:
    """The error because of which ``huggingface_hub`` looked into its cache, and found nothing there."""
    from huggingface_hub.errors import LocalEntryNotFoundError

    while isinstance(error, LocalEntryNotFoundError) and error.__cause__ is not None:
        error = error.__cause__
    return error
