"""Keep a fixed share of the samples, chosen by key: to train on one part and evaluate on the other.

The same key is always in the same part, whatever the shard, the order or the machine.

Examples:
    capivara split shards --part train --out train
    capivara split shards --part heldout --fraction 0.2 --out heldout
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import opt
from capivara_cli.pipeline.stage import stage
from capivara_cli.shards.archive import Stream


@dataclass(frozen=True)
class Options:
    part: Literal["train", "heldout"] = opt("train", "the part to keep")
    fraction: float = opt(0.1, "share of the samples that is held out", min=0.0, max=1.0)


def _fraction_kept(options: Options) -> float:
    return options.fraction if options.part == "heldout" else 1 - options.fraction


@stage("split", Options, keeps=_fraction_kept, reads_captions=False, settings=("seed",))
def split(samples: Stream, options: Options, env: Env) -> Stream:
    """Yield the samples of one part; those of the other part are dropped and counted."""
    for sample in samples:
        part = "heldout" if position(sample.key, env.seed) < options.fraction else "train"
        if part == options.part:
            yield sample
        else:
            env.drop(sample, f"in the {part} part")


def position(key: str, seed: int) -> float:
    """The position of a key in [0, 1): uniform over keys, and the same on every machine."""
    digest = hashlib.sha256(f"{seed}:{key}".encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
