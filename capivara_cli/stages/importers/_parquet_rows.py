"""The rows of a parquet file. Needs pyarrow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from capivara_cli.errors import CapivaraError
from capivara_cli.stages.importers._columns import unique_names

if TYPE_CHECKING:
    import pyarrow.parquet

_ROWS_AT_ONCE = 64  # images are large; a row group may hold thousands


def rows_of(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    """The rows, numbered from 0, by column name. Raises ``CapivaraError`` if the file cannot be read."""
    import pyarrow

    number = 0
    try:
        with opened(path) as file:
            names = unique_names(file.schema_arrow.names)
            for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE):
                for row in batch.rename_columns(names).to_pylist():
                    yield number, row
                    number += 1
    except (pyarrow.ArrowException, OSError) as error:
        raise CapivaraError(f"{path}: cannot be read after row {number}: {error}") from error


def embeds_images(path: Path, column: str) -> bool:
    """Whether a column holds the images themselves and not their names or URLs."""
    import pyarrow

    with opened(path) as file:
        schema = file.schema_arrow
        kind = schema.types[unique_names(schema.names).index(column)]
    return not (pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind))


def opened(path: Path) -> pyarrow.parquet.ParquetFile:
    """The file. Raises ``CapivaraError`` if pyarrow is missing or the file is no parquet file."""
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise CapivaraError(f"{path}: reading parquet needs pyarrow", "pip install 'capivara[parquet]'") from error
    try:
        return pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise CapivaraError(f"{path}: cannot be read: {error}") from error
