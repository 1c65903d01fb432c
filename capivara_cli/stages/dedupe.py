"""Remove duplicate captions of an image, duplicate images, and images that are in eval sets or other shards.

Examples:
    capivara dedupe shards --out thinned
    capivara dedupe shards --images phash --out unique
    capivara dedupe shards --captions keep --against heldout --out clean
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from capivara_cli.models.clip_files import DEFAULT_MODEL, check_model
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.option_kinds import Languages, Names
from capivara_cli.pipeline.options import MODEL, SPEED, opt, parsed
from capivara_cli.pipeline.stage import Arrays, CorpusFunctions, stage
from capivara_cli.shards.archive import Stream
from capivara_cli.shards.inputs import find_shards
from capivara_cli.stages.deduplication.captions import CaptionSettings, with_fewer_captions
from capivara_cli.stages.deduplication.other_set_names import MATCHES, MatchSettings, expand_sets, reasons

if TYPE_CHECKING:
    from capivara_cli.models.clip import Clip
    from capivara_cli.stages.deduplication.image_facts import ImageExaminer
    from capivara_cli.stages.deduplication.images import ImageSettings
    from capivara_cli.stages.deduplication.other_sets import OtherSets

_CAPTIONS, _IMAGES, _OTHERS = "Captions of an image", "Duplicate images", "Images of other sets"


@dataclass(frozen=True)
class Options:
    threshold: float = opt(0.3, "captions more similar than this are near-duplicates", min=0, max=1, panel=_CAPTIONS)
    k_min: int = opt(3, "keep at least N captions of a language", min=1, panel=_CAPTIONS)
    lang: str = opt(
        "", "only captions in these languages [default: all]", kind=Languages("all", unlisted=True), panel=_CAPTIONS
    )
    paper: bool = opt(False, "Algorithm 1 as published, by words; it may keep fewer than --k-min", panel=_CAPTIONS)
    captions: Literal["thin", "keep"] = opt(
        "thin", "thin: remove near-duplicate captions; keep: keep all", panel=_CAPTIONS
    )
    images: Literal["keep", "exact", "phash", "embedding"] = opt(
        "keep", "remove by exact bytes, phash or embedding; keep: none", panel=_IMAGES
    )
    keep: Literal["first", "best"] = opt(
        "first", "the first image, or the best by caption score, then pixels", panel=_IMAGES
    )
    radius: int = opt(4, "phash: number of the 64 bits that may differ", min=0, max=10, panel=_IMAGES)
    similarity: float = opt(0.96, "embedding: duplicates have a higher cosine", min=0, max=1, panel=_IMAGES)
    clusters: int = opt(0, "embedding: compare within N clusters only; 0: all pairs", min=0, panel=_IMAGES)
    model: str = opt(DEFAULT_MODEL, "embedding: as for filter, whose embeddings are used", reads="model", panel=MODEL)
    pretrained: str = opt("", "open_clip weights [default: laion5b_s13b_b90k, the paper's]", reads="model", panel=MODEL)
    against: str = opt(
        "", "remove images that are in these too: xtd,flickr30k,heldout/", kind=Names(), reads="files",
        panel=_OTHERS, metavar="SETS", completes="evalsets",
    )  # fmt: skip
    against_by: str = opt(
        "id,bytes,phash",
        f"the same in {', '.join(MATCHES)}",
        kind=Names(tuple(MATCHES), "kind of match"),
        panel=_OTHERS,
    )
    data: str = opt("", "folder with your copy of an eval set", reads="files", panel=_OTHERS, metavar="DIR")
    split: str = opt("test", "split of the eval sets", panel=_OTHERS)
    batch_size: int = opt(64, "images examined at once", min=1, tuning=True, panel=SPEED)

    def check(self) -> None:
        """Raise ``CapivaraError`` for a set or model that is unknown or missing, before any shard is read."""
        if self.against:
            find_shards([other.name for other in expand_sets(self.against_names) if other.is_shards])
        if self.embeds:
            check_model(self.model, self.pretrained)

    @property
    def codes(self) -> frozenset[str]:
        """The codes of the languages to work on, empty for all."""
        return frozenset(parsed(self, "lang"))

    @property
    def against_names(self) -> tuple[str, ...]:
        """The names in ``--against``, () for none."""
        return parsed(self, "against")

    @property
    def matches(self) -> tuple[str, ...]:
        """The kinds of match in ``--against-by``, in the order of ``MATCHES``; () without ``--against``."""
        chosen = parsed(self, "against_by") if self.against else ()
        return tuple(match for match in MATCHES if match in chosen)

    @property
    def needed_facts(self) -> frozenset[str]:
        """The facts (names in ``MATCHES``) that each image needs."""
        own = {"exact": "bytes", "phash": "phash", "embedding": "embedding"}.get(self.images)
        return frozenset({*self.matches, own} if own else self.matches)

    @property
    def embeds(self) -> bool:
        """Whether images are compared by their embeddings."""
        return "embedding" in self.needed_facts

    @property
    def caption_settings(self) -> CaptionSettings:
        return CaptionSettings(self.captions == "thin", self.codes, self.k_min, self.threshold, self.paper)

    @property
    def image_settings(self) -> ImageSettings:
        from capivara_cli.stages.deduplication.images import ImageSettings

        return ImageSettings(self.images, self.keep == "best", self.radius, self.similarity, self.clusters)


def _survey(samples: Stream, options: Options, env: Env) -> Arrays:
    from capivara_cli.stages.deduplication import images

    return images.survey(samples, options.image_settings, _examiner(options, env), _others(options, env), env)


def _decide(surveys: Sequence[Callable[[], Arrays]], options: Options, env: Env) -> Iterator[Arrays]:
    from capivara_cli.stages.deduplication import images

    device = env.device if options.embeds else "cpu"  # without embeddings nothing is multiplied: torch is not needed
    return images.decide(surveys, options.image_settings, device)


def _apply(samples: Stream, survey: Arrays, decision: Arrays, options: Options, env: Env) -> Stream:
    from capivara_cli.stages.deduplication import images

    texts = reasons(options.against_names)
    for sample in images.apply(samples, survey, decision, options.image_settings, texts, env):
        yield from with_fewer_captions(sample, options.caption_settings, env)


# With --images, all shards are examined before anything is decided. Without it, one pass is enough.
CORPUS = CorpusFunctions(needed=lambda options: options.images != "keep", survey=_survey, decide=_decide, apply=_apply)


@stage("dedupe", Options, corpus=CORPUS, settings=("device", "max_failures"))
def dedupe(samples: Stream, options: Options, env: Env) -> Stream:
    """Remove exact duplicates, then near-duplicates, among the captions of each image and language; keep the order.

    Two captions are near-duplicates if the cosine of their character-trigram TF-IDF vectors is above ``--threshold``.
    While there are any, and more than ``--k-min`` captions are left, the caption most similar to all others is removed.

    ``--images`` also removes duplicate images over all shards. The first image of a group stays,
    or with ``--keep best`` the one with the best caption score, then the most pixels. ``--against`` removes images that
    are in eval sets or other shards. Perceptual hashes decide about photos; drawings on a plain background (texts,
    icons, charts) must also look alike in detail.
    """
    if CORPUS.needed(options):
        raise RuntimeError(f"dedupe --images {options.images} is decided over all shards by CORPUS")
    others = _others(options, env)
    if others is not None:
        from capivara_cli.stages.deduplication import images

        samples = images.without_known(samples, _examiner(options, env), others, env)
    for sample in samples:
        yield from with_fewer_captions(sample, options.caption_settings, env)


def _examiner(options: Options, env: Env) -> ImageExaminer:
    from capivara_cli.stages.deduplication.image_facts import ImageExaminer

    rank = options.images != "keep" and options.keep == "best"
    return ImageExaminer(options.needed_facts, _clip(options, env), options.batch_size, rank=rank)


def _others(options: Options, env: Env) -> OtherSets | None:
    """The sets of ``--against``, examined once per process; None without ``--against``."""
    if not options.against:
        return None
    from capivara_cli.stages.deduplication.image_facts import ImageExaminer
    from capivara_cli.stages.deduplication.other_sets import OtherSets

    settings = MatchSettings(
        options.against_names, options.matches, options.radius, options.similarity, options.data, options.split
    )

    def examined() -> OtherSets:
        clip = _clip(options, env) if "embedding" in options.matches else None
        return OtherSets(settings, ImageExaminer(frozenset(options.matches), clip, options.batch_size), env)

    return env.once(("against", settings, options.model, options.pretrained), examined)


def _clip(options: Options, env: Env) -> Clip | None:
    from capivara_cli.models.clip import load_once

    return load_once(env, options.model, options.pretrained) if options.embeds else None
