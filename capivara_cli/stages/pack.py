"""Turn images and captions from elsewhere into shards: folders, CSV, TSV, JSONL, COCO, Karpathy, img2dataset, parquet.

capivara pack photos/captions.csv --out shards. The format is recognised; --format names it when it is not.
"""

from __future__ import annotations

from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.stage import stage
from capivara_cli.shards.archive import Stream
from capivara_cli.stages.importers import _packing


@stage("pack", _packing.PackOptions, begins=True)
def pack(samples: Stream, options: _packing.PackOptions, env: Env) -> Stream:
    """Yield one sample for each image of the sources, its bytes untouched; bad rows and images are counted."""
    for source in env.inputs:
        yield from _packing.samples(source, options, env)
