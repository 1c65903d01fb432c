"""Requests to web servers: an answer in time, few redirects, and small files as a whole."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from capivara_cli.errors import CapivaraError
from capivara_cli.storage.network import MAX_REDIRECTS, NetworkLimits, Pace, answered
from capivara_cli.storage.retry import HttpStatus
from capivara_cli.urls import public_url

if TYPE_CHECKING:
    import httpx


def client(url: str, limits: NetworkLimits) -> httpx.Client:
    """A client for GET requests. Raises ``CapivaraError`` if ``url`` is not a URL."""
    import logging

    import httpx

    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs URLs with their signatures
    # Without compression, because a resumed download counts positions in the file itself.
    try:
        httpx.URL(url)
    except httpx.InvalidURL as error:
        raise CapivaraError(f"{public_url(url)}: not a URL: {type(error).__name__}") from None
    return httpx.Client(
        headers={"User-Agent": "capivara", "Accept-Encoding": "identity"},
        timeout=httpx.Timeout(limits.seconds, connect=limits.connect),
        limits=httpx.Limits(max_connections=None),  # those of late answers must not block others
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),  # none: there may be millions of servers
        follow_redirects=True,
        max_redirects=MAX_REDIRECTS,
    )


@contextlib.contextmanager
def opened(
    client: httpx.Client, url: str, pace: Pace, headers: Mapping[str, str] | None = None
) -> Iterator[httpx.Response]:
    """The answer to a GET request, whose body is read in the ``with`` block.

    Raises ``TooSlow`` if there is no answer in time, or no byte of the body.
    """
    import httpx

    request = client.build_request("GET", url, headers=headers)
    limits = pace.limits
    with pace.waiting():
        answer = answered(lambda: client.send(request, stream=True), limits.seconds, limits.no_answer())
    try:
        yield answer
    except httpx.ReadTimeout:
        raise pace.stalled() from None
    finally:
        answer.close()


class TooLarge(Exception):
    """A file on a web server that is larger than is accepted."""


class Pages:
    """Small files on web servers, read as a whole. Many threads may use it at once.

    ``most`` is the largest number of bytes of a file.
    """

    def __init__(self, most: int) -> None:
        self._limits = NetworkLimits.from_environment()
        self._client = client("", self._limits)
        self._most = most

    def get(self, url: str) -> bytes:
        """The bytes of a file, without the compression of its transfer. Makes one try.

        Raises network errors, ``HttpStatus`` for any status but 200, ``TooLarge``, and ``ValueError`` for what is no
        URL.
        """
        import httpx

        pace = Pace(self._limits)
        body = bytearray()
        urlsplit(url)  # httpx takes "http://[x/y" for the name of a host
        try:
            with opened(self._client, url, pace) as answer:
                if answer.status_code != 200:
                    raise HttpStatus.of(answer)
                for block in pace.watched(answer.iter_bytes()):
                    body += block
                    if len(body) > self._most:
                        raise TooLarge
        except httpx.InvalidURL as error:
            raise ValueError(str(error)) from error
        return bytes(body)
