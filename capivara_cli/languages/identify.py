"""The language of a text, by an identifier: a plugin of ``identifiers/`` or of another package."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from typing import Any, Protocol

from capivara_cli import plugin_errors, registry

DEFAULT = "py3langid"
MIN_PROBABILITY = 0.8
"""``language_of`` returns the likeliest language only if its probability is at least this."""


class Identifier(Protocol):
    """Tells the language of a text. ``codes``: the BCP-47 codes of the languages that it knows.

    A function ``likeliest(text)`` is optional: it returns the likeliest code and its probability, if that is faster.
    """

    @property
    def codes(self) -> Collection[str]: ...

    def __call__(self, text: str, /) -> Mapping[str, float]:
        """BCP-47 code -> probability, the likeliest first; other codes have the probability 0.

        Any text is allowed, also an empty one, and the same text gives the same answer.
        """
        ...


@cache
def load(spec: str = DEFAULT) -> Any:
    """The identifier ``NAME`` or ``NAME:VARIANT``, loaded once per process."""
    return registry.load("identifiers", spec)


@cache
def supported_codes(spec: str = DEFAULT) -> frozenset[str]:
    """The BCP-47 codes of the languages that can be identified."""
    identifier = load(spec)
    return frozenset(plugin_errors.texts(identifier, list(identifier.codes), what="codes"))


def probabilities(text: str, spec: str = DEFAULT) -> dict[str, float]:
    """BCP-47 code -> probability, the likeliest first. The probability of a short text spreads over many languages.

    >>> next(iter(probabilities("um homem surfando uma onda na praia")))
    'pt'
    """
    identifier = load(spec)
    found = identifier(text)
    if not isinstance(found, Mapping):
        raise plugin_errors.fault(identifier, f"returned {plugin_errors.shown(found)}, not probabilities by code")
    return {code: _probability(identifier, code, value) for code, value in found.items()}


def likeliest(text: str, spec: str = DEFAULT) -> tuple[str, float]:
    """The first entry of ``probabilities``, by identifiers that can compute it faster; ("und", 0) without one."""
    identifier = load(spec)
    answer = getattr(identifier, "likeliest", None)
    if answer is None:
        return next(iter(probabilities(text, spec).items()), ("und", 0.0))
    code, probability = plugin_errors.as_list(identifier, answer(text), "a code and a probability", 2)
    return code, _probability(identifier, code, probability)


def _probability(identifier: Any, code: Any, value: Any) -> float:
    if not isinstance(code, str) or not isinstance(value, int | float) or not 0 <= value <= 1.0001:
        raise plugin_errors.fault(identifier, f"the probability of {code!r} is {value!r}, not a number from 0 to 1")
    return float(value)


def language_of(text: str, spec: str = DEFAULT) -> str | None:
    """The language of a text; None if its probability is under ``MIN_PROBABILITY`` or the text is not in a language."""
    code, probability = likeliest(text, spec)
    return code if probability >= MIN_PROBABILITY and code != "zxx" else None
