"""Turn images and captions from elsewhere into shards: folders, CSV, TSV, JSONL, COCO, Karpathy, img2dataset, parquet.

capivara pack photos/captions.csv --out shards. The format is recognised; --format names it when it is not.
"""

from __future__ import annotations

from capivara_cli import packing
from capivara_cli.shards import Stream
from capivara_cli.stage import Env, stage


@stage("pack", packing.PackOptions, begins=True)
def pack(samples: Stream, options: packing.PackOptions, env: Env) -> Stream:
    """Yield one sample for each image of the sources, its bytes untouched; bad rows and images are counted."""
    for source in env.inputs:
        yield from packing.samples(source, options, env)
