"""Which variants of a slow test run: some by default, all of them with ``CAPIVARA_TEST_VARIANTS=all``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeVar

import pytest

T = TypeVar("T")
ALL = os.environ.get("CAPIVARA_TEST_VARIANTS") == "all"


def some(cases: Sequence[T], count: int) -> list[T]:
    """``count`` of the cases, evenly spread from the first to the last, or all of them if all are asked for."""
    if ALL or count >= len(cases):
        return list(cases)
    return [cases[round(place * (len(cases) - 1) / max(count - 1, 1))] for place in range(count)]


def number(by_default: int, of_all: int) -> int:
    """How often something random is tried: ``of_all`` if all variants are asked for."""
    return of_all if ALL else by_default


def only_with_all(tested_by: str) -> pytest.MarkDecorator:
    """A mark for a slow test that runs with all variants only; ``tested_by`` says what tests the same by default."""
    return pytest.mark.skipif(not ALL, reason=f"runs with CAPIVARA_TEST_VARIANTS=all; by default: {tested_by}")
