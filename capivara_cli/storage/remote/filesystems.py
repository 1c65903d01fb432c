"""The file system of a URL, and the retry loop for its errors."""

from __future__ import annotations

import errno
import functools
import os
import sys
from typing import TYPE_CHECKING

from capivara_cli.errors import CapivaraError, unknown
from capivara_cli.storage.files import DISK_FULL
from capivara_cli.storage.retry import HttpStatus, Retry, is_refusal
from capivara_cli.urls import public_url, without_secrets

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

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
_NETWORK_ERRORS = {
    "botocore.exceptions": "BotoCoreError",
    "aiohttp": "ClientError",
    "httpx": "HTTPError",
    "gcsfs.retry": "HttpError",
    "asyncio": "TimeoutError",  # not the built-in TimeoutError until Python 3.11
}


def scheme_of(url: str) -> str:
    return url.partition("://")[0].lower()


def is_http(url: str) -> bool:
    """Whether a web server has the file: it can be read, but not listed or written."""
    return scheme_of(url) in _WEB


def check_scheme(url: str) -> None:
    """Raise ``CapivaraError`` if this kind of URL cannot be read."""
    scheme = scheme_of(url)
    if "::" in url.partition("?")[0]:
        raise CapivaraError(f"{public_url(url)}: chained URLs (::) cannot be read", "name the tar file itself")
    if scheme not in _KNOWN:
        raise unknown("kind of URL", scheme, _KNOWN - {"memory"}, f"it is in {public_url(url)}")


def filesystem(url: str) -> tuple[AbstractFileSystem, str]:
    """The fsspec file system of a URL, and the path in it. Raises ``CapivaraError`` if its package is not installed."""
    check_scheme(url)
    scheme = scheme_of(url)
    try:
        files = shared_filesystem(scheme, os.getpid()) if scheme in _PACKAGES else _new_filesystem(scheme)
    except ImportError as error:
        package, extra = _PACKAGES.get(scheme, ("huggingface_hub", ""))
        wanted = f"capivara[{extra}]" if extra else package
        raise CapivaraError(f"{public_url(url)}: {scheme}:// needs {package}", f"pip install '{wanted}'") from error
    return files, files._strip_protocol(url)


@functools.cache
def shared_filesystem(scheme: str, process: int) -> AbstractFileSystem:
    """One file system for all threads of a process. fsspec would take 100 ms to make a client for each thread."""
    return _new_filesystem(scheme)


def _new_filesystem(scheme: str) -> AbstractFileSystem:
    import fsspec

    options: dict[str, object] = {}
    if scheme in _PACKAGES:
        options["use_listings_cache"] = False
    if scheme in {"s3", "s3a"}:  # ``Retry`` counts the tries
        waits = {"connect_timeout": CONNECT_SECONDS, "read_timeout": SILENCE_SECONDS}
        options["config_kwargs"] = {"retries": {"total_max_attempts": 1}, **waits}
    return fsspec.filesystem(scheme, **options)


def network_errors() -> tuple[type[BaseException], ...]:
    """The exceptions of file systems and networks, from the packages that are imported."""
    loaded = ((sys.modules.get(module), name) for module, name in _NETWORK_ERRORS.items())
    return (OSError, *(getattr(module, name, OSError) for module, name in loaded))  # a thread may be importing it


def retry_for(url: str) -> Retry:
    """A new retry loop for work on a URL."""
    shown = public_url(url)

    def final(error: BaseException) -> CapivaraError | None:
        return CapivaraError(f"{shown}: {error_line(error)}", _hint(error)) if is_final(error) else None

    return Retry(shown, network_errors, error_line, final)


def is_final(error: BaseException) -> bool:
    """Whether another try cannot succeed."""
    if isinstance(error, HttpStatus):
        status: int | None = error.status
    else:
        answer = getattr(error, "response", None)
        status = getattr(answer, "status_code", None) or getattr(error, "code", None)
    if isinstance(status, int) and 400 <= status < 500:
        return is_refusal(status)
    return (
        isinstance(error, _FINAL)
        or type(error).__name__ in _FINAL_NAMES
        or (isinstance(error, OSError) and error.errno in {errno.EINVAL, *DISK_FULL})
    )


def error_line(error: BaseException) -> str:
    """An error in one line, without secrets."""
    lines = without_secrets(str(error)).strip().splitlines()
    text = lines[0] if lines else type(error).__name__
    bare = isinstance(error, FileNotFoundError) and " " not in text.removeprefix("[Errno 2] ")  # only the path
    return "there is no such file" if bare or "[Errno 2]" in text else text


def _hint(error: BaseException) -> str:
    if isinstance(error, PermissionError) or getattr(error, "status", 0) in {401, 403}:
        return "check the credentials, and whether the URL's signature has expired"
    return _HINTS.get(type(error).__name__, "")
