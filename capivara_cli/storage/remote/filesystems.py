"""Where remote files are: the file system of a URL, what goes wrong there, and how long we bear it."""

from __future__ import annotations

import errno
import functools
import os
import random
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

from capivara_cli.errors import CapivaraError, unknown
from capivara_cli.urls import public_url, without_secrets

Result = TypeVar("Result")

TRIES = 8
FIRST_WAIT = 0.5
LONGEST_WAIT = 30.0
CONNECT_SECONDS = 10.0
SILENCE_SECONDS = 60.0

_PACKAGES = {"s3": ("s3fs", "s3"), "s3a": ("s3fs", "s3"), "gs": ("gcsfs", "gs"), "gcs": ("gcsfs", "gs")}
_WEB = frozenset({"http", "https"})
_KNOWN = frozenset({"hf", "file", "memory", *_PACKAGES, *_WEB})

_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
_FINAL_NAMES = frozenset(
    {"NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "NoAuthTokenError", "OfflineModeIsEnabled"}
)
_HINTS = {
    "NoCredentialsError": "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; "
    "for a public bucket: FSSPEC_S3_ANON=true",
    "OfflineModeIsEnabled": "HF_HUB_OFFLINE is set: unset it, or download the shards first",
}
_TROUBLE = {
    "botocore.exceptions": "BotoCoreError",
    "aiohttp": "ClientError",
    "httpx": "HTTPError",
    "gcsfs.retry": "HttpError",
    "asyncio": "TimeoutError",  # one of its own until Python 3.11
}


class HttpStatus(OSError):
    """The server's answer is a refusal, or that it cannot now. ``wait``: how many seconds it asks for."""

    def __init__(self, status: int, wait: float = 0.0) -> None:
        super().__init__(f"the server answers HTTP {status}")
        self.status = status
        self.wait = wait


class Interrupted(OSError):
    """The connection ended before the file did."""


def scheme_of(url: str) -> str:
    return url.partition("://")[0].lower()


def on_the_web(url: str) -> bool:
    """Whether the file behind a URL is asked of a web server: no listing, no writing."""
    return scheme_of(url) in _WEB


def check_scheme(url: str) -> None:
    """Raise ``CapivaraError`` for a URL of a kind that is not read here."""
    scheme = scheme_of(url)
    if "::" in url.partition("?")[0]:
        raise CapivaraError(f"{public_url(url)}: chained URLs (::) are not read", "name the tar file itself")
    if scheme not in _KNOWN:
        raise unknown("kind of URL", scheme, _KNOWN - {"memory"}, f"it is in {public_url(url)}")


def filesystem(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL and the path in it. Raises ``CapivaraError`` when its package is missing."""
    check_scheme(url)
    scheme = scheme_of(url)
    try:
        files = shared(scheme, os.getpid()) if scheme in _PACKAGES else _new(scheme)
    except ImportError as error:
        package, extra = _PACKAGES.get(scheme, ("huggingface_hub", ""))
        wanted = f"capivara[{extra}]" if extra else package
        raise CapivaraError(f"{public_url(url)}: {scheme}:// needs {package}", f"pip install '{wanted}'") from error
    return files, files._strip_protocol(url)


@functools.cache
def shared(scheme: str, process: int) -> Any:
    """One for all threads of a process: fsspec would make a client, 100 ms of work, for each of them."""
    return _new(scheme)


def _new(scheme: str) -> Any:
    import fsspec

    options: dict[str, Any] = {}
    if scheme in _PACKAGES:
        options["use_listings_cache"] = False
    if scheme in {"s3", "s3a"}:  # trying again is done here, where it is counted and said
        waits = {"connect_timeout": CONNECT_SECONDS, "read_timeout": SILENCE_SECONDS}
        options["config_kwargs"] = {"retries": {"total_max_attempts": 1}, **waits}
    return fsspec.filesystem(scheme, **options)


def trouble() -> tuple[type[BaseException], ...]:
    """What file systems raise, of the packages that are loaded."""
    return (
        OSError,
        *(getattr(sys.modules[module], name) for module, name in _TROUBLE.items() if module in sys.modules),
    )


def is_final(error: BaseException) -> bool:
    """Whether trying again is no use."""
    if isinstance(error, HttpStatus):
        status: int | None = error.status
    else:
        answer = getattr(error, "response", None)
        status = getattr(answer, "status_code", None) or getattr(error, "code", None)
    if isinstance(status, int) and 400 <= status < 500:
        return status not in {408, 425, 429}
    return (
        isinstance(error, _FINAL)
        or type(error).__name__ in _FINAL_NAMES
        or (isinstance(error, OSError) and error.errno == errno.EINVAL)
    )


def why(error: BaseException) -> str:
    """One line, without secrets."""
    lines = without_secrets(str(error)).strip().splitlines()
    text = lines[0] if lines else type(error).__name__
    bare = isinstance(error, FileNotFoundError) and " " not in text.removeprefix("[Errno 2] ")  # nothing but the path
    return "there is no such file" if bare or "[Errno 2]" in text else text


class Patience:
    """Bears the failures of one piece of work: waits longer after each, and gives up after ``TRIES`` in a row."""

    def __init__(self, url: str) -> None:
        self._shown = public_url(url)
        self._failed = 0

    def progress(self) -> None:
        """Something was achieved: count anew."""
        self._failed = 0

    def bear(self, error: BaseException, so_far: str = "") -> None:
        """Wait and return, or raise ``CapivaraError``; ``so_far`` says how far the work came."""
        if is_final(error):
            raise CapivaraError(f"{self._shown}: {why(error)}", _hint(error)) from None
        self._failed += 1
        if self._failed >= TRIES:
            after = f"{so_far}, " if so_far else ""
            raise CapivaraError(
                f"{self._shown}: {after}given up after {TRIES} tries: {why(error)}",
                "run the same command again when the server can be reached: what is finished stays finished",
            ) from None
        wait = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (self._failed - 1))
        asked = min(LONGEST_WAIT, getattr(error, "wait", 0.0))
        time.sleep(max(asked, wait * random.uniform(0.75, 1.25)))  # many workers must not come back all at once

    def over(self, work: Callable[[], Result]) -> Result:
        """The result of ``work``, done again until it succeeds."""
        while True:
            try:
                return work()
            except trouble() as error:
                self.bear(error)


def _hint(error: BaseException) -> str:
    if isinstance(error, PermissionError) or getattr(error, "status", 0) in {401, 403}:
        return "check the credentials, and whether the URL's signature has expired"
    return _HINTS.get(type(error).__name__, "")
