"""Run the steps of a plan over one shard, and write the result to a file that appears when it is complete."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from capivara_cli.pipeline.books import Books
from capivara_cli.pipeline.chain import Chain
from capivara_cli.pipeline.env import Tally
from capivara_cli.pipeline.rejects import storing_rejects
from capivara_cli.pipeline.source import counted
from capivara_cli.pipeline.stage import SurveyedShard
from capivara_cli.shards.archive import ShardWriter, open_shard
from capivara_cli.shards.recorded import Recorded
from capivara_cli.storage.claims import Claim
from capivara_cli.storage.digests import digest_text, new_hash
from capivara_cli.storage.files import replacing


@dataclass(frozen=True)
class ShardContent:
    """A shard to read, by path or URL. ``expected``: what is recorded of it; by default the manifest beside it says.

    ``made_from``: the input of which an earlier pass made it, if one did.
    """

    source: str
    expected: Recorded | None = None
    made_from: str = ""


@dataclass(frozen=True)
class WrittenShard:
    """A written shard: the counts of each step, its ``size`` in bytes, and the digest of its content."""

    tallies: list[Tally]
    size: int
    digest: str


def one_shard(
    chain: Chain, shard: ShardContent, target: Path, claim: Claim, books: Books, surveyed: SurveyedShard | None = None
) -> WrittenShard:
    """Run the steps over a shard and write ``target``, which appears when it is complete and still claimed.

    ``surveyed`` is for a first step that is a corpus stage. Raises ``LostClaim`` if another process took the claim.
    """
    digest = new_hash()
    with (
        open_shard(shard.source, expected=shard.expected) as reader,
        storing_rejects(chain, target.name, shard.made_from or shard.source),
        replacing(target) as out,
    ):
        writer = ShardWriter(out, reader.history + chain.described, digest)
        for sample in chain.over(counted(reader, chain.envs[0], chain.reads_captions), surveyed):
            writer.write(sample)
            books.advance()
            if claim.lost:
                claim.confirm()
        tallies = chain.close_books()
        writer.finish()
        claim.confirm()
        return WrittenShard(tallies, out.tell(), digest_text(digest))
