"""Turn images and captions into shards: from folders, CSV, TSV, JSONL, COCO, Karpathy, img2dataset or parquet.

The format is detected, unless --format names it.

Arguments:
    SOURCE: folders, tables, lists, tar or parquet files, images; toy:N draws N scenes of the toy world

Examples:
    capivara pack photos/captions.csv --out shards
    capivara pack photos --lang pt --out shards
    capivara pack toy:600 --out shards
"""

from __future__ import annotations

from pathlib import Path

from capivara_cli import registry
from capivara_cli.errors import BadSample
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings
from capivara_cli.pipeline.stage import stage
from capivara_cli.shards import unpacked
from capivara_cli.shards.archive import Stream
from capivara_cli.stages.importers import _packing, _sources


@stage("pack", _packing.PackOptions, begins=True, settings=("seed", "max_failures"))
def pack(samples: Stream, options: _packing.PackOptions, env: Env) -> Stream:
    """Yield one sample for each image of the sources, with the file's own bytes; bad rows and images are counted."""
    yield from _packing.samples_of_sources(env.inputs, options, env)


def importer_of(source: str, wanted: str = "auto") -> str:
    """The name of the importer that reads a source. Raises ``CapivaraError`` if none does, or ``wanted`` is unknown."""
    return _packing.importer_of(source, wanted)


def listed(source: str, options: _packing.PackOptions) -> tuple[int, int]:
    """How many images and captions a table or JSON file lists. Raises the errors of ``pack``."""
    photos = registry.module("importers", importer_of(source, options.format)).photos
    found = photos(Path(source), options, Env(Settings(), "pack"))
    return len(found), sum(len(photo.captions) for photo in found)


def is_packed(path: Path) -> bool:
    """Whether a path is a shard, or a folder of shards, whose first sample has capivara's list of captions."""
    if not _sources.is_tar(path):
        return False
    try:
        first = _sources.first_sample(path)
    except BadSample:
        return False  # pack will count and drop the sample
    if first is None or unpacked.is_packed(first) is False:
        return False
    return isinstance(first.document.get("captions"), list)
