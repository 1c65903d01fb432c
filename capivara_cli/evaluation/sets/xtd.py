"""XTD10: 1,000 images of COCO with one caption each in 11 languages (Aggarwal and Kale 2020).

Italian, Spanish, Korean, Russian, Polish, Turkish and Chinese captions are translations of the English ones. German and
French captions come from MIC (Rajendran et al. 2016). Japanese captions come from STAIR (Yoshikawa et al. 2017) and
are not translations. A few texts are not captions ("Could not translate"), and some images have equal captions.
Published numbers include both, so they are kept; the former are marked as junk.

800 of the images are in COCO's train2014, so a model trained on COCO has seen them.
"""

from __future__ import annotations

from pathlib import Path

from capivara_cli.errors import unknown
from capivara_cli.evaluation.evalset import EvalSet, Provenance
from capivara_cli.evaluation.sets._download import Annotations, Remote, Repository, folder, unpack
from capivara_cli.evaluation.sets._files import (
    CaptionedImage,
    ImageFolder,
    ReadImage,
    Samples,
    check_choice,
    key_of,
    lines,
)
from capivara_cli.pipeline.env import Env

COUNT = 1_000

_FOLDERS = {"de": "MIC", "fr": "MIC", "ja": "STAIR"}
_CODES = {"ja": "jp"}  # in the file names
_LANGUAGES = ("en", "de", "es", "fr", "it", "ja", "ko", "pl", "ru", "tr", "zh")
_NAMES = "XTD10/test_image_names.txt"
_JUNK = frozenset({"could not translate", "?", "dfgdfg"})
_IMAGE_FOLDERS = ("images", "train2014", "val2014", "images/train2014", "images/val2014")
_LAYOUT = (
    "--data DIR takes your copy: DIR/XTD10, DIR/MIC and DIR/STAIR as in "
    "github.com/adobe-research/Cross-lingual-Test-Dataset-XTD10 (without them the captions are downloaded), and the "
    "images of COCO in DIR/train2014 and DIR/val2014, or the 1,000 in DIR/images"
)

REPOSITORY = Repository(
    name="adobe-research/Cross-lingual-Test-Dataset-XTD10",
    commit="d77ff16148468c84287f3efcbf602a015c5e4954",
    root="XTD10",
    what="the captions of XTD10",
    size="0.8 MB",
    sha256={
        "MIC/test_1kcaptions_de.txt": "51f1e9fe05d85b7cd33543676ed2fea51b05399cc403a5fca557ca7ecdb9a207",
        "MIC/test_1kcaptions_fr.txt": "84aa16954706a0f654b59788ffb6a3bcb1b1d9d12dc9d7a3de26730bc04664b5",
        "STAIR/test_1kcaptions_jp.txt": "20908aa5763ee7b1bacc1f29aa507532d3dc6a7e6a8c43e6acd2ec72d1e80c10",
        "XTD10/test_1kcaptions_en.txt": "ac5531b6842c1d469fba80aa6f44e2af054e84a41da8f9eaf01d831e943039b9",
        "XTD10/test_1kcaptions_es.txt": "cacc43d4e7af56b02033865531ea70494049f1d0dd3ea89ff2a217e7e190c4f2",
        "XTD10/test_1kcaptions_it.txt": "b4095d3550eb1accf8c9c78314b4bef45847a3929b5c5fe15a1264ea31dec7cc",
        "XTD10/test_1kcaptions_ko.txt": "92d35e082cd081724560c9abdb2b45753ceb52aaabddb9a0f79dc04967a36800",
        "XTD10/test_1kcaptions_pl.txt": "b6af6b7941f44e902b50736dcf9a7221af28e755a259511652c599cf6ae89c78",
        "XTD10/test_1kcaptions_ru.txt": "7d93631ff85b53592091b3cbfd9ca963397e77038fb3d0fdd9374b1b02ae98a3",
        "XTD10/test_1kcaptions_tr.txt": "147e9763dcb6e6ebba0b98fc799f0145c7d90005fa03ca8ec5a7cf29a04dd136",
        "XTD10/test_1kcaptions_zh.txt": "17229ff02ac85dd2d165f8316515a24fbe5100dbf486c22aaa12105dfb3353bf",
        _NAMES: "504a472dfd40e44f2d0facd6320b9dc1c7d64c58aac9840f0b1da4807cb3a30a",
    },
)
IMAGES = Remote("https://nllb-data.com/test/xtd10/images.tar.gz", "the images of XTD10", "about 160 MB")

_ORIGINS = {
    "en": "captions of COCO",
    "de": "captions of MIC",
    "fr": "captions of MIC",
    "ja": "captions of STAIR, not translations of the English ones",
}


def languages(variant: str) -> tuple[str, ...]:
    return _LANGUAGES


def load(variant: str, *, lang: str, data: str, split: str, env: Env) -> EvalSet:
    """The 1,000 captions in ``lang`` and the images, from ``data`` or downloaded."""
    check_choice("xtd", variant, (), "there is one split: test")
    if split != "test":
        raise unknown("split of xtd", split, ("test",))
    if lang not in languages(variant):
        raise unknown("language in xtd", lang, languages(variant))
    annotations = Annotations(REPOSITORY, data, _LAYOUT)
    names = lines(annotations.path(_NAMES), COUNT)
    file = f"{_FOLDERS.get(lang, 'XTD10')}/test_1kcaptions_{_CODES.get(lang, lang)}.txt"
    texts = lines(annotations.path(file), COUNT)
    rows: list[CaptionedImage] = [(name, [text]) for name, text in zip(names, texts, strict=True)]
    read, images = _images(data, rows)
    trained_on = sum("_train2014_" in name for name in names)
    origin = _ORIGINS.get(lang, "translations of the English captions")
    provenance = Provenance(
        f"XTD10, {origin}; {trained_on:,} of its {len(names):,} images are of COCO train2014",
        "captions: Adobe Research licence, non-commercial research only; images: Flickr terms of use",
        "test",
        by="human",
        obtained=f"captions {annotations.obtained}; images {images}",
        checksums=annotations.checksums,
    )
    junk = frozenset(key_of(name) for name, (text,) in rows if text.lower() in _JUNK)
    return EvalSet("xtd", lang, Samples(rows, lang, "human", read), provenance, junk=junk)


def _images(data: str, rows: list[CaptionedImage]) -> tuple[ReadImage, str]:
    if data:
        return ImageFolder(Path(data), _IMAGE_FOLDERS).checked_reader(rows, _LAYOUT), f"local copy in {data}"
    unpacked = unpack(IMAGES, folder("xtd") / "images", _LAYOUT)
    return ImageFolder(unpacked.parent, ("images",)).checked_reader(rows, _LAYOUT), f"downloaded from {IMAGES.url}"
