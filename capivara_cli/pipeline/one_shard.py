"""One shard through the steps of a plan into a file that appears when it is complete."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from capivara_cli.pipeline.books import Watch, keeping_rejects
from capivara_cli.pipeline.chain import Chain
from capivara_cli.pipeline.env import Tally
from capivara_cli.pipeline.source import counted
from capivara_cli.pipeline.stage import Arrays
from capivara_cli.shards.archive import ShardWriter, reading
from capivara_cli.storage.claims import Claim
from capivara_cli.storage.files import replacing

Known = tuple[Arrays, Arrays]
"""The survey and the decision of a shard."""


@dataclass(frozen=True)
class Made:
    """One shard that was written."""

    tallies: list[Tally]
    size: int


def one_shard(chain: Chain, shard: str, target: Path, claim: Claim, watch: Watch, known: Known | None = None) -> Made:
    """A shard through the steps into a file that appears when it is whole and still ours to make."""
    with reading(shard) as reader, keeping_rejects(chain, target.name), replacing(target) as out:
        writer = ShardWriter(out, reader.history + chain.described)
        for sample in chain.over(counted(reader, chain.envs[0]), known):
            writer.write(sample)
            watch.advance()
            if claim.lost:
                claim.confirm()
        tallies = chain.close_books()
        writer.finish()
        claim.confirm()
        return Made(tallies, out.tell())
