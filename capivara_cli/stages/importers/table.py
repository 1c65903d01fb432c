"""A CSV, TSV, JSON-lines or JSON list of image files or URLs with captions, or a folder that holds such tables.

Columns are found by name (see ``_columns``). Rows with the same image give it several captions; images keep the order
of their first rows. Paths are relative to the table's folder, or to ``--images``. A folder holds one table, one called
metadata or captions, a table for each split (``train.csv``, ``captions_val.csv``) or, as Hugging Face's imagefolder
does, a metadata file in the folder of each split.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from capivara_cli.errors import CapivaraError
from capivara_cli.pipeline.env import Env
from capivara_cli.shards.sample import Sample, has_image_suffix
from capivara_cli.stages.importers import _json_lists, _text_tables
from capivara_cli.stages.importers._packing import PackOptions
from capivara_cli.stages.importers._photos import Photo, check_image_folder, samples_of
from capivara_cli.stages.importers._rows import DELIMITERS, JSON_LINES, Rows, lists_captions, split_in
from capivara_cli.stages.importers._sources import json_lists

_SUFFIXES = (*DELIMITERS, *JSON_LINES)
_METADATA = frozenset({"metadata.csv", "metadata.jsonl", "metadata.parquet"})
_DEEPEST = 3  # data/train/metadata.jsonl


def recognise(source: Path) -> bool:
    return bool(_tables_of(source))


def read(source: Path, options: PackOptions, env: Env) -> Iterator[Sample]:
    """Yield one sample per image.

    A row that cannot be decoded or parsed, names no image or names an unknown language is counted as bad. Raises
    ``CapivaraError`` if there are no rows, no image or caption column, or for an unknown split.
    """
    return samples_of(photos(source, options, env), env)


def photos(source: Path, options: PackOptions, env: Env) -> list[Photo]:
    """The photos of all tables, which are held in memory, because rows may come in any order."""
    rows = Rows(source if source.is_dir() else source.parent, options, env)
    tables = _tables_of(source) or [source]
    for table in tables:
        rows.read(table, split_in(table.stem) if len(tables) > 1 else "")
    found = rows.chosen()
    check_image_folder(found, tables[0])
    if source.is_dir():
        _count_unnamed(source, list(rows.photos.values()), env)
    return found


def _tables_of(source: Path) -> list[Path]:
    """The tables: the source itself, or those of the folder."""
    if source.is_file():
        return [source] if _is_table(source) or _json_lists.is_json_list(source) else []
    if not source.is_dir():
        return []
    files = _files_in(source)
    tables = [path for path in files if _is_table(path) and ".lemma." not in path.name.lower()]  # no captions
    named = [path for path in files if path.name.lower() in _METADATA]
    named += [path for path in tables if path.stem.lower() in ("metadata", "captions") and path not in named]
    if len(named or tables) == 1:
        return named or tables
    if not tables and (nested := _metadata_below(source)):
        return nested
    of_splits = [path for path in tables if split_in(path.stem)]
    if len(of_splits) > 1 and not named and all(map(lists_captions, of_splits)):
        return of_splits
    lists = [path for path in json_lists(source) if _json_lists.is_json_list(path)]
    lists = [path for path in lists if _json_lists.lists_captions(path)]
    return lists if len(lists) == 1 and not tables else []


def _is_table(path: Path) -> bool:
    if _text_tables.is_flickr(path):
        return True
    if path.suffix.lower() == ".txt":
        return path.stem.lower() == "captions" and _text_tables.has_header(path)
    return path.suffix.lower() in _SUFFIXES and path.name != "manifest.jsonl"


def _metadata_below(folder: Path) -> list[Path]:
    """The metadata files in the folders of splits, at most three levels down, in the order of names."""
    found: list[Path] = []
    for depth in range(2, _DEEPEST + 1):
        found += [path for path in folder.glob("*/" * (depth - 1) + "metadata.*") if path.name.lower() in _METADATA]
    return sorted(path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))


def _files_in(folder: Path) -> list[Path]:
    """The files of a folder in the order of names, without hidden ones."""
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise CapivaraError(f"{folder}: cannot be read: {error.strerror}") from error
    return [path for path in paths if not path.name.startswith(".") and path.is_file()]


def _count_unnamed(folder: Path, photos: list[Photo], env: Env) -> None:
    """Count the images of a folder that no table of it names."""
    named = {_identity(location) for photo in photos for location in photo.locations}
    paths = (os.path.join(parent, name) for parent, _, names in os.walk(folder) for name in names)  # noqa: PTH118
    images = (path for path in paths if has_image_suffix(Path(path)) and not Path(path).name.startswith("."))
    if count := sum(_identity(path) not in named for path in images):
        env.note("images that no row names", count)


def _identity(path: str) -> str:
    return unicodedata.normalize("NFC", os.path.abspath(path))  # noqa: PTH100  links stay links
