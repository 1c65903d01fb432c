"""Find the image, caption and language columns of a table by their names, and by their cells where names are unclear.

``caption_id`` holds ids or captions in Indonesian, ``sentence_no`` numbers or sentences in Norwegian: a column with a
language in its name holds captions only if its first cells are texts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from capivara_cli import languages
from capivara_cli.errors import CapivaraError
from capivara_cli.pipeline.env import Env
from capivara_cli.shards.json_text import JsonText
from capivara_cli.shards.sample import Caption, has_image_suffix
from capivara_cli.shards.unpacked import CAPTION_WORDS, LIKELY_NAMES
from capivara_cli.stages.importers._captions import LANG, captions_of, is_language, language_code
from capivara_cli.stages.importers._exact import json_text

Row = Mapping[str, object]
"""The cells of a row by column name."""

IMAGE = (
    "image", "path", "file", "filename", "file_name", "filepath", "image_path", "image_file", "img", "jpg", "png",
    "image_name", "image_filename", "image_file_name", "img_path", "file_path", "jpeg", "webp",
)  # fmt: skip
URL = ("url", "image_url", "img_url", "coco_url")
CAPTION = ("caption", "captions", "text", "texts", "sentence", "sentences", "comment", "alt_text", "title")
RESERVED = frozenset({"clip", "captions", "file"})
"""Keys of a sample's ``json`` that capivara uses: columns with these names are not copied."""

_IN_LANGUAGE = re.compile(
    rf"(?:{CAPTION_WORDS})(?:[-_ .]?\d\d?)?[-_ .:(\[]+(?P<lang>[a-z]+(?:[-_][a-z]+)*)(?:[-_ .]\d\d?)?[)\]]?"
)
_LANGUAGE_FIRST = re.compile(
    rf"(?P<lang>[a-z]{{2}}(?:[-_][a-z]{{2}})?|[a-z]{{4,}})[-_ .](?:{CAPTION_WORDS})(?:[-_ .]\d\d?)?"
)
_NUMBERED = re.compile(rf"(?P<word>{CAPTION_WORDS})[-_ .]?\d\d?")
_ENDS_WITH_CAPTION = re.compile(rf"(?:.*[-_ .])?(?:{CAPTION_WORDS})(?:[-_ .]?\d\d?)?")
_NAMES_CAPTIONS = re.compile(rf"(?:.*[-_ .])?(?:{CAPTION_WORDS})(?:[-_ .:(\[\d].*)?")
_TWO_MEANINGS = frozenset(
    {"am", "an", "as", "be", "bos", "el", "et", "ht", "id", "in", "is", "it", "la", "lo", "min", "mt", "my", "no", "or",
     "se", "so", "ts"}
)  # fmt: skip
"""Codes of languages that are also names of something else: an id, a number, machine translation, a time stamp."""
_PLAIN = frozenset({str, int, float, bool})
_SAMPLED = 200  # cells
_HEADERLESS = "write a first line with the names of the columns, in their order: image or url, caption"
_WORD = re.compile(r"[^\W\d_]{2,}")


@dataclass(frozen=True)
class Columns:
    """The columns of a table by role.

    ``captions``: caption column -> its language, "" if the row or ``--lang`` gives the language. ``lang``: the
    language column, "" if there is none. ``others``: the columns copied into the sample's ``json``. ``doubtful``:
    whether names alone left open which columns hold captions; ``passed_over``: those that could, by their names.
    """

    image: str
    captions: dict[str, str]
    lang: str
    others: tuple[str, ...]
    passed_over: tuple[str, ...] = ()
    doubtful: bool = False

    def captions_of(self, row: Row, default: str, env: Env) -> list[Caption]:
        """The captions of a row; ``default`` is the code if none is given.

        Raises ``BadSample`` for an unknown language.
        """
        named = row.get(self.lang) if self.lang else None
        found: list[Caption] = []
        for column, lang in self.captions.items():
            code = lang or (language_code(named) if isinstance(named, str) and named.strip() else default)
            found += captions_of(row.get(column), code, env)
        return found

    def extra_of(self, row: Row, env: Env) -> dict[str, object]:
        """The cells of the other columns by column, as in ``Photo.extra``; empty ones and NaN are left out.

        Cells that JSON cannot hold, such as bytes, are counted.
        """
        found: dict[str, object] = {}
        for name in self.others:
            cell = row.get(name)
            if cell is None or cell == "" or cell != cell:
                continue
            if type(cell) in _PLAIN:
                found[name] = cell
            elif (text := json_text(cell)) is not None:
                found[name] = JsonText(text)
            else:
                env.note(f"cells of {name!r} left out, which JSON cannot hold")
        return found

    def roles(self, default: str) -> str:
        """Which columns were taken as captions, and which were not: for the summary line."""
        taken = ", ".join(f"'{name}' ({lang or self.lang or default})" for name, lang in self.captions.items())
        left = ", ".join(repr(name) for name in self.passed_over)
        return f"captions in {taken}" + (f", not in {left}" if left else "")


def find_columns(names: Iterable[str], source: str, cells: Mapping[str, Sequence[object]] | None = None) -> Columns:
    """The columns of a table by role; ``cells`` are the first of each column, errors call the table ``source``.

    Raises ``CapivaraError`` that lists the columns if there is no image column or no caption column.
    """
    names = list(names)
    columns = columns_by_role(names, cells or {})
    present = ", ".join(map(repr, names)) or "none"
    if not columns.image:
        raise CapivaraError(
            f"{source}: no column names the images; there are {present}",
            _HEADERLESS if any(map(_is_image_name, names)) else _name_one(IMAGE[:6] + URL[:1]),
        )
    if not columns.captions:
        raise CapivaraError(
            f"{source}: no column holds captions; there are {present}",
            _name_one(("caption", "text", "sentence", "title", "caption_pt"))
            + "\nimages without captions: capivara pack FOLDER",
        )
    return columns


def columns_by_role(names: Sequence[str], cells: Mapping[str, Sequence[object]]) -> Columns:
    """The columns of a table, or the fields of one object, by role; ``image`` is "" and ``captions`` empty if none."""
    by_folded = {_fold(unique): name for unique, name in zip(unique_names(names), names, strict=True)}
    image = _first(by_folded, IMAGE) or _first(by_folded, URL)
    lang = _first(by_folded, LANG)
    candidates = {folded: name for folded, name in by_folded.items() if name not in (image, lang)}
    captions = _caption_columns(candidates, cells)
    is_guess = not captions
    captions = captions or _likely_captions(candidates, cells)
    used = {image, lang, *captions}
    others = tuple(name for name in by_folded.values() if name not in used and _fold(name) not in RESERVED)
    passed_over = tuple(
        name for folded, name in candidates.items() if name not in captions and _NAMES_CAPTIONS.fullmatch(folded)
    )
    doubtful = bool(passed_over or (is_guess and captions)) or any(_has_two_meanings(_fold(each)) for each in captions)
    return Columns(image, captions, lang, others, passed_over, doubtful)


def unique_names(names: Iterable[str]) -> list[str]:
    """The names of columns, of which the second ``caption`` becomes ``caption_2``, so that none hides another."""
    given = [name.strip() for name in names]
    taken = {_fold(name) for name in given}
    found: list[str] = []
    seen: set[str] = set()
    for name in given:
        number = 1
        unique = name
        while _fold(unique) in seen or (number > 1 and _fold(unique) in taken):
            number += 1
            unique = f"{name}_{number}"
        seen.add(_fold(unique))
        found.append(unique)
    return found


def _caption_columns(by_folded: Mapping[str, str], cells: Mapping[str, Sequence[object]]) -> dict[str, str]:
    """The caption columns and their languages: in the order of the table, but first those without a language."""
    in_language = {name: lang for folded, name in by_folded.items() if (lang := _language_in(folded))}
    in_language = {name: lang for name, lang in in_language.items() if _holds_texts(cells.get(name, ()), _fold(name))}
    plain = [word for word in CAPTION if word in by_folded]
    if in_language and plain and plain[0] in ("comment", "title"):  # beside captions, these say something else
        plain = []
    word = next((word for word in plain if _holds_texts(cells.get(by_folded[word], ()), "")), plain[0] if plain else "")
    captions = {by_folded[word]: ""} if word else {}
    numbered = [(match["word"], name) for folded, name in by_folded.items() if (match := _NUMBERED.fullmatch(folded))]
    numbered = [(each, name) for each, name in numbered if _holds_texts(cells.get(name, ()), "")]
    if not word and numbered:
        word = min((each for each, _ in numbered), key=lambda each: CAPTION.index(each) if each in CAPTION else 99)
    captions.update((name, "") for each, name in numbered if each.rstrip("s") == word.rstrip("s"))
    return {**captions, **in_language}


def _likely_captions(by_folded: Mapping[str, str], cells: Mapping[str, Sequence[object]]) -> dict[str, str]:
    """Where no name is sure: the columns whose names end with a word for captions (``raw_caption``), else those whose
    names begin with one (``caption_raw``), else the first of ``LIKELY_NAMES``.

    Most of their cells must be texts of two words or more.
    """
    texts = {folded: name for folded, name in by_folded.items() if _are_sentences(cells.get(name, ()))}
    for pattern in (_ENDS_WITH_CAPTION, _NAMES_CAPTIONS):
        if found := [name for folded, name in texts.items() if pattern.fullmatch(folded)]:
            return dict.fromkeys(found, "")
    return dict.fromkeys([texts[word] for word in LIKELY_NAMES if word in texts][:1], "")


def _language_in(folded: str) -> str:
    """The language in the name of a caption column: ``caption_pt``, ``pt_caption``, ``caption (Hindi)``; "" if none."""
    match = _IN_LANGUAGE.fullmatch(folded) or _LANGUAGE_FIRST.fullmatch(folded)
    return language_code(match["lang"]) if match and is_language(match["lang"]) else ""


def _has_two_meanings(folded: str) -> bool:
    return not _TWO_MEANINGS.isdisjoint(re.split(r"[^a-z]+", folded))


def _holds_texts(cells: Sequence[object], folded: str) -> bool:
    """Whether most cells of a column are texts; a column without cells may hold some later.

    Where the name has two meanings, a text has two words, or letters of another script than Latin.
    """
    sampled = _given(cells)
    if not _has_two_meanings(folded):
        return not sampled or _are_texts(sampled, 1)
    if not sampled:
        return not cells
    if languages.get(_language_in(folded)).script != "Latn" and all(str(cell).isascii() for cell in sampled):
        return False
    return _are_texts(sampled, 2)


def _are_sentences(cells: Sequence[object]) -> bool:
    """Whether there are cells and most of them are texts of two words or more."""
    sampled = _given(cells)
    return bool(sampled) and _are_texts(sampled, 2)


def _given(cells: Sequence[object]) -> list[object]:
    """The first cells that hold something."""
    return [cell for cell in cells if cell not in (None, "", []) and cell == cell][:_SAMPLED]


def _are_texts(cells: Sequence[object], words: int) -> bool:
    return sum(_is_text(cell, words) for cell in cells) * 2 > len(cells)


def _is_text(cell: object, words: int) -> bool:
    """Whether a cell holds a text of so many words: numbers, hashes and ids with digits are none."""
    if isinstance(cell, (list, tuple)):
        return any(_is_text(item, words) for item in cell)
    if isinstance(cell, dict):
        return True
    if not isinstance(cell, (str, bytes)):
        return False
    text = cell if isinstance(cell, str) else cell.decode("utf-8", "replace")
    if " " not in text.strip() and text.isascii() and any(char.isdigit() or char in "/_" for char in text):
        return False
    found = _WORD.findall(text)
    return len(found) >= words or bool(found and not text.isascii()) or (words == 1 and not text.isascii())


def _is_image_name(name: str) -> bool:
    """Whether a cell of the first line is an image or a URL, so that the table has no line of column names."""
    return name.strip().startswith(("http://", "https://")) or has_image_suffix(Path(name.strip()))


def _name_one(choices: Iterable[str]) -> str:
    return f"name one of them {' or '.join(choices)}"


def _fold(name: str) -> str:
    return name.strip().casefold()


def _first(by_folded: Mapping[str, str], choices: Iterable[str]) -> str:
    return next((by_folded[name] for name in choices if name in by_folded), "")
