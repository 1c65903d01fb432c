"""Remove secrets from URLs: user, password, signature and keys, before a URL is shown or stored."""

from __future__ import annotations

import re

_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")
_QUERY = re.compile(r"\?[\w.~%-]+=")  # in s3:// and similar URLs, "?" alone is a wildcard
_USER = re.compile(r"://[^/@\s]*@")
_PARAMETER = re.compile(r"([?&]([\w.~%-]+)=)[^&\s'\"<>]+")
# The names of secret parameters. "author", "design", "keyword" and "monkey" are not secret.
_SECRET = re.compile(
    r"(?i)x-(amz|goog)-|.*(token|secret|passw|credential|(?<!de)sig|(?<!mon)key(?!words?(?![a-z]))|auth(?!ors?(?![a-z])))"
    r"|s[eprv]$|expires$"
)
_PASSWORD = re.compile(r"[^/@:]*:(?!\d+(?:/|$))[^@]*@")  # some passwords contain a slash


def is_url(text: str) -> bool:
    return "://" in text


def public_url(url: str) -> str:
    """Return the URL without user, password, query and fragment. Text that is not a URL is returned unchanged.

    The public part of a URL stays the same when its signature is renewed, so a run can be resumed with a new signature.
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
    return f"{scheme}{mark}{authority.rpartition('@')[2]}{slash}{path}"


def stored_url(url: str) -> str:
    """Return the URL without user, password and secret parameters. Other parameters stay, because they name the file.

    >>> stored_url("https://me:pw@host/photo?id=7&X-Amz-Signature=f00&token=x")
    'https://host/photo?id=7'
    """
    before, mark, query = url.partition("?")
    kept = "&".join(part for part in query.split("&") if not _SECRET.match(part.partition("=")[0]))
    return public_url(before) + (mark + kept if kept else "")


def base_name(url: str) -> str:
    """Return the last part of the path of a URL, or of a path."""
    return public_url(url).rstrip("/").rpartition("/")[2]


def without_secrets(text: str) -> str:
    """Shorten every URL in a message to its public part, and remove the value of every query parameter."""
    return _PARAMETER.sub(r"\1…", _IN_TEXT.sub(lambda found: public_url(found[0]), text))


def redacted(text: str) -> str:
    """Remove user, password and the values of secret parameters from every URL in a text.

    >>> redacted("from https://me:pw@host/photo?id=7&api_key=x")
    'from https://host/photo?id=7&api_key=…'
    """
    text = _IN_TEXT.sub(lambda found: _without_user(found[0]), _USER.sub("://", text))
    return _PARAMETER.sub(lambda found: f"{found[1]}…" if _SECRET.match(found[2]) else found[0], text)


def _without_user(url: str) -> str:
    address, mark, query = url.partition("?")
    return public_url(address) + mark + query
