"""URLs as they may be shown and stored: without the secrets that are in them."""

from __future__ import annotations

import re

_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")
_VALUE = re.compile(r"([?&][\w.~%-]+=)[^&\s'\"<>]+")
_QUERY = re.compile(r"\?[\w.~%-]+=")  # in s3:// and the like a bare "?" stands for any character
_SECRET = re.compile(
    r"(?i)x-(amz|goog)-|(.*[_-])?(sig|signature|token|secret|passw\w*|credential|key|auth)$|awsaccesskeyid$|s[eprv]$|expires$"
)
_PASSWORD = re.compile(r"[^/@:]*:(?!\d+(?:/|$))[^@]*@")  # it may have a slash in it, though it should not


def is_url(text: str) -> bool:
    return "://" in text


def public_url(url: str) -> str:
    """The URL without user, password, query and fragment; what is no URL stays as it is.

    A signed URL is another one every day. What is left names the same file every day, so that a folder is gone on with
    under a fresh signature.
    """
    scheme, mark, rest = url.partition("://")
    if not mark:
        return url
    if scheme.lower() in {"http", "https"}:
        rest = re.split(r"[?#]", rest, maxsplit=1)[0]
    else:
        rest = _QUERY.split(rest, maxsplit=1)[0]
    rest = _PASSWORD.sub("", rest, count=1) if _PASSWORD.match(rest) else rest
    authority, slash, path = rest.partition("/")
    return f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"


def stored_url(url: str) -> str:
    """The URL without user and password, and without what a query says to sign or to open it; the rest names the file.

    >>> stored_url("https://me:pw@host/photo?id=7&X-Amz-Signature=f00&token=x")
    'https://host/photo?id=7'
    """
    before, mark, query = url.partition("?")
    kept = "&".join(part for part in query.split("&") if not _SECRET.match(part.partition("=")[0]))
    return public_url(before) + (mark + kept if kept else "")


def base_name(url: str) -> str:
    """The last part of what a URL or path names."""
    return public_url(url).rstrip("/").rpartition("/")[2]


def without_secrets(text: str) -> str:
    """A message of someone else's, every URL in it made public and every value of a query cut."""
    return _VALUE.sub(r"\1…", _IN_TEXT.sub(lambda found: public_url(found.group()), text))
