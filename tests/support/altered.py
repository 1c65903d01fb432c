"""JSON values in which one value is another, or missing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

MISSING = object()
Place = tuple[Any, ...]


def places(value: Any, at: Place = ()) -> Iterator[Place]:
    """The path of every value inside a JSON value, at any depth."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in inner:
        yield (*at, key)
        yield from places(each, (*at, key))


def altered(document: Any, at: Place, value: Any) -> Any:
    """A copy with another value at a place, or without it if the value is ``MISSING``."""
    copy = json.loads(json.dumps(document))
    inner = copy
    for key in at[:-1]:
        inner = inner[key]
    if value is MISSING:
        del inner[at[-1]]
    else:
        inner[at[-1]] = value
    return copy
