"""Multi30K: Flickr30k images with captions in English, German, French and Czech (Elliott et al. 2016 to 2018).

Task 1, the default, has one English caption per image and its translations. ``multi30k:task2`` has five descriptions
per image, written independently in English and in German. The splits are train, val, test_2016_flickr (= test),
test_2017_flickr, test_2017_mscoco and test_2018_flickr; those of 2017 have no Czech. For Portuguese see ``fm30k``.

The captions and the images of test_2016_flickr are downloaded on first use; the images of the other splits come from
``--data DIR``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from capivara_cli.errors import CapivaraError, unknown
from capivara_cli.evaluation.evalset import EvalSet, Provenance
from capivara_cli.evaluation.sets._download import Annotations, Repository
from capivara_cli.evaluation.sets._files import CaptionedImage, ImageFolder, ReadImage, Samples, check_choice, lines
from capivara_cli.evaluation.sets.flickr30k import FLICKR30K
from capivara_cli.pipeline.env import Env

COUNTS = {
    "train": 29_000,
    "val": 1_014,
    "test_2016_flickr": 1_000,
    "test_2017_flickr": 1_000,
    "test_2017_mscoco": 461,
    "test_2018_flickr": 1_071,
}
TASK2 = {"train": "train_images", "val": "val_images", "test_2016_flickr": "test_2016_images"}

_LANGUAGES = {"": ("en", "de", "fr", "cs"), "task2": ("en", "de")}
_WITHOUT_CZECH = ("test_2017_flickr", "test_2017_mscoco")
_DESCRIPTIONS = range(1, 6)
_LAYOUT = (
    "--data DIR takes your images: DIR/flickr30k-images/*.jpg for train, val and test_2016_flickr; "
    "DIR/train2014 and DIR/val2014 of COCO for test_2017_mscoco; DIR/test_2017_flickr and DIR/test_2018_flickr for "
    "these two; DIR/images for any. Captions in DIR/data, as in github.com/multi30k/dataset, are used if they exist; "
    "otherwise they are downloaded"
)

REPOSITORY = Repository(
    name="multi30k/dataset",
    commit="a3d2e0d26b56f3846f66a952536ffed4e401d05a",
    root="data/task1",
    what="the captions of Multi30K",
    size="up to 6 MB",
)


def languages(variant: str) -> tuple[str, ...]:
    check_choice("multi30k", variant, ("task2",))
    return _LANGUAGES[variant]


def load(variant: str, *, lang: str, data: str, split: str, env: Env) -> EvalSet:
    """The captions in ``lang`` and the images of one split, from ``data``, or downloaded for the default split."""
    known = languages(variant)
    split = resolve(split, TASK2 if variant else COUNTS, f"multi30k:{variant}" if variant else "multi30k")
    if split in _WITHOUT_CZECH:
        known = known[:-1]
    if lang not in known:
        raise unknown(f"language in {split} of multi30k", lang, known)
    annotations = Annotations(REPOSITORY, data, _LAYOUT)
    names = image_names(annotations, split)
    texts = [lines(annotations.path(file), COUNTS[split]) for file in _files(variant, split, lang)]
    rows: list[CaptionedImage] = [(name, list(captions)) for name, *captions in zip(names, *texts, strict=True)]
    read, images = images_of(split, data, rows, _LAYOUT)
    task = "task 2, independent descriptions" if variant else "task 1, translations of one caption"
    provenance = Provenance(
        f"Multi30K, {task}",
        "captions: no licence stated; images: Flickr terms of use, non-commercial research only",
        split,
        by="human",
        obtained=f"captions {annotations.obtained}; images {images}",
        checksums=annotations.checksums,
    )
    name = f"multi30k:{variant}" if variant else "multi30k"
    return EvalSet(name, lang, Samples(rows, lang, "human", read), provenance)


def resolve(split: str, known: Mapping[str, object], name: str) -> str:
    """The full name of a split: ``test`` is ``test_2016_flickr``. Raises ``CapivaraError`` for an unknown one."""
    found = "test_2016_flickr" if split == "test" else split
    if found not in known:
        raise unknown(f"split of {name}", split, ("test", *known))
    return found


def image_names(annotations: Annotations, split: str) -> list[str]:
    """The file names of the images of a split, in the order of its captions."""
    found = lines(annotations.path(f"data/task1/image_splits/{split}.txt"), COUNTS[split])
    return [name.partition("#")[0] for name in found]  # "COCO_train2014_….jpg#annotation"


def images_of(split: str, data: str, rows: list[CaptionedImage], layout: str) -> tuple[ReadImage, str]:
    """The images of a split and their origin: ``data``, or the hub's copy of Flickr30k's test split."""
    if data:
        return ImageFolder(Path(data), _folders(split)).checked_reader(rows, layout), f"local copy in {data}"
    if split != "test_2016_flickr":
        raise CapivaraError(f"{split}: the images of this split cannot be downloaded", layout)
    return FLICKR30K.test_images(layout).complete_reader(rows, layout), f"downloaded from {FLICKR30K.hub.repo}"


def _folders(split: str) -> tuple[str, ...]:
    if split == "test_2017_mscoco":
        return ("train2014", "val2014", "images")
    return (split, "images") if split.startswith(("test_2017", "test_2018")) else ("flickr30k-images", "images")


def _files(variant: str, split: str, lang: str) -> list[str]:
    if variant:
        stem = TASK2[split].removesuffix("_images")
        return [f"data/task2/raw/{stem}.{number}.{lang}.gz" for number in _DESCRIPTIONS]
    return [f"data/task1/raw/{split}.{lang}.gz"]
