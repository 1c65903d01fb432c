"""The steps that produced a stream, stored in the leading pax comment of its tar."""

from __future__ import annotations

import json
from typing import Any, TypedDict, cast


class HistoryStep(TypedDict, total=False):
    """One step: its name, its options, the seed, and the version of capivara that ran it."""

    step: str
    options: dict[str, Any]
    seed: int
    version: str


History = list[HistoryStep]
"""The steps that produced a stream, oldest first."""


def encode_history(history: History) -> str:
    return json.dumps({"capivara": history}, ensure_ascii=False)


def decode_history(comment: str) -> History:
    """The history in a leading comment; empty for a tar of another program."""
    try:
        steps = json.loads(comment)["capivara"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []
    known = [step for step in steps if isinstance(step, dict)] if isinstance(steps, list) else []
    return cast("History", known)


def step_names(history: History) -> str:
    """The names of the steps, for a message: "caption | filter"."""
    return " | ".join(str(step.get("step", "?")) for step in history)
