"""Find the text that a caption was translated from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from capivara_cli.shards.sample import Caption

_REGION = re.compile("-[A-Z]{2}$")


def sources(captions: Sequence[Caption]) -> Iterator[Caption | str | None]:
    """For each caption its source: another caption of the sample, a text that is no longer one of them, or None.

    The rewrite of a translation has the translation's source: ``of`` is followed until the language changes.
    """
    by_text: dict[str, Caption] = {}
    for caption in captions:
        by_text.setdefault(caption.text, caption)
    for caption in captions:
        here: Caption | None = caption
        found: Caption | str | None = None
        for _ in captions:  # no chain is longer than this
            if here is None or here.of is None:
                break
            origin = by_text.get(here.of)
            if origin is None and not here.by.startswith("rewrite:"):
                found = here.of
            elif origin is not None and base_language(origin.lang) != base_language(caption.lang):
                found = origin
            if found is not None:
                break
            here = origin
        yield found


def base_language(code: str) -> str:
    """The code without its region: ``pt`` for ``pt-BR``."""
    return _REGION.sub("", code)
