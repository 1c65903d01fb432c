"""Prepare results for publishing: paths shortened to file names, secrets removed from URLs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from capivara_cli.urls import redacted

_PATH = re.compile(
    r"""(?:(?<=^)|(?<=[\s'"=:(\[]))  # a path begins a text, or follows a space, a quote or a sign
    (?:/(?![/\s])|~[\w.-]*/|\.\.?/|[A-Za-z]:[\\/]|\\\\)  # /, ~/, ~user/, ./, ../, C:\ or \\server
    [^\n'",;]*""",
    re.VERBOSE,
)
_TEXTS = ("confusion", "confused")
"""Keys whose values are names of classes: they contain no paths, and stay as they are."""


def public(value: Any) -> Any:
    """Return JSON data with paths and secrets removed from all its texts, also from keys.

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
    return redacted(text)


def _last(path: str) -> str:
    return path.rstrip("/\\").replace("\\", "/").rpartition("/")[2]
