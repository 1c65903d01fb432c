"""The rows of JSON files: JSON lines, lists of objects (LAVIS, #PraCegoVer), and captions by file name."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath

from capivara_cli.errors import CapivaraError
from capivara_cli.pipeline.env import Env
from capivara_cli.shards.sample import IMAGE_SUFFIXES, has_image_suffix
from capivara_cli.stages.importers._columns import CAPTION, IMAGE, URL, unique_names
from capivara_cli.stages.importers._exact import exact_float
from capivara_cli.stages.importers._sources import first_bytes
from capivara_cli.stages.importers._text_tables import NOT_UTF_8, Line, is_damaged, text_of

_NO_OBJECT = "not a JSON object"
_LIST = re.compile(rb"(?:^|:)\s*\[\s*\{")
_FIELDS = [
    re.compile(b'"(?:' + "|".join(names).encode() + rb')"\s*:', re.IGNORECASE) for names in ((*IMAGE, *URL), CAPTION)
]
_BY_FILE = re.compile(rb'\s*\{\s*"[^"]*\.(?:' + "|".join(sorted(IMAGE_SUFFIXES)).encode() + rb')"\s*:', re.IGNORECASE)


def is_json_list(path: Path) -> bool:
    """Whether a ``.json`` file begins with a list of objects, with such lists by split, or with an image name."""
    if path.suffix.lower() != ".json" or not path.is_file():
        return False
    start = first_bytes(path).removeprefix(b"\xef\xbb\xbf")
    return bool(_LIST.search(start) or _BY_FILE.match(start))


def lists_captions(path: Path) -> bool:
    """Whether a JSON list has fields for images and captions in its first 64 KiB, or captions by file name."""
    start = first_bytes(path)
    return bool(_BY_FILE.match(start) or all(field.search(start) for field in _FIELDS))


def rows_of_lines(table: Path, env: Env) -> Iterator[Line]:
    """The rows of a JSON-lines file; a file that is one list, as some programs name theirs, is read as a list."""
    text = text_of(table, env)
    if re.match(r"\s*\[\s*(\{|$)", text):
        yield from _rows_of(_parsed(text, table))
        return
    for number, line in enumerate(io.StringIO(text, newline="\n"), start=1):
        if not line.strip():
            continue
        if is_damaged(line):
            yield number, NOT_UTF_8
            continue
        try:
            row = _load(line)
        except (ValueError, RecursionError):
            yield number, "not JSON"
            continue
        yield number, row if isinstance(row, dict) else _NO_OBJECT


def rows_of_list(table: Path, env: Env) -> Iterator[Line]:
    """The rows of a JSON file, numbered from 1. Raises ``CapivaraError`` if it is not JSON or holds no list of rows."""
    yield from _rows_of(_parsed(text_of(table, env), table))


def _parsed(text: str, table: Path) -> list[object] | dict[str, object]:
    if is_damaged(text):
        raise CapivaraError(f"{table}: {NOT_UTF_8}", "convert it: iconv -f ENCODING -t UTF-8")
    try:
        document = _load(text)
    except (ValueError, RecursionError) as error:
        raise CapivaraError(f"{table}: not JSON: {error}") from error
    if not isinstance(document, (list, dict)):
        raise CapivaraError(f"{table}: no list of objects", 'a list holds [{"image": …, "caption": …}, …]')
    return document


def _rows_of(document: list[object] | dict[str, object]) -> Iterator[Line]:
    """The rows of a list, of the lists of an object, each a split, or of an object with captions by file name."""
    if isinstance(document, list):
        yield from _numbered(document)
        return
    if any(has_image_suffix(PurePath(name)) for name in document):
        yield from _numbered([{"image": name, "captions": captions} for name, captions in document.items()])
        return
    lists = {name: rows for name, rows in document.items() if isinstance(rows, list)}
    lists = {name: rows for name, rows in lists.items() if any(isinstance(row, dict) for row in rows)}
    number = 1
    for name, rows in lists.items():
        split = {"split": name} if len(lists) > 1 else {}
        yield from _numbered([{**split, **row} if isinstance(row, dict) else row for row in rows], number)
        number += len(rows)


def _numbered(rows: Sequence[object], start: int = 1) -> Iterator[Line]:
    for number, row in enumerate(rows, start):
        yield number, row if isinstance(row, dict) else _NO_OBJECT


def _load(text: str) -> object:
    return json.loads(text, object_pairs_hook=_object, parse_float=exact_float)


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object in which no name hides another of the same name."""
    found = dict(pairs)
    return (
        found
        if len(found) == len(pairs)
        else dict(zip(unique_names(n for n, _ in pairs), (v for _, v in pairs), strict=True))
    )
