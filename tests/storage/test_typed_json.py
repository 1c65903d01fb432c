"""Dataclasses read from JSON: defaults, types, and errors that name the key."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from capivara_cli.storage.typed_json import KEY, OPTIONAL, from_json, to_json


@dataclass(frozen=True)
class Part:
    p: float | None = None


@dataclass(frozen=True)
class Whole:
    name: str
    count: int = 3
    parts: dict[str, Part] = field(default_factory=dict)
    pairs: tuple[tuple[str, int], ...] = ()
    of: str = field(default="all", metadata={KEY: "score"})
    extra: Part | None = field(default=None, metadata={OPTIONAL: True})


def test_written_json_is_read_back() -> None:
    whole = Whole("a", 1, {"x": Part(0.5), "y": Part()}, (("b", 2),), "top1", Part(1))
    document = json.loads(json.dumps(to_json(whole)))
    assert document == {"name": "a", "count": 1, "parts": {"x": {"p": 0.5}, "y": {"p": None}}, "pairs": [["b", 2]],
                        "score": "top1", "extra": {"p": 1}}  # fmt: skip
    assert list(document) == ["name", "count", "parts", "pairs", "score", "extra"]
    assert from_json(Whole, document, "a whole") == whole
    assert type(from_json(Whole, document, "a whole").extra.p) is int  # type: ignore[union-attr]


def test_missing_and_null_keys_get_the_default_and_unknown_ones_are_ignored() -> None:
    assert from_json(Whole, {"name": "a", "count": None, "new": 1}, "a whole") == Whole("a")
    assert "extra" not in to_json(Whole("a"))


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "a whole is []"),
        ({}, "'name' of a whole is missing"),
        ({"name": None}, "'name' of a whole is None"),
        ({"name": "a", "count": 1.5}, "'count' of a whole is 1.5"),
        ({"name": "a", "count": True}, "'count' of a whole is True"),
        ({"name": "a", "parts": {"x": {"p": "high"}}}, "'p' of 'x' of 'parts' of a whole is 'high'"),
        ({"name": "a", "pairs": [["b"]]}, "an entry of 'pairs' of a whole is ['b']"),
        ({"name": "a", "pairs": [["b", "c"]]}, "an entry of an entry of 'pairs' of a whole is 'c'"),
        ({"name": "a", "score": 1}, "'score' of a whole is 1"),
        ({"count": "x"}, "'count' of a whole is 'x'"),
    ],
)
def test_an_error_names_the_key(document: Any, message: str) -> None:
    with pytest.raises(ValueError) as raised:
        from_json(Whole, document, "a whole")
    assert str(raised.value) == message
