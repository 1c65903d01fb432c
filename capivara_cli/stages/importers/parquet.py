"""Hugging Face parquet files with an image column ({bytes, path} or plain bytes) and caption columns. Needs pyarrow.

Captions are texts or lists of texts, in columns found by name as in a table. ``--split test`` reads the files whose
names begin with "test" (``test-00000-of-00001.parquet``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from capivara_cli.errors import BadSample, CapivaraError, unknown
from capivara_cli.pipeline.env import Env
from capivara_cli.shards.images import image_suffix
from capivara_cli.shards.sample import IMAGE_SUFFIXES, Sample, encode_json
from capivara_cli.stages.importers._columns import Columns, find_columns
from capivara_cli.stages.importers._packing import PackOptions
from capivara_cli.stages.importers._photos import Photo, keys_of, report_bad
from capivara_cli.stages.importers._sources import first_bytes

_ROWS_AT_ONCE = 64  # images are large; a row group may hold thousands


def recognise(source: Path) -> bool:
    if source.is_file():
        return source.suffix == ".parquet" or first_bytes(source, 4) == b"PAR1"
    return source.is_dir() and bool(_files_of(source))


def read(source: Path, options: PackOptions, env: Env) -> Iterator[Sample]:
    """Yield one sample per row.

    Raises ``CapivaraError`` if pyarrow is missing, a file cannot be read, a column is missing, or for an unknown split.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise CapivaraError(f"{source}: reading parquet needs pyarrow", "pip install 'capivara[parquet]'") from error
    for path in _chosen(source, options.splits):
        yield from _rows_of(path, options, env)


def _files_of(source: Path) -> list[Path]:
    return sorted(source.rglob("*.parquet")) if source.is_dir() else [source]


def _chosen(source: Path, splits: Sequence[str]) -> list[Path]:
    files = _files_of(source)
    if not splits or not source.is_dir():
        return files
    present = {path.name.partition("-")[0].removesuffix(".parquet") for path in files}
    for split in splits:
        if split not in present:
            raise unknown("split", split, present)
    return [path for path in files if path.name.partition("-")[0].removesuffix(".parquet") in splits]


def _rows_of(path: Path, options: PackOptions, env: Env) -> Iterator[Sample]:
    import pyarrow

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            columns = find_columns(file.schema_arrow.names, str(path))
            for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE):
                for row in batch.to_pylist():
                    env.tally.read += 1
                    yield from _sample(path, number, row, columns, options, env)
                    number += 1
    except (pyarrow.ArrowException, OSError) as error:
        raise CapivaraError(f"{path}: cannot be read after row {number}: {error}") from error


def _sample(
    path: Path, number: int, row: dict[str, object], columns: Columns, options: PackOptions, env: Env
) -> Iterator[Sample]:
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
        photo = Photo(name or key, [], captions, columns.extra_of(row))
        suffix = suffix if suffix in IMAGE_SUFFIXES else image_suffix(data)
    except BadSample as error:
        report_bad(env, Sample(key, {}), f"{path}: row {number}", error.reason)
        return
    yield Sample(key, {suffix: data, "json": encode_json(photo.document())})


def _beside(path: Path, name: str, options: PackOptions) -> bytes:
    """The bytes of an image file that a row names, relative to ``--images`` or to the parquet file."""
    if not name:
        raise BadSample("no image")
    try:
        return ((Path(options.images) if options.images else path.parent) / name).read_bytes()
    except (OSError, ValueError) as error:
        raise BadSample("no such image file") from error
