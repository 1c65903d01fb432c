"""The stages as functions over any iterable of samples. Their options are those of the commands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from capivara_cli.library._calls import call
from capivara_cli.library._options import Keywords, keywords, texts_of
from capivara_cli.library.pipeline import Pipeline, over
from capivara_cli.library.sources import GivenFiles, SampleSource, StrPath

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from capivara_cli.library.keywords import (
        CaptionKeywords,
        DedupeKeywords,
        FilterKeywords,
        PackKeywords,
        RewriteKeywords,
        SplitKeywords,
        TranslateKeywords,
    )

_SHARED = ("seed", "device", "max_failures")
PACK = Keywords("pack", ("seed", "max_failures"))
CAPTION = Keywords("caption", _SHARED)
REWRITE = Keywords("rewrite", _SHARED)
TRANSLATE = Keywords("translate", _SHARED)
FILTER = Keywords("filter", _SHARED)
DEDUPE = Keywords("dedupe", _SHARED)
SPLIT = Keywords("split", ("seed",))


@keywords(PACK)
def pack(sources: StrPath | Sequence[StrPath], **options: Unpack[PackKeywords]) -> Pipeline:
    """Samples from images and captions: folders, tables, JSON files, shards of other programs, and ``toy:N``.

    Raises ``CapivaraError`` for a source that is missing or of an unknown form.

    >>> scenes = capivara.pack("toy:4")
    >>> [sample.captions[0].lang for sample in scenes]
    ['en', 'en', 'en', 'en']
    """
    with call(keywords=PACK.flags):
        inputs = texts_of(sources)
        parsed, _, _ = PACK.parse(options)
        parsed.check_sources(inputs)
    return over(PACK, GivenFiles(inputs), options)


@keywords(CAPTION)
def caption(samples: SampleSource, **options: Unpack[CaptionKeywords]) -> Pipeline:
    """Append ``n`` captions to every image, written by a captioner.

    Raises ``CapivaraError`` for wrong options.

    >>> captioned = capivara.caption(capivara.read("shards"), captioner="toy", n=2)
    >>> [caption.by for caption in next(iter(captioned)).captions][-2:]
    ['toy-captioner', 'toy-captioner']
    """
    return over(CAPTION, samples, options)


@keywords(REWRITE)
def rewrite(samples: SampleSource, **options: Unpack[RewriteKeywords]) -> Pipeline:
    """Append ``n`` rewrites of every caption in ``lang``; each records its source text.

    Raises ``CapivaraError`` for wrong options.

    >>> rewritten = capivara.rewrite(capivara.read("shards"), rewriter="toy")
    >>> next(iter(rewritten)).captions[-1].by
    'rewrite:toy'
    """
    return over(REWRITE, samples, options)


@keywords(TRANSLATE)
def translate(samples: SampleSource, **options: Unpack[TranslateKeywords]) -> Pipeline:
    """Append a translation of every caption in ``from_`` to every language of ``lang``.

    Raises ``CapivaraError`` for wrong options; iterating raises it if no sample had a caption to translate.

    >>> pt = capivara.translate(capivara.read("shards"), lang="pt", translator="toy")
    >>> next(iter(pt)).captions[-1].lang
    'pt'
    """
    return over(TRANSLATE, samples, options)


@keywords(FILTER)
def filter(samples: SampleSource, **options: Unpack[FilterKeywords]) -> Pipeline:  # noqa: A001  the name of the stage
    """Score every caption against its image, store the scores, and drop captions or samples.

    ``top_fraction``, ``quantile`` and the rule ``boilerplate`` need all samples: they are stored in a temporary file.
    Raises ``CapivaraError`` for wrong options, and for a model that cannot be loaded.

    >>> best = capivara.filter(capivara.read("shards"), model="toy", top_k=1)
    >>> [len(sample.captions) for sample in best]
    [1, 1, 1, 1, 1, 1]
    """
    return over(FILTER, samples, options)


@keywords(DEDUPE)
def dedupe(samples: SampleSource, **options: Unpack[DedupeKeywords]) -> Pipeline:
    """Drop near-duplicate captions of an image, and with ``images`` or ``against`` duplicate images.

    Comparing images needs all samples: they are stored in a temporary file. Raises ``CapivaraError`` for wrong options.

    >>> distinct = capivara.dedupe(capivara.read("shards"), images="exact")
    >>> len(list(distinct)), distinct.tally.dropped.total()
    (6, 0)
    """
    return over(DEDUPE, samples, options)


@keywords(SPLIT)
def split(samples: SampleSource, **options: Unpack[SplitKeywords]) -> Pipeline:
    """Keep one part of the samples, ``train`` or ``heldout``; which one a sample is in depends on its key and ``seed``.

    Raises ``UsageError`` for wrong options.

    >>> shards = capivara.read("shards")
    >>> heldout, train = (capivara.split(shards, part=part, fraction=0.5) for part in ("heldout", "train"))
    >>> len(list(heldout)) + len(list(train))
    6
    """
    return over(SPLIT, samples, options)
