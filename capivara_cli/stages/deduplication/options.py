"""What ``capivara dedupe`` can be asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from capivara_cli import languages
from capivara_cli.errors import UsageError
from capivara_cli.models.clip_files import DEFAULT_MODEL, check_model
from capivara_cli.pipeline.options import opt

WAYS = ("id", "bytes", "phash", "embedding")
"""How an image is known again in another set, the cheapest and surest first."""


@dataclass(frozen=True)
class Options:
    threshold: float = opt(0.3, "captions more alike than this are near-duplicates", min=0, max=1)
    k_min: int = opt(3, "never thin out below this many captions of a language", min=1)
    lang: str = opt("", "only these languages, comma-separated [default: all]")
    paper: bool = opt(False, "Algorithm 1 to the letter: words, k-min not kept, unlike captions lost")
    captions: Literal["thin", "keep"] = opt("thin", "keep: leave captions as they are, only look at the images")
    images: Literal["keep", "exact", "phash", "embedding"] = opt(
        "keep", "of images alike over all shards keep one: same bytes, near perceptual hash, near CLIP embedding"
    )
    keep: Literal["first", "best"] = opt("first", "the image that stays; best: best caption score, then most pixels")
    radius: int = opt(4, "phash: bits of the 64 that may differ", min=0, max=10)
    similarity: float = opt(0.96, "embedding: images with a cosine above this are near-duplicates", min=0, max=1)
    clusters: int = opt(0, "embedding: compare within so many clusters; 0: all pairs up to 10 million images", min=0)
    model: str = opt(DEFAULT_MODEL, "embedding: the model, as for filter; embeddings it has stored are used")
    pretrained: str = opt("", "open_clip weights [default: the paper's, laion5b_s13b_b90k, for its model]")
    against: str = opt("", "leave out images of these eval sets and shards, comma-separated: xtd,flickr30k,heldout/")
    against_by: str = opt("id,bytes,phash", "how an image is known again: id, bytes, phash, embedding")
    data: str = opt("", "folder of an eval set that you have a copy of, as for eval")
    split: str = opt("test", "split of the eval sets")
    batch_size: int = opt(64, "images looked at together", min=1, tuning=True)

    def check(self) -> None:
        _ = self.codes, self.ways
        if self.against:
            from capivara_cli.stages.deduplication.other_sets import sets_of

            sets_of(self.against)
        if self.embeds:
            check_model(self.model, self.pretrained)

    @property
    def codes(self) -> frozenset[str]:
        """The languages to work on, empty for all."""
        return frozenset(languages.get(part.strip()).code for part in self.lang.split(",") if part.strip())

    @property
    def ways(self) -> tuple[str, ...]:
        """``--against-by`` in the order of ``WAYS``; () without ``--against``."""
        asked = [part.strip() for part in self.against_by.split(",") if part.strip()]
        if wrong := [way for way in asked if way not in WAYS]:
            raise UsageError(f"--against-by {wrong[0]}: there is {', '.join(WAYS)}")
        if self.against and not asked:
            raise UsageError("--against-by: names no way", f"there is {', '.join(WAYS)}")
        return tuple(way for way in WAYS if way in asked) if self.against else ()

    @property
    def looks(self) -> frozenset[str]:
        """What of an image has to be known, of ``WAYS``."""
        own = {"exact": "bytes", "phash": "phash", "embedding": "embedding"}.get(self.images)
        return frozenset({*self.ways, own} - {None})  # type: ignore[arg-type]

    @property
    def embeds(self) -> bool:
        return "embedding" in self.looks
