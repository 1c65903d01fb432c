"""MS COCO 2014, Karpathy's split: 5,000 test images with 5 or more English captions each (Lin et al. 2014).

The test split is downloaded on first use; ``--data DIR`` reads the splits test, val, restval and train from your copy.
Karpathy's test and val are both from COCO's val2014. "restval", the rest of val2014, is usually trained on together
with "train".
"""

from __future__ import annotations

from capivara_cli.evaluation.evalset import EvalSet
from capivara_cli.evaluation.sets._karpathy import Hub, Karpathy
from capivara_cli.pipeline.env import Env

COUNTS = {"train": 82_783, "restval": 30_504, "val": 5_000, "test": 5_000}

MSCOCO = Karpathy(
    name="mscoco",
    title="MS COCO 2014, Karpathy split",
    annotations="dataset_coco.json",
    folders=("val2014", "train2014", "images"),
    layout="--data DIR takes your copy, with DIR/dataset_coco.json (Karpathy's splits), "
    "DIR/val2014/*.jpg and, for the split train, DIR/train2014/*.jpg (cocodataset.org, 6 and 13 GB)",
    licence="captions CC BY 4.0; images: Flickr terms of use",
    hub=Hub(
        repo="nlphuji/mscoco_2014_5k_test_image_text_retrieval",
        table="test_5k_mscoco_2014.csv",
        archive="images_mscoco_2014_5k_test.zip",
        what="the captions and images of COCO's test split",
        size="823 MB",
    ),
)


def languages(variant: str) -> tuple[str, ...]:
    return ("en",)


def load(variant: str, *, lang: str, data: str, split: str, env: Env) -> EvalSet:
    """The English captions and images of one split, from ``data``, or from the hub for the test split."""
    return MSCOCO.load(variant, lang, data, split, COUNTS)
