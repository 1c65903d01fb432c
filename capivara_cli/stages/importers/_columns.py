"""Find the image, caption and language columns of a table by their names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from capivara_cli import languages
from capivara_cli.errors import BadSample, CapivaraError
from capivara_cli.pipeline.env import Env
from capivara_cli.shards.sample import Caption
from capivara_cli.stages.importers._photos import caption

Row = Mapping[str, object]
"""The cells of a row by column name."""

IMAGE = ("image", "path", "file", "filename", "file_name", "filepath", "image_path", "image_file", "img", "jpg", "png")
URL = ("url", "image_url")
CAPTION = ("caption", "captions", "text", "sentence", "sentences", "title")
LANG = ("lang", "language")
RESERVED = frozenset({"clip", "captions", "file"})
"""Keys of a sample's ``json`` that capivara uses: columns with these names are not copied."""

_CAPTION_IN = re.compile(r"(?:captions?|text|sentences?|title)[-_ ]([a-z]{2,3}(?:[-_][a-z0-9]+)*)")


@dataclass(frozen=True)
class Columns:
    """The columns of a table by role.

    ``captions``: caption column -> its language, "" if the row or ``--lang`` gives the language. ``lang``: the
    language column, "" if there is none. ``others``: the columns copied into the sample's ``json``.
    """

    image: str
    captions: dict[str, str]
    lang: str
    others: tuple[str, ...]

    def captions_of(self, row: Row, default: str, env: Env) -> list[Caption]:
        """The captions of a row, whose cells are texts or lists of texts; ``default`` is the code if none is given.

        Raises ``BadSample`` for an unknown language.
        """
        named = row.get(self.lang) if self.lang else None
        found: list[Caption] = []
        for column, lang in self.captions.items():
            cell = row.get(column)
            code = lang or (language_code(named) if isinstance(named, str) and named.strip() else default)
            for text in cell if isinstance(cell, (list, tuple)) else [cell]:
                found += caption(text, code, env)
        return found

    def extra_of(self, row: Row) -> dict[str, object]:
        """The cells of the other columns that are text, numbers or booleans, by column."""
        cells = ((name, row.get(name)) for name in self.others)
        return {name: cell for name, cell in cells if isinstance(cell, (str, int, float, bool)) and cell != ""}


def language_code(name: str) -> str:
    """The code of a language that a cell names. Raises ``BadSample`` for an unknown language."""
    try:
        return languages.get(name.strip()).code
    except CapivaraError as error:
        raise BadSample(f"unknown language {name.strip()[:20]!r}") from error


def find_columns(names: Iterable[str], source: str) -> Columns:
    """The columns of a table by role; errors call the table ``source``.

    Raises ``CapivaraError`` that lists the columns if there is no image column or no caption column.
    """
    by_folded: dict[str, str] = {}
    for name in names:
        by_folded.setdefault(_fold(name), name)
    image = _first(by_folded, IMAGE) or _first(by_folded, URL)
    lang = _first(by_folded, LANG)
    first_caption = _first(by_folded, CAPTION)
    captions = {first_caption: ""} if first_caption else {}
    for folded, name in by_folded.items():
        if (match := _CAPTION_IN.fullmatch(folded)) and _is_language(match[1]):
            captions[name] = languages.get(match[1]).code
    present = ", ".join(repr(name) for name in by_folded.values()) or "none"
    if not image:
        raise CapivaraError(
            f"{source}: no column names the images; there are {present}", _name_one(IMAGE[:6] + URL[:1])
        )
    if not captions:
        raise CapivaraError(
            f"{source}: no column holds captions; there are {present}",
            _name_one(("caption", "text", "sentence", "title", "caption_pt"))
            + "\nimages without captions: capivara pack FOLDER",
        )
    used = {image, lang, *captions}
    others = tuple(name for name in by_folded.values() if name not in used and _fold(name) not in RESERVED)
    return Columns(image, captions, lang, others)


def _name_one(choices: Iterable[str]) -> str:
    return f"name one of them {' or '.join(choices)}"


def _fold(name: str) -> str:
    return name.strip().casefold()


def _first(by_folded: Mapping[str, str], choices: Iterable[str]) -> str:
    return next((by_folded[name] for name in choices if name in by_folded), "")


def _is_language(code: str) -> bool:
    try:
        languages.get(code)
    except CapivaraError:
        return False
    return True
