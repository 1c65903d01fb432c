"""The first source of a translation or rewrite: the text that nobody made from another one."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from capivara_cli.shards.sample import Caption
from capivara_cli.stages.filtering.sample_facts import OF_FIRST, of_score, with_key, with_of_score


def first_source(caption: Caption) -> str | None:
    """The text that a caption comes from in the end, as far as the caption tells; None for an original."""
    stored = dict(caption.more).get(OF_FIRST) if caption.of is not None else None
    text = json.loads(stored) if stored is not None else None
    return text if isinstance(text, str) else caption.of


def with_first_sources(captions: Sequence[Caption], is_wanted: Callable[[Caption], bool]) -> list[Caption]:
    """The captions; those whose source is itself made from another text get the first text of the chain (``of_first``).

    ``is_wanted``: which captions may be changed. A chain ends at a text that is not among the captions. The first
    source is stored, so that it is known when the texts between are removed.
    """
    known = _by_text(captions)
    found = []
    for caption in captions:
        first = _end_of_chain(caption, known)
        is_known = first is None or first == first_source(caption)
        found.append(caption if is_known or not is_wanted(caption) else with_key(caption, OF_FIRST, first))
    return found


def with_stored_source_scores(captions: Sequence[Caption], is_wanted: Callable[[Caption], bool]) -> list[Caption]:
    """The captions; those without the score of their first source get it if that is among the captions and scored."""
    known = _by_text(captions)
    found = []
    for caption in captions:
        first = first_source(caption)
        source = known.get(first) if first is not None and of_score(caption) is None else None
        score = source.score if source is not None and is_wanted(caption) else None
        found.append(caption if score is None else with_of_score(caption, score))
    return found


def _by_text(captions: Sequence[Caption]) -> dict[str, Caption]:
    """The captions by text; of equal texts an original one, then the first."""
    known: dict[str, Caption] = {}
    for caption in captions:
        if caption.text not in known or (caption.of is None and known[caption.text].of is not None):
            known[caption.text] = caption
    return known


def _end_of_chain(caption: Caption, known: dict[str, Caption]) -> str | None:
    text = first_source(caption)
    seen = {text}
    while text is not None and text in known:
        further = first_source(known[text])
        if further is None or further in seen:
            break
        seen.add(further)
        text = further
    return text
