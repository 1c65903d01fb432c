"""Parquet files with images ({bytes, path} or bytes), or with the names or URLs of images, and caption columns.

Hugging Face and img2dataset write them. Columns are found by name as in a table. ``--split test`` reads the files whose
names begin with "test" (``test-00000-of-00001.parquet``). Needs pyarrow.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

from capivara_cli.errors import BadSample, unknown
from capivara_cli.pipeline.env import Env
from capivara_cli.shards.images import image_suffix
from capivara_cli.shards.sample import IMAGE_SUFFIXES, Sample
from capivara_cli.stages.importers import _parquet_rows
from capivara_cli.stages.importers._columns import Columns, Row
from capivara_cli.stages.importers._packing import PackOptions
from capivara_cli.stages.importers._photos import Photo, check_image_folder, file_of, keys_of, report_bad, samples_of
from capivara_cli.stages.importers._rows import KnownColumns, Rows
from capivara_cli.stages.importers._sources import first_bytes, is_metadata_of_img2dataset

_SAMPLED = 64  # rows; their images are in memory


def recognise(source: Path) -> bool:
    if source.is_file():
        return source.suffix == ".parquet" or first_bytes(source, 4) == b"PAR1"
    return source.is_dir() and bool(_files_of(source))


def read(source: Path, options: PackOptions, env: Env) -> Iterator[Sample]:
    """Yield one sample per row, or if rows name images, one per image with the captions of all its rows.

    Raises ``CapivaraError`` if pyarrow is missing, a file cannot be read, a column is missing, or for an unknown split.
    """
    for path in _chosen(source, options.splits):
        rows = _parquet_rows.rows_of(path)
        first = list(itertools.islice(rows, _SAMPLED))
        if not first:
            env.note("parquet files without rows")
            continue
        sampled = [row for _, row in first]
        if _parquet_rows.embeds_images(path, KnownColumns(path, sampled).of(sampled[0]).image):
            columns = KnownColumns(path, sampled)
            for number, row in itertools.chain(first, rows):
                env.tally.read += 1
                yield from _sample(path, number, row, columns.of(row), options, env)
            columns.note(options.code, env)
        else:
            yield from _named(path, options, env)


def _named(path: Path, options: PackOptions, env: Env) -> Iterator[Sample]:
    """The samples of a file that names images, as a table does."""
    rows = Rows(path.parent, options, env)
    rows.read(path)
    photos = list(rows.photos.values())
    check_image_folder(photos, path)
    return samples_of(photos, env)


def _files_of(source: Path) -> list[Path]:
    """The files, without those that list the images of a folder (imagefolder, img2dataset's files)."""
    if not source.is_dir():
        return [source]
    files = (path for path in source.rglob("*.parquet") if path.name.lower() != "metadata.parquet")
    return sorted(path for path in files if not is_metadata_of_img2dataset(path))


def _chosen(source: Path, splits: Sequence[str]) -> list[Path]:
    files = _files_of(source)
    if not splits or not source.is_dir():
        return files
    present = {path.name.partition("-")[0].removesuffix(".parquet") for path in files}
    for split in splits:
        if split not in present:
            raise unknown("split", split, present)
    return [path for path in files if path.name.partition("-")[0].removesuffix(".parquet") in splits]


def _sample(path: Path, number: int, row: Row, columns: Columns, options: PackOptions, env: Env) -> Iterator[Sample]:
    cell = row[columns.image]
    image = cell if isinstance(cell, dict) else {"bytes": cell}
    file = image.get("path")
    name = file if isinstance(file, str) else ""
    key = keys_of(env).of_path(name or f"{path.stem}-{number:07d}")
    try:
        data = image.get("bytes") or _beside(path, name, options)
        if not isinstance(data, bytes):
            raise BadSample("no image")
        suffix = name.rpartition(".")[2].lower()
        captions = columns.captions_of(row, options.code, env)
        photo = Photo(name or key, [], captions, columns.extra_of(row, env))
        suffix = suffix if suffix in IMAGE_SUFFIXES else image_suffix(data)
    except BadSample as error:
        report_bad(env, Sample(key, {}), f"{path}: row {number}", error.reason)
        return
    yield Sample(key, {suffix: data, "json": photo.json()})


def _beside(path: Path, name: str, options: PackOptions) -> bytes:
    """The bytes of an image file that a row names, relative to ``--images`` or to the parquet file."""
    if not name:
        raise BadSample("no image")
    return file_of([str((Path(options.images) if options.images else path.parent) / name)])[1]
