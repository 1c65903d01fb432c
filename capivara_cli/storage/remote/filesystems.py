"""The file system of a URL."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING

from capivara_cli.errors import CapivaraError, unknown
from capivara_cli.storage.network import NetworkLimits
from capivara_cli.urls import public_url

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_PACKAGES = {"s3": ("s3fs", "s3"), "s3a": ("s3fs", "s3"), "gs": ("gcsfs", "gs"), "gcs": ("gcsfs", "gs")}
_WEB = frozenset({"http", "https"})
_KNOWN = frozenset({"hf", "file", "memory", *_PACKAGES, *_WEB})


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
        limits = NetworkLimits.from_environment()
        waits = {"connect_timeout": limits.connect, "read_timeout": limits.seconds}
        options["config_kwargs"] = {"retries": {"total_max_attempts": 1}, **waits}
    return fsspec.filesystem(scheme, **options)
