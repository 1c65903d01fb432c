"""The steps that made a stream, kept in the leading PAX comment of its tar."""

from __future__ import annotations

import json
from typing import Any

History = list[dict[str, Any]]
"""The steps that made a stream, oldest first: {"step", "options", "version"}."""


def encode_history(history: History) -> str:
    return json.dumps({"capivara": history}, ensure_ascii=False)


def decode_history(comment: str) -> History:
    """The history in a leading comment; empty for tars that others wrote."""
    try:
        steps = json.loads(comment)["capivara"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []
    return [step for step in steps if isinstance(step, dict)] if isinstance(steps, list) else []
