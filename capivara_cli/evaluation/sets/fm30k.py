"""Framed Multi30K: Flickr30k images with 5 captions each in Brazilian Portuguese (Viridiano et al. 2024).

``fm30k:translated`` has one caption per image, the Portuguese translation of Multi30K's English caption, so it has the
images and sentences of ``multi30k``. The splits train, val and test (test_2016_flickr) are Multi30K's, which for
Flickr30k are Karpathy's.

The captions and the images of the test split are downloaded on first use; the images of the other splits come from
``--data DIR``.
"""

from __future__ import annotations

from pathlib import Path

from capivara_cli.errors import CapivaraError, unknown
from capivara_cli.evaluation.evalset import EvalSet, Provenance
from capivara_cli.evaluation.sets import multi30k
from capivara_cli.evaluation.sets._download import Annotations, Repository
from capivara_cli.evaluation.sets._files import CaptionedImage, Samples, check_choice, check_count, lines
from capivara_cli.pipeline.env import Env

IMAGES, CAPTIONS = 31_783, 158_915

_SPLITS = ("train", "val", "test_2016_flickr")
_CAPTIONS = "data/flickr30k/captions.txt.gz"
_LAYOUT = (
    "--data DIR takes your images, DIR/flickr30k-images/*.jpg (31,783 images, 4 GB). Captions in DIR/data/flickr30k "
    "and DIR/data/multi30k, as in github.com/FrameNetBrasil/framed-multi30k, and lists of images in DIR/data/task1, as "
    "in github.com/multi30k/dataset, are used if they exist; otherwise they are downloaded"
)

REPOSITORY = Repository(
    name="FrameNetBrasil/framed-multi30k",
    commit="1f2220ab03e680abe422a2efe2f1b5c566eb19ae",
    root="data/flickr30k",
    what="the captions of Framed Multi30K",
    size="up to 3.9 MB",
    sha256={
        _CAPTIONS: "8266b8342f0418db7aa94ce475978a0b6c325083cbaa48e913187fafe19d75c0",
        "data/multi30k/task1/raw/train.pt.gz": "072cf76060697480a97422b6921afc4524709a2185b25e581514629b0c915070",
        "data/multi30k/task1/raw/val.pt.gz": "c713abb457a9c976eac2f57b2331530fc755bc45910b27377acedf6d99a5c6c1",
        "data/multi30k/task1/raw/test_2016_flickr.pt.gz": (
            "25a625ea3a5d382b8b09de9be82cdc5cf270f81e09d65b6927d97a5ef1f0d02d"
        ),
    },
)


def languages(variant: str) -> tuple[str, ...]:
    check_choice("fm30k", variant, ("translated",))
    return ("pt",)


def load(variant: str, *, lang: str, data: str, split: str, env: Env) -> EvalSet:
    """The Portuguese captions and the images of one split, from ``data``, or downloaded for the test split."""
    if lang not in languages(variant):
        raise unknown("language in fm30k", lang, languages(variant))
    split = multi30k.resolve(split, dict.fromkeys(_SPLITS), "fm30k")
    own = Annotations(REPOSITORY, data, _LAYOUT)
    shared = Annotations(multi30k.REPOSITORY, data, _LAYOUT)
    names = multi30k.image_names(shared, split)
    rows = _translations(own, names, split) if variant else _originals(own.path(_CAPTIONS), names)
    read, images = multi30k.images_of(split, data, rows, _LAYOUT)
    what = "translations of the English captions of Multi30K" if variant else "original captions"
    provenance = Provenance(
        f"Framed Multi30K, {what}",
        "captions CC BY-NC 4.0; images: Flickr terms of use, non-commercial research only",
        split,
        by="human",
        obtained=f"captions {own.obtained}; list of images {shared.obtained}; images {images}",
        checksums={**own.checksums, **shared.checksums},
    )
    name = f"fm30k:{variant}" if variant else "fm30k"
    return EvalSet(name, lang, Samples(rows, lang, "human", read), provenance)


def _translations(annotations: Annotations, names: list[str], split: str) -> list[CaptionedImage]:
    texts = lines(annotations.path(f"data/multi30k/task1/raw/{split}.pt.gz"), len(names))
    return [(name, [text]) for name, text in zip(names, texts, strict=True)]


def _originals(path: Path, names: list[str]) -> list[CaptionedImage]:
    """The captions of these images. Each line of the file is ``NAME.jpg#NUMBER``, a tab and a caption."""
    captions: dict[str, list[str]] = {}
    for line in lines(path, CAPTIONS):
        image, _, text = line.partition("\t")
        captions.setdefault(image.rpartition("#")[0], []).append(text)
    check_count(path, len(captions), IMAGES, "images")
    missing = [name for name in names if name not in captions]
    if missing:
        raise CapivaraError(f"{path}: no caption of {missing[0]} and {len(missing) - 1:,} more images", _LAYOUT)
    return [(name, captions[name]) for name in names]
