"""Small JPEGs for HTML pages that hold their images themselves."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any

THUMBNAIL = 256
"""Pixels of the longer side of an image on a page of samples or search results."""


@dataclass(frozen=True)
class Picture:
    """A JPEG in base64, with its size in pixels and its text alternative."""

    data: str
    width: int
    height: int
    alt: str = ""


def picture(image: Any, longest: int, alt: str = "") -> Picture:
    """Scale a decoded RGB image down, until its longer side has at most ``longest`` pixels."""
    small = image.copy()
    small.thumbnail((longest, longest))
    out = io.BytesIO()
    small.save(out, "JPEG", quality=80)
    width, height = small.size
    return Picture(base64.b64encode(out.getvalue()).decode(), width, height, alt)
