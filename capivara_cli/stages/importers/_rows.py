"""Photos with captions from the rows of tables: rows with the same image give one photo several captions."""

from __future__ import annotations

import itertools
import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from capivara_cli.errors import BadSample, CapivaraError, unknown
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings
from capivara_cli.shards.sample import Sample
from capivara_cli.stages.importers import _json_lists, _parquet_rows, _text_tables
from capivara_cli.stages.importers._columns import Columns, Row, find_columns
from capivara_cli.stages.importers._packing import PackOptions
from capivara_cli.stages.importers._photos import Photo, is_http_url, report_bad
from capivara_cli.stages.importers._sources import image_roots
from capivara_cli.stages.importers._text_tables import Line

DELIMITERS = {".csv": "", ".tsv": "\t", ".tab": "\t"}
JSON_LINES = (".jsonl", ".ndjson")
_SAMPLED = 200  # rows; their cells show which columns hold captions
_SPLITS = frozenset({"train", "training", "val", "valid", "validation", "dev", "test", "testing", "eval"})


@dataclass
class Rows:
    """The photos in the rows of tables, collected table by table. Photos keep the order of their first rows.

    ``root``: the folder that the names of images become relative to. ``splits``: the split of each image that has one.
    """

    root: Path
    options: PackOptions
    env: Env
    photos: dict[str, Photo] = field(default_factory=dict, init=False)
    splits: dict[str, str] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._lang = self.options.code  # parsing it for each row would take longer than the row

    def read(self, table: Path, split: str = "") -> None:
        """Collect the photos of one table, which holds one ``split`` or, if that is "", may name others.

        A row that cannot be parsed, names no image or an unknown language is counted as bad. Raises ``CapivaraError``
        if there are no rows, or no image or caption column.
        """
        rows = rows_of(table, self.env)
        first = list(itertools.islice(rows, _SAMPLED))
        if not first:
            raise CapivaraError(f"{table}: no rows", "the first line names the columns: image,caption,lang")
        known = KnownColumns(table, [row for _, row in first if isinstance(row, dict)])
        places = Places(self.root, table, self.options.images, split)
        for number, row in itertools.chain(first, rows):
            try:
                if isinstance(row, str):
                    raise BadSample(row)
                self._add(row, known.of(row), places)
            except BadSample as error:
                self.env.tally.read += 1
                report_bad(self.env, Sample(f"{table.stem}_line_{number}", {}), f"{table}:{number}", error.reason)
        known.note(self._lang, self.env)

    def chosen(self) -> list[Photo]:
        """The photos of the splits that ``--split`` names, else all. Raises ``CapivaraError`` for an unknown split."""
        present = set(self.splits.values())
        for split in self.options.splits:
            if split not in present:
                raise unknown("split", split, present)
        wanted = self.options.splits
        return [photo for key, photo in self.photos.items() if not wanted or self.splits.get(key) in wanted]

    def _add(self, row: Row, columns: Columns, places: Places) -> None:
        name = row.get(columns.image)
        if not isinstance(name, str) or not name.strip():
            raise BadSample("a row without an image")
        name = name.strip()
        captions = columns.captions_of(row, self._lang, self.env)
        key = places.key(name)
        if key not in self.photos:
            extra = columns.extra_of(row, self.env)
            if places.split:
                extra.setdefault("split", places.split)
            self.photos[key] = Photo(places.file(name), places.locations(name), extra=extra)
            if split := str(extra.get("split", "")) or places.split_of(name):
                self.splits[key] = split
        self.photos[key].captions += captions


class KnownColumns:
    """The columns of the rows of a table; in JSON lines each row may have others."""

    def __init__(self, table: Path, first: Sequence[Row]) -> None:
        self._table = table
        self._known: dict[tuple[str, ...], Columns] = {}
        self._cells: dict[str, list[object]] = {}
        for row in first:
            for name, cell in row.items():
                self._cells.setdefault(name, []).append(cell)
        self._doubtful: dict[str, tuple[Columns, int]] = {}

    def of(self, row: Row) -> Columns:
        """The columns of a row. If one is missing, raises ``CapivaraError`` in the first row, else ``BadSample``."""
        names = tuple(row)
        if names not in self._known:
            try:
                cells = {name: self._cells.get(name, [row[name]]) for name in names}
                self._known[names] = find_columns(names, str(self._table), cells)
            except CapivaraError as error:
                if not self._known:
                    raise
                raise BadSample("an image or a caption is missing") from error
        columns = self._known[names]
        if columns.doubtful:
            roles = columns.roles("")
            self._doubtful[roles] = (columns, self._doubtful.get(roles, (columns, 0))[1] + 1)
        return columns

    def note(self, default: str, env: Env) -> None:
        """Say which columns were taken as captions if their names left it open; ``default``: the code of ``--lang``."""
        for columns, count in self._doubtful.values():
            env.note(f"rows with {columns.roles(default)}", count)


class Places:
    """Where the images are that a table names: relative to its folder or to ``--images``, or at a URL."""

    def __init__(self, root: Path, table: Path, images: str, split: str) -> None:
        self.folder = Path(images) if images else table.parent
        self._roots = [self.folder, *image_roots(table, images, table.stem)[1:]]
        self._absolute = [self.folder.absolute(), self.folder.resolve()]
        within = table.parent.relative_to(root).as_posix() if table.parent.is_relative_to(root) else "."
        self._prefix = "" if images or within == "." else f"{within}/"
        self.split = split or (within.rpartition("/")[2] if self._prefix else "")

    def key(self, name: str) -> str:
        """The same for all spellings of one file: ``f.jpg``, ``./f.jpg``, its absolute path, other Unicode forms."""
        if is_http_url(name):
            return name
        return unicodedata.normalize("NFC", os.path.normpath(f"{self._absolute[0]}/{self._within(name)}"))

    def file(self, name: str) -> str:
        """The name relative to the root; keys then do not depend on the machine."""
        return name if is_http_url(name) else self._prefix + os.path.normpath(self._within(name))

    def locations(self, name: str) -> list[str]:
        """The paths to try in turn, or the one URL."""
        if is_http_url(name):
            return [name]
        names = [name, name.replace("\\", "/")] if "\\" in name else [name]
        return [str(root / each) for root in self._roots for each in names]

    def split_of(self, name: str) -> str:
        """The split that the first folder of a name is called after, "" if none."""
        first = self._within(name).partition("/")[0]
        return first if first.casefold() in _SPLITS else ""

    def _within(self, name: str) -> str:
        """The name as a path relative to the folder; that of an absolute path elsewhere is its last part."""
        if "\\" in name and not (self.folder / name).exists():
            name = name.replace("\\", "/")
        if not os.path.isabs(name):  # noqa: PTH117  much faster than a path, for each row
            return name
        path = Path(name)
        return next(
            (path.relative_to(base).as_posix() for base in self._absolute if path.is_relative_to(base)), path.name
        )


def split_in(stem: str) -> str:
    """The split that a table is called after: ``train.csv``, ``captions_val.jsonl``; "" if it names none or two."""
    found = [word for word in re.split(r"[-_ .]", stem) if word.casefold() in _SPLITS]
    return found[0] if len(found) == 1 else ""


def lists_captions(table: Path) -> bool:
    """Whether the first rows of a table have an image column and a caption column."""
    env = Env(Settings(), "pack")  # its notes are those of a first look
    rows = [row for _, row in itertools.islice(rows_of(table, env), _SAMPLED) if isinstance(row, dict)]
    try:
        return bool(rows) and bool(KnownColumns(table, rows).of(rows[0]).captions)
    except CapivaraError:
        return False


def rows_of(table: Path, env: Env) -> Iterator[Line]:
    """The rows of a table of any kind, with their numbers."""
    suffix = table.suffix.lower()
    if suffix in JSON_LINES:
        return _json_lists.rows_of_lines(table, env)
    if suffix == ".json":
        return _json_lists.rows_of_list(table, env)
    if suffix == ".parquet":
        return _parquet_rows.rows_of(table)
    if _text_tables.is_flickr(table):
        return _text_tables.rows_of_flickr(table, env)
    return _text_tables.rows_of_text(table, DELIMITERS.get(suffix, ""), env)
