"""Finds a table's columns by their names: the image, the captions and their languages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from capivara_cli import languages
from capivara_cli.errors import BadSample, CapivaraError
from capivara_cli.pipeline.env import Env
from capivara_cli.shards.sample import Caption
from capivara_cli.stages.importers._photos import caption

IMAGE = ("image", "path", "file", "filename", "file_name", "filepath", "image_path", "image_file", "img", "jpg", "png")
URL = ("url", "image_url")
CAPTION = ("caption", "captions", "text", "sentence", "sentences", "title")
LANG = ("lang", "language")
RESERVED = frozenset({"clip", "captions", "file"})
"""Keys of a sample's ``json`` that capivara uses: columns with these names are not copied."""

_CAPTION_IN = re.compile(r"(?:captions?|text|sentences?|title)[-_ ]([a-z]{2,3}(?:[-_][a-z0-9]+)*)")


@dataclass(frozen=True)
class Columns:
    """The roles of columns. ``captions`` maps a column to its language; "" means the row or ``--lang`` gives it."""

    image: str
    captions: dict[str, str]
    lang: str
    others: tuple[str, ...]

    def captions_of(self, row: Mapping[str, Any], default: str, env: Env) -> list[Caption]:
        """The captions of a row: a cell is a text or a list of texts. ``BadSample`` for an unknown language."""
        spoken = row.get(self.lang) if self.lang else None
        found: list[Caption] = []
        for column, lang in self.captions.items():
            cell = row.get(column)
            code = lang or (language_code(spoken) if isinstance(spoken, str) and spoken.strip() else default)
            for text in cell if isinstance(cell, (list, tuple)) else [cell]:
                found += caption(text, code, env)
        return found

    def extra_of(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """The cells of the other columns that are text, numbers or booleans."""
        cells = ((name, row.get(name)) for name in self.others)
        return {name: cell for name, cell in cells if isinstance(cell, (str, int, float, bool)) and cell != ""}


def language_code(name: str) -> str:
    """The code of a language named in a cell; ``BadSample`` for an unknown language."""
    try:
        return languages.get(name.strip()).code
    except CapivaraError as error:
        raise BadSample(f"unknown language {name.strip()[:20]!r}") from error


def find_columns(names: Iterable[str], source: str) -> Columns:
    """The roles of a table's columns. Raises ``CapivaraError`` that lists them when image or caption is missing."""
    written: dict[str, str] = {}
    for name in names:
        written.setdefault(_fold(name), name)
    image = _first(written, IMAGE) or _first(written, URL)
    lang = _first(written, LANG)
    captions = {written[name]: "" for name in CAPTION if name in written}
    captions = dict([*captions.items()][:1])
    for name in written:
        if (match := _CAPTION_IN.fullmatch(name)) and _is_language(match[1]):
            captions[written[name]] = languages.get(match[1]).code
    there = ", ".join(repr(name) for name in written.values()) or "none"
    if not image:
        raise CapivaraError(f"{source}: no column names the images; there are {there}", _name_one(IMAGE[:6] + URL[:1]))
    if not captions:
        raise CapivaraError(
            f"{source}: no column holds captions; there are {there}",
            _name_one(("caption", "text", "sentence", "title", "caption_pt"))
            + "\nimages without captions: capivara pack FOLDER",
        )
    used = {image, lang, *captions}
    others = tuple(name for name in written.values() if name not in used and _fold(name) not in RESERVED)
    return Columns(image, captions, lang, others)


def _name_one(choices: Iterable[str]) -> str:
    return f"name one of them {' or '.join(choices)}"


def _fold(name: str) -> str:
    return name.strip().casefold()


def _first(written: Mapping[str, str], choices: Iterable[str]) -> str:
    return next((written[name] for name in choices if name in written), "")


def _is_language(code: str) -> bool:
    try:
        languages.get(code)
    except CapivaraError:
        return False
    return True
