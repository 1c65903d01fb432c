"""The rows of CSV and TSV files as programs and people write them: quoting, delimiters and encodings differ."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

from capivara_cli.errors import CapivaraError
from capivara_cli.pipeline.env import Env
from capivara_cli.stages.importers._columns import find_columns, unique_names
from capivara_cli.stages.importers._sources import first_bytes

Line = tuple[int, dict[str, object] | str]
"""The line number of a row, and its cells by column name or the reason why it is bad."""

NOT_UTF_8 = "not UTF-8"
_LONGEST_ROW = 1000  # lines; a quote that stays open for longer is taken as a literal character
_SEPARATOR = re.compile(r'"?sep=(.)"?\s*', re.IGNORECASE)  # the first line of some tables of Excel
_TAB_CELL = re.compile(r'(?:"(?P<quoted>[^"]*(?:""[^"]*)*)"|(?P<plain>[^\t\r\n]*))(?P<end>\t|\r\n|\n|\r|\Z)')
_FLICKR = re.compile(r"(?P<image>[^\t]+)#\d+\t(?P<caption>.*)")
_DAMAGE = re.compile("[\udc80-\udcff]")
_LINE_END = re.compile(r"\r\n|\n|\r")
_RUN = re.compile(r"[^\x00-\x7f]{3,}")


def text_of(table: Path, env: Env) -> str:
    """The decoded text of a file; lines read as cp1252 are counted. Raises ``CapivaraError`` for an unreadable file."""
    try:
        data = table.read_bytes()
    except OSError as error:
        raise CapivaraError(f"{table}: cannot be read: {error.strerror}") from error
    text, guessed = decoded(data)
    if guessed:
        env.note(f"lines of {table.name} read as cp1252, as they are not UTF-8", guessed)
    return text


def decoded(data: bytes) -> tuple[str, int]:
    """A text in UTF-8 or UTF-16, and how many of its lines are in neither and are read as cp1252, as is plausible.

    Bytes that stay unknown become lone surrogates, see ``is_damaged``.
    """
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16", "replace"), 0
    if data[:4096].count(0) * 4 > len(data[:4096]):
        return data.decode("utf-16-le" if data[1:2] == b"\0" else "utf-16-be", "replace"), 0
    try:
        return data.decode("utf-8-sig"), 0
    except UnicodeDecodeError:
        return _guessed(data)


def is_damaged(text: str) -> bool:
    """Whether bytes of a text are in no known encoding."""
    return not text.isascii() and _DAMAGE.search(text) is not None


def _guessed(data: bytes) -> tuple[str, int]:
    """The text of a file that is not all UTF-8. A line that has other UTF-8 characters is damaged, not cp1252."""
    lines = data.decode("utf-8-sig", "surrogateescape").splitlines(keepends=True)
    western = [number for number, line in enumerate(lines) if is_damaged(line) and not _has_other_scripts(line)]
    guesses = {}
    for number in western:
        try:
            guesses[number] = lines[number].encode("utf-8", "surrogateescape").decode("cp1252")
        except UnicodeDecodeError:
            continue
    if not _is_western("".join(guesses.values())):
        guesses = {}
    for number, line in guesses.items():
        lines[number] = line
    return "".join(lines), len(guesses)


def _has_other_scripts(line: str) -> bool:
    return any(ord(char) > 127 and not "\udc80" <= char <= "\udcff" for char in line)


def _is_western(text: str) -> bool:
    """Whether cp1252 is plausible: its letters beyond ASCII stand alone, those of other encodings stand together."""
    count = sum(not char.isascii() for char in text)
    return sum(map(len, _RUN.findall(text))) * 2 <= count


def has_header(path: Path) -> bool:
    """Whether a .txt file begins with the names of image and caption columns, as Flickr8k's captions.txt does."""
    first = first_bytes(path, 4096).decode("utf-8-sig", "replace").partition("\n")[0]
    try:
        find_columns(first.strip().split(_delimiter_of(first)), str(path))
    except CapivaraError:
        return False
    return True


def rows_of_text(table: Path, delimiter: str, env: Env) -> Iterator[Line]:
    """The rows of a CSV or TSV file; ``delimiter`` "" for the one that its first line has."""
    lines = io.StringIO(text_of(table, env), newline="").readlines()
    first = next((number for number, line in enumerate(lines) if line.strip()), 0)
    if lines and (separator := _SEPARATOR.fullmatch(lines[first])):
        delimiter, first = separator[1], first + 1
    if first >= len(lines):
        return
    delimiter = delimiter or _delimiter_of(lines[first])
    rows = _tab_rows(lines, first) if delimiter == "\t" else _csv_rows(lines, first, delimiter)
    header: list[str] | None = None
    for number, cells in rows:
        if isinstance(cells, str):
            yield number, cells
        elif not any(cell.strip() for cell in cells):
            continue
        elif header is None:
            header = unique_names(cells)
        else:
            yield number, _row(header, cells, env)
    if header is not None and not any(line.strip() for line in lines[first + 1 :]):
        find_columns(header, str(table))  # a table without rows: an error about its columns is more useful


def rows_of_flickr(table: Path, env: Env) -> Iterator[Line]:
    """The rows of the .token files of Flickr8k and Flickr30k, which have no header: ``1000.jpg#0<TAB>A child …``."""
    for number, line in enumerate(_LINE_END.split(text_of(table, env)), start=1):
        match = _FLICKR.fullmatch(line)
        if match is None or is_damaged(line):
            if line.strip():
                yield number, NOT_UTF_8 if is_damaged(line) else "not IMAGE#NUMBER, a tab and a caption"
            continue
        yield number, {"image": match["image"], "caption": match["caption"]}


def is_flickr(path: Path) -> bool:
    """Whether a file is a .token file of Flickr8k or Flickr30k: ``Flickr8k.token.txt``, ``results_20130124.token``."""
    if not path.name.lower().endswith((".token", ".token.txt")):
        return False
    return _FLICKR.match(first_bytes(path, 4096).decode("utf-8-sig", "replace").partition("\n")[0]) is not None


def _delimiter_of(line: str) -> str:
    return max(",;\t|", key=line.count)


def _row(header: list[str], cells: list[str], env: Env) -> dict[str, object] | str:
    if any(is_damaged(cell) for cell in cells):
        return NOT_UTF_8
    if len(cells) > len(header) and any(cell.strip() for cell in cells[len(header) :]):
        return "more cells than columns"
    if len(cells) < len(header):
        env.note("rows with fewer cells than columns")
    return dict(zip(header, [*cells, *[""] * (len(header) - len(cells))], strict=False))


def _csv_rows(lines: list[str], first: int, delimiter: str) -> Iterator[tuple[int, list[str] | str]]:
    number, columns = first, 0
    while number < len(lines):
        start = number
        cells, number = _parse(lines, start, delimiter, columns)
        if isinstance(cells, list):
            columns = columns or len(cells)
        yield start + 1, cells


def _parse(lines: list[str], start: int, delimiter: str, columns: int) -> tuple[list[str] | str, int]:
    """The cells of the row that starts at a line (or why it is bad), and the number of the line after it.

    A line whose quotes are not those of CSV (``"stop" sign``, a quote never closed, which would swallow all rows after
    it) is read literally if that gives as many cells as there are columns.
    """
    line = lines[start]
    is_open = line.count('"') % 2 == 1
    rows = lines[start : start + _LONGEST_ROW] if is_open else [line]
    try:
        reader = csv.reader(rows, delimiter=delimiter, strict=True, skipinitialspace=delimiter == ",")
        return next(reader), start + reader.line_num
    except csv.Error as error:
        literal = line.rstrip("\r\n").split(delimiter)
        if len(literal) == columns:
            return [cell.strip('"') if cell.count('"') == 1 else cell for cell in literal], start + 1
        if not is_open:
            return next(csv.reader([line], delimiter=delimiter)), start + 1
        return f"cannot be parsed: {error}", start + 1


def _tab_rows(lines: list[str], first: int) -> Iterator[tuple[int, list[str] | str]]:
    """The rows between tabs. Quotes are characters of the text, unless the whole file quotes its cells as CSV does."""
    quoted = _quoted_rows(lines[first:]) if any('"' in line for line in lines) else None
    if quoted is not None:
        yield from ((first + number, cells) for number, cells in quoted)
        return
    for number, line in enumerate(lines[first:], start=first + 1):
        yield number, line.rstrip("\r\n").split("\t")


def _quoted_rows(lines: list[str]) -> list[tuple[int, list[str]]] | None:
    """The rows of a file between tabs that quotes its cells as CSV does; None if it does not.

    It does if no quote is outside of quoted cells, every row has as many cells as the first, and something shows it:
    doubled quotes, a quoted first row, rows that no other reading gives, or quotes around all cells with commas.
    """
    cells = _quoted_cells("".join(lines))
    if cells is None:
        return None
    rows: list[tuple[int, list[str]]] = []
    row: list[str] = []
    number = 1
    for text, is_quoted, end in cells:
        row.append(text.replace('""', '"') if is_quoted else text)
        if end != "\t":
            rows.append((number, row))
            row = []
        number += len(_LINE_END.findall(text + end))
    rows = [(number, row) for number, row in rows if any(row)]
    columns = len(rows[0][1])
    if any(len(row) != columns for _, row in rows):
        return None
    literal = all(line.count("\t") == columns - 1 for line in lines if line.strip())
    doubled = any('""' in text for text, is_quoted, _ in cells if is_quoted)
    commas = [is_quoted for text, is_quoted, _ in cells if "," in text]
    return rows if doubled or cells[0][1] or not literal or (commas and all(commas)) else None


def _quoted_cells(text: str) -> list[tuple[str, bool, str]] | None:
    """Each cell with whether it is quoted and what ends it; None if a quote is outside of quoted cells."""
    cells: list[tuple[str, bool, str]] = []
    position = 0
    while position < len(text):
        match = _TAB_CELL.match(text, position)
        if match is None or '"' in (match["plain"] or ""):
            return None
        cells.append((match["quoted"] or match["plain"] or "", match["quoted"] is not None, match["end"]))
        position = match.end()
    return cells
