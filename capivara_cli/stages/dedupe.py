"""Thin out captions of an image that say the same, keep one of near-duplicate images, keep out those of eval sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.stage import Arrays, Corpus, stage
from capivara_cli.shards.archive import Stream
from capivara_cli.stages.deduplication.options import Options

__all__ = ["Options", "dedupe"]


def _survey(samples: Stream, options: Options, env: Env) -> Arrays:
    from capivara_cli.stages.deduplication import images

    return images.survey(samples, options, env)


def _decide(surveys: Sequence[Callable[[], Arrays]], options: Options, env: Env) -> Iterator[Arrays]:
    from capivara_cli.stages.deduplication import images

    return images.decide(surveys, options, env)


def _apply(samples: Stream, survey: Arrays, decision: Arrays, options: Options, env: Env) -> Stream:
    from capivara_cli.stages.deduplication import images

    return images.apply(samples, survey, decision, options, env)


# `dedupe --images` looks at all shards before it decides; without it one pass over each is enough.
CORPUS = Corpus(wanted=lambda options: options.images != "keep", survey=_survey, decide=_decide, apply=_apply)


@stage("dedupe", Options, corpus=CORPUS)
def dedupe(samples: Stream, options: Options, env: Env) -> Stream:
    """Remove exact, then near-duplicate captions of each image, per language; the order of the others stays.

    A near-duplicate is a caption whose character-trigram TF-IDF cosine to another is above ``--threshold``. As long
    as there is one and more than ``--k-min`` captions are left, the caption that is most alike to all others goes.

    ``--images`` keeps one of the images that are alike over all shards: an image goes when it is near one that stays,
    the first or, with ``--keep best``, the one with the best caption score, then the most pixels. ``--against`` leaves
    out images that are in eval sets or other shards.
    """
    from capivara_cli.stages.deduplication.captions import with_captions_thinned

    if CORPUS.wanted(options):
        raise RuntimeError(f"dedupe --images {options.images} is decided over all shards, not in one pass")
    if options.against:
        from capivara_cli.stages.deduplication import images

        yield from images.keep_out(samples, options, env)
        return
    for sample in samples:
        yield from with_captions_thinned(sample, options, env)
