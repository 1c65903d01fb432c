"""What may leave this machine: names without the folders they lie in, addresses without passwords."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

_PATH = re.compile(
    r"""(?:(?<=^)|(?<=[\s'"=:(\[]))  # a path begins a text, or follows a space, a quote or a sign
    (?:/(?![/\s])|~[\w.-]*/|\.\.?/|[A-Za-z]:[\\/]|\\\\)  # /, ~/, ~user/, ./, ../, C:\ or \\server
    [^\n'",;]*""",
    re.VERBOSE,
)
_USER = re.compile(r"://[^/@\s]*@")
_SECRET = re.compile(r"([?&][\w-]*(?:key|token|sig|signature|secret|password|auth)[\w-]*=)[^&\s'\"]+", re.IGNORECASE)
_TEXTS = ("confusion", "confused")
"""Names of classes: no places, and nothing in them is to change."""


def public(value: Any) -> Any:
    """JSON with every text in it made public, those that are keys too.

    >>> public({"obtained": "local copy in /home/me/flickr", "model": "local-dir:/data/clip"})
    {'obtained': 'local copy in flickr', 'model': 'local-dir:clip'}
    """
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, dict):
        return {_text(str(key)): each if key in _TEXTS else public(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [public(each) for each in value]
    return value


def _text(text: str) -> str:
    home = str(Path.home())
    text = text.replace("file://", "")
    if len(home) > 1:
        text = text.replace(home, "~")
    text = _PATH.sub(lambda found: _last(found[0]), text)
    return _SECRET.sub(r"\1…", _USER.sub("://", text))


def _last(path: str) -> str:
    return path.rstrip("/\\").replace("\\", "/").rpartition("/")[2]
