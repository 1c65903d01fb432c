"""Counts the samples that ``pack`` would write, without reading the photos."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from capivara_cli import registry
from capivara_cli.cli.dry_run.census import CaptionKind, Census, Origin, census_of
from capivara_cli.shards.inputs import find_shards
from capivara_cli.shards.sample import has_image_suffix
from capivara_cli.shards.unpacked import is_text_suffix
from capivara_cli.stages.pack import importer_of, listed

_PHOTO_BYTES = 60_000.0
"""Bytes of a sample if the sizes of the photos are unknown."""
_SCENE_BYTES = 2800.0
"""Bytes of a drawn scene with its caption."""


def census_of_sources(sources: Sequence[str], options: Any) -> Census:
    """Count the samples in sources of ``pack``. Raises its errors for a missing source or unknown format."""
    found = [_census(source, options) for source in sources]
    samples = sum(each.samples for each in found)
    size = sum(each.size for each in found)
    kind = CaptionKind(options.code, "")
    captions = sum(each.captions.get(kind, 0.0) * each.samples for each in found)
    how = "counted" if all(each.how == "counted" for each in found) else "sampled"
    return Census(
        _in_shards(samples, options.shard_size), size / samples if samples else 0.0,
        {kind: captions / samples if samples else 0.0}, how, Origin(tuple(sources)),
    )  # fmt: skip


def _in_shards(samples: float, size: int) -> tuple[float, ...]:
    whole, rest = divmod(samples, size)
    return (float(size),) * int(whole) + ((rest,) if rest else ())


def _census(source: str, options: Any) -> Census:
    importer = importer_of(source, options.format)
    count = _COUNTERS.get(importer)
    if count is None:
        return census_of(find_shards([source]))
    found = count(Path(source), options)
    captions = {CaptionKind(options.code, ""): found.captions / max(1, found.images)}
    return Census((float(found.images),), found.bytes or _PHOTO_BYTES, captions, found.how, Origin((source,)))


class Counted(NamedTuple):
    """Images and captions of a source; mean ``bytes`` of a sample, 0 if unknown."""

    images: int
    captions: int
    bytes: float = 0.0
    how: str = "counted"


def _scenes(path: Path, options: Any) -> Counted:
    number = path.name.partition(":")[2]
    count = int(number) if number.isdecimal() else registry.module("importers", "toy").DEFAULT_SCENES
    return Counted(count, count, _SCENE_BYTES)


def _images(folder: Path, options: Any) -> Counted:
    if folder.is_file():
        return Counted(1, folder.with_suffix(".txt").is_file(), folder.stat().st_size + 2048)
    sizes, captions = list[int](), 0
    for place, _, names in os.walk(folder):
        shown = [Path(place, name) for name in names if not name.startswith(".")]
        sizes += [path.stat().st_size for path in shown if has_image_suffix(path) and path.is_file()]
        captions += len({path.stem for path in shown if is_text_suffix(path.name) or path.suffix.lower() == ".json"})
    return Counted(len(sizes), captions, sum(sizes) / max(1, len(sizes)) + 2048)


def _listed(path: Path, options: Any) -> Counted:
    return Counted(*listed(str(path), options))


def _rows(path: Path, options: Any) -> Counted:
    import pyarrow.parquet

    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    rows = sum(pyarrow.parquet.ParquetFile(each).metadata.num_rows for each in files)
    return Counted(rows, rows, sum(each.stat().st_size for each in files) / max(1, rows))


_COUNTERS: dict[str, Callable[[Path, Any], Counted]] = {
    "toy": _scenes,
    "folder": _images,
    "table": _listed,
    "coco": _listed,
    "karpathy": _listed,
    "parquet": _rows,
}
"""Counting functions by importer; tars are counted as shards."""
