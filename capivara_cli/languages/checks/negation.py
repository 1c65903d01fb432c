"""Negations that a text does not have."""

from __future__ import annotations

from capivara_cli.languages.checks import tables
from capivara_cli.languages.checks.pair import Pair


def adds_a_negation(pair: Pair) -> bool:
    """Whether a translation has a "not" and nothing in its text negates or says that something is missing.

    False if the words of one of the languages are not known.
    """
    source, target = tables.words(pair.source.code), tables.words(pair.target.code)
    if not source.negations or target.negations.isdisjoint(pair.lowered_translation):
        return False
    return not any(map(source.may_be_negated, pair.lowered_text))
