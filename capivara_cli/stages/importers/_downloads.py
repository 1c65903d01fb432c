"""Download images by URL, for tables that name them. A failed download is a reason to drop its sample."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from capivara_cli.errors import BadSample, CapivaraError
from capivara_cli.storage.network import SECONDS_VARIABLE, NetworkLimits, TooSlow
from capivara_cli.storage.network_errors import (
    is_bad_certificate,
    is_final,
    is_redirected_too_often,
    is_unreachable,
    network_errors,
)
from capivara_cli.storage.remote.web import Pages, TooLarge
from capivara_cli.storage.retry import GivenUp, HttpStatus, Retry
from capivara_cli.urls import public_url

MAX_FILE = 256 << 20  # bytes; a path may name any file, and larger files are not photos
_TRIES = 3
_LONGEST_PAUSE = 4.0  # seconds, also if the server asks for more: the other images wait
_PAGES = (b"<!doctype html", b"<html")


class Downloads:
    """Downloads images; may be called from several threads. Gives up when the first ``patience`` are unreachable.

    A download that breaks off and a server that is busy are tried again, twice. A server that is slow, or cannot be
    reached, is not: a table may name thousands of images that are gone.
    """

    def __init__(self, patience: int = 12, pause: Callable[[float], object] = time.sleep) -> None:
        self._pause = pause
        self._patience = patience
        self._lock = threading.Lock()
        self._unreachable = 0
        self._reached = False
        self._pages: Pages | None = None

    def get(self, url: str) -> bytes:
        """The bytes at a URL.

        Raises ``BadSample`` if the download fails, ``CapivaraError`` if none of the first ``patience`` is reachable.
        """
        shown = public_url(url)
        retry = Retry(
            shown, network_errors, _reason, lambda error: None if _may_pass(error) else GivenUp(shown),
            tries=_TRIES, longest=_LONGEST_PAUSE, pause=self._pause,
        )  # fmt: skip
        try:
            data = retry.call(lambda: self._opened().get(url))
        except GivenUp as given_up:
            error = given_up.__cause__
            if isinstance(error, HttpStatus):
                self._reached = True
            elif error is not None and _is_silent(error):
                self._count_unreachable(shown)
            raise BadSample(f"download failed: {_reason(error)}") from given_up
        except TooLarge as error:
            raise BadSample(f"file larger than {MAX_FILE >> 20} MiB") from error
        except ValueError as error:
            raise BadSample("not a valid URL") from error
        self._reached = True
        if data[:64].lstrip().lower().startswith(_PAGES):
            raise BadSample("download failed: a web page, not an image")
        return data

    def _opened(self) -> Pages:
        with self._lock:
            if self._pages is None:
                self._pages = Pages(MAX_FILE)
            return self._pages

    def _count_unreachable(self, shown: str) -> None:
        with self._lock:
            self._unreachable += 1
            if not self._reached and self._unreachable >= self._patience:
                raise CapivaraError(
                    f"none of the first {self._unreachable} images can be reached; the last is {shown}",
                    "is this machine online? if the images are in a folder, name their files in a column 'image'",
                )


def _may_pass(error: BaseException) -> bool:
    """Whether another try may succeed soon."""
    return not (isinstance(error, TooSlow) or is_final(error) or is_unreachable(error))


def _is_silent(error: BaseException) -> bool:
    """Whether nothing came from the server."""
    return is_unreachable(error) or isinstance(error, TooSlow)


def _reason(error: BaseException | None) -> str:
    """Why a download failed, for people and for counts: the same for all images with the same problem."""
    if isinstance(error, HttpStatus):
        return f"HTTP {error.status}"
    if isinstance(error, TooSlow):
        limits = NetworkLimits.from_environment()
        return f"fewer than {limits.least:,} bytes in {limits.seconds:g} s ({SECONDS_VARIABLE})"
    if error is None or is_unreachable(error) or is_final(error):
        return _refusal(error)
    return "damaged compression" if type(error).__name__ == "DecodingError" else "the connection broke off"


def _refusal(error: BaseException | None) -> str:
    if error is not None and is_bad_certificate(error):
        return "the certificate of the server is not accepted"
    if error is not None and is_redirected_too_often(error):
        return "too many redirects"
    return "not reachable"
