"""Results of searches as one self-contained HTML page: a grid of images for each query, no script, light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from capivara_cli.reports.pictures import Picture
from capivara_cli.reports.templates import render
from capivara_cli.shards.sample import Caption


@dataclass(frozen=True)
class FoundImage:
    """An image of the grid; ``place``: its shard. ``problem`` says why the image or its captions are missing."""

    rank: int
    score: float
    key: str
    place: str
    captions: Sequence[Caption]
    thumbnail: Picture | None = None
    problem: str = ""


@dataclass(frozen=True)
class SearchSection:
    """The images found for one query, best first, and the command that finds them.

    ``lang``: the language of the query, "" if it is not known. ``translation``: the query in ``translation_lang``, by
    ``translator``; "" if it was not translated. ``picture``: the image of a search by image.
    """

    query: str
    lang: str
    command: str
    images: Sequence[FoundImage]
    translation: str = ""
    translation_lang: str = ""
    translator: str = ""
    picture: Picture | None = None


SHOWN = 2
"""Captions of an image that are visible; a click shows the others."""


def search_page(sections: Sequence[SearchSection], *, searched: int, model: str) -> str:
    """The page with the results of all queries, one below the other; ``searched``: the number of images compared."""
    title = sections[0].query if len(sections) == 1 else f"{len(sections)} searches"
    return render("search.html", title=title, sections=sections, searched=searched, model=model, shown=SHOWN)
