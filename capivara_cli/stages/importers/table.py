"""A CSV, TSV or JSON-lines file of image files or URLs with captions, or a folder that holds such a file.

Columns are found by name (see ``_columns``). Rows with the same image give it several captions; images keep the order
of their first rows. Paths are relative to the table's folder, or to ``--images``.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

from capivara_cli.errors import BadSample, CapivaraError
from capivara_cli.pipeline.env import Env
from capivara_cli.shards.sample import Sample
from capivara_cli.stages.importers._columns import Columns, Row, find_columns
from capivara_cli.stages.importers._packing import PackOptions
from capivara_cli.stages.importers._photos import Photo, check_image_folder, is_http_url, report_bad, samples_of

Line = tuple[int, dict[str, object] | str]
"""The line number of a row, and its cells by column name or the reason why it is bad."""

_DELIMITERS = {".csv": "", ".tsv": "\t", ".tab": "\t"}
_JSON_LINES = (".jsonl", ".ndjson")
_LONGEST_ROW = 1000  # lines; a quote that stays open for longer is taken as a literal character


def recognise(source: Path) -> bool:
    return _table_of(source) is not None


def read(source: Path, options: PackOptions, env: Env) -> Iterator[Sample]:
    """Yield one sample per image. The whole table is held in memory, because rows may come in any order.

    A row that is not UTF-8, cannot be parsed, names no image or names an unknown language is counted as bad. Raises
    ``CapivaraError`` if there are no rows, or no image or caption column.
    """
    table = _table_of(source) or source
    rows = _json_rows(table) if table.suffix.lower() in _JSON_LINES else _csv_rows(table, env)
    photos = _grouped(rows, table, options, env)
    check_image_folder(photos, table)
    return samples_of(photos, env)


def _table_of(source: Path) -> Path | None:
    """The table: the source itself, or the only table in the folder, or its table named metadata or captions."""
    known = (*_DELIMITERS, *_JSON_LINES)
    if source.is_file():
        return source if source.suffix.lower() in known else None
    if not source.is_dir():
        return None
    tables = [path for path in sorted(source.iterdir()) if path.suffix.lower() in known and path.is_file()]
    tables = [path for path in tables if path.name != "manifest.jsonl" and not path.name.startswith(".")]
    named = [path for path in tables if path.stem.lower() in ("metadata", "captions")]
    chosen = named or tables
    return chosen[0] if len(chosen) == 1 else None


def _grouped(rows: Iterator[Line], table: Path, options: PackOptions, env: Env) -> list[Photo]:
    known: dict[tuple[str, ...], Columns] = {}
    photos: dict[str, Photo] = {}
    folder = Path(options.images) if options.images else table.parent
    empty = True
    for number, row in rows:
        empty = False
        try:
            if isinstance(row, str):
                raise BadSample(row)
            _add(photos, row, _columns_of(row, known, table), folder, options, env)
        except BadSample as error:
            env.tally.read += 1
            report_bad(env, Sample(f"{table.stem}_line_{number}", {}), f"{table}:{number}", error.reason)
    if empty:
        raise CapivaraError(f"{table}: no rows", "the first line names the columns: image,caption,lang")
    return list(photos.values())


def _columns_of(row: Row, known: dict[tuple[str, ...], Columns], table: Path) -> Columns:
    """The columns of a row; in JSON lines each row may have others.

    A missing column raises ``CapivaraError`` in the first row and ``BadSample`` in later ones.
    """
    names = tuple(row)
    if names not in known:
        try:
            known[names] = find_columns(names, str(table))
        except CapivaraError as error:
            if not known:
                raise
            raise BadSample("an image or a caption is missing") from error
    return known[names]


def _add(photos: dict[str, Photo], row: Row, columns: Columns, folder: Path, options: PackOptions, env: Env) -> None:
    name = row.get(columns.image)
    if not isinstance(name, str) or not name.strip():
        raise BadSample("a row without an image")
    name = name.strip()
    captions = columns.captions_of(row, options.code, env)
    if name not in photos:
        photos[name] = Photo(_relative(name, folder), _locations(name, folder), extra=columns.extra_of(row))
    photos[name].captions += captions


def _locations(name: str, folder: Path) -> list[str]:
    if is_http_url(name):
        return [name]
    locations = [str(folder / name)]
    return [*locations, str(folder / name.replace("\\", "/"))] if "\\" in name else locations


def _relative(name: str, folder: Path) -> str:
    """The name; an absolute path becomes relative to the folder, so that keys do not depend on the machine."""
    path = Path(name)
    if is_http_url(name) or not path.is_absolute():
        return name
    return path.relative_to(folder.absolute()).as_posix() if path.is_relative_to(folder.absolute()) else path.name


def _text_of(table: Path) -> str:
    """The text of a UTF-8 file, or of a UTF-16 file with BOM. Bytes that are not UTF-8 become lone surrogates."""
    data = table.read_bytes()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    return data.decode("utf-8-sig", "surrogateescape")


def _csv_rows(table: Path, env: Env) -> Iterator[Line]:
    lines = io.StringIO(_text_of(table), newline="").readlines()
    delimiter = _DELIMITERS.get(table.suffix.lower()) or _delimiter_of(lines[0] if lines else "")
    header: list[str] | None = None
    number = 0
    while number < len(lines):
        start = number
        cells, number = _parse(lines, start, delimiter, len(header or ()))
        if isinstance(cells, str):
            yield start + 1, cells
        elif not any(cell.strip() for cell in cells):
            continue
        elif header is None:
            header = [name.strip() for name in cells]
        else:
            yield start + 1, _row(header, cells, env)
    if header is not None and not any(line.strip() for line in lines[1:]):
        find_columns(header, str(table))  # a table without rows: an error about its columns is more useful


def _row(header: list[str], cells: list[str], env: Env) -> dict[str, object] | str:
    if any("\udc80" <= char <= "\udcff" for cell in cells for char in cell):
        return "not UTF-8"
    if len(cells) > len(header) and any(cell.strip() for cell in cells[len(header) :]):
        return "more cells than columns"
    if len(cells) < len(header):
        env.note("rows with fewer cells than columns")
    return dict(zip(header, [*cells, *[""] * (len(header) - len(cells))], strict=False))


def _parse(lines: list[str], start: int, delimiter: str, columns: int) -> tuple[list[str] | str, int]:
    """The cells of the row that starts at a line (or why it is bad), and the number of the line after it.

    A quote that is never closed would swallow all rows after it. Such a line is read literally if that gives as many
    cells as there are columns.
    """
    line = lines[start]
    is_open = line.count('"') % 2 == 1
    reader = csv.reader(lines[start : start + _LONGEST_ROW] if is_open else [line], delimiter=delimiter, strict=is_open)
    try:
        return next(reader), start + reader.line_num
    except csv.Error as error:
        literal = line.rstrip("\r\n").split(delimiter)
        if is_open and len(literal) == columns:
            return [cell.strip('"') for cell in literal], start + 1
        return f"cannot be parsed: {error}", start + 1


def _delimiter_of(line: str) -> str:
    """The most frequent of comma, semicolon and tab in the first line."""
    return max(",;\t", key=line.count)


def _json_rows(table: Path) -> Iterator[Line]:
    for number, line in enumerate(io.StringIO(_text_of(table), newline="\n"), start=1):
        if not line.strip():
            continue
        if any("\udc80" <= char <= "\udcff" for char in line):
            yield number, "not UTF-8"
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            yield number, "not JSON"
            continue
        yield number, row if isinstance(row, dict) else "not a JSON object"
