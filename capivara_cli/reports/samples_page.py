"""Samples as one self-contained HTML page: inline thumbnails, captions by language, no script, light and dark."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from capivara_cli import languages
from capivara_cli.reports.pictures import Picture
from capivara_cli.reports.templates import render
from capivara_cli.shards.sample import Caption


@dataclass(frozen=True)
class View:
    """What a page shows of one sample. ``problem`` says why the thumbnail or the captions are missing.

    ``languages``: the language of each text of the sample, also of captions that are not shown.
    """

    key: str
    facts: str
    captions: Sequence[Caption]
    thumbnail: Picture | None = None
    problem: str = ""
    languages: Mapping[str, str] = field(default_factory=dict)

    def language_of(self, text: str) -> str:
        """The language of a text that a caption was made from; "" if it is not known."""
        return self.languages.get(text, "")


@dataclass(frozen=True)
class PageSection:
    """Samples under a title and the commands that led to them."""

    title: str
    steps: Sequence[str]
    views: Sequence[View]

    @property
    def is_scored(self) -> bool:
        """Whether a caption has a score."""
        return any(each.score is not None for view in self.views for each in view.captions)


def by_language(captions: Iterable[Caption]) -> list[tuple[str, list[Caption]]]:
    """Group captions by language. Languages come in the order of their first caption, captions in their own order."""
    captions = list(captions)
    order = {lang: place for place, lang in reversed(list(enumerate(each.lang for each in captions)))}
    ordered = sorted(captions, key=lambda each: order[each.lang])
    return [(lang, list(group)) for lang, group in groupby(ordered, key=lambda each: each.lang)]


def language(mark: str) -> str:
    """The name of a caption's language, with its mark if that is not the usual code: "Portuguese (pt-BR)"."""
    code = languages.code_of(mark)
    name = languages.get(code).name if languages.knows(code) else mark
    return name if mark in (code, name) else f"{name} ({mark})"


def html_page(sections: Sequence[PageSection]) -> str:
    """The page with these sections, one below the other; the first one's title is the page's."""
    return render(
        "samples.html", title=sections[0].title, sections=sections, by_language=by_language, language=language
    )
