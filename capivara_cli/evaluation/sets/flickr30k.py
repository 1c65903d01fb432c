"""Flickr30k, Karpathy's split: 1,000 test images with 5 English captions each (Young et al. 2014).

The test split is downloaded on first use; ``--data DIR`` reads all three splits from your copy. The images are for
non-commercial research only and are not part of capivara.
"""

from __future__ import annotations

from capivara_cli.evaluation.evalset import EvalSet
from capivara_cli.evaluation.sets._karpathy import Hub, Karpathy
from capivara_cli.pipeline.env import Env

COUNTS = {"train": 29_000, "val": 1_014, "test": 1_000}

FLICKR30K = Karpathy(
    name="flickr30k",
    title="Flickr30k, Karpathy split",
    annotations="dataset_flickr30k.json",
    folders=("flickr30k-images",),
    layout="--data DIR takes your copy, with DIR/dataset_flickr30k.json (Karpathy's splits, 36 MB) and "
    "DIR/flickr30k-images/*.jpg (31,783 images, 4 GB)",
    licence="Flickr terms of use; non-commercial research only",
    hub=Hub(
        repo="nlphuji/flickr_1k_test_image_text_retrieval",
        table="test_1k_flickr.csv",
        archive="images_flickr_1k_test.zip",
        what="the captions and images of the Flickr30k test split",
        size="142 MB",
    ),
)


def languages(variant: str) -> tuple[str, ...]:
    return ("en",)


def load(variant: str, *, lang: str, data: str, split: str, env: Env) -> EvalSet:
    """The English captions and images of one split, from ``data``, or from the hub for the test split."""
    return FLICKR30K.load(variant, lang, data, split, COUNTS)
