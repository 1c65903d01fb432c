"""Find the source text of a translated caption."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from capivara_cli.languages import code_of
from capivara_cli.shards.sample import Caption


def sources(captions: Sequence[Caption]) -> Iterator[Caption | str | None]:
    """Yield the source of each caption: another caption of the sample, a text that is no longer one of them, or None.

    ``of`` is followed until the language changes, so the rewrite of a translation has the translation's source.
    """
    by_text: dict[str, Caption] = {}
    for caption in captions:
        by_text.setdefault(caption.text, caption)
    for caption in captions:
        current: Caption | None = caption
        found: Caption | str | None = None
        for _ in captions:  # no chain is longer than this
            if current is None or current.of is None:
                break
            origin = by_text.get(current.of)
            if origin is None and not current.by.startswith("rewrite:"):
                found = current.of
            elif origin is not None and code_of(origin.lang) != code_of(caption.lang):
                found = origin
            if found is not None:
                break
            current = origin
        yield found
