"""Crossmodal-3600: 3,600 images from all over the world, captioned by people in 36 languages (Thapliyal et al. 2022).

An image has about two captions in each language, which are not translations. All are used; CLIP_benchmark uses the
first of each image. Filipino, Norwegian and Quechua are "tl", "nb" and "qu" here, and "fil", "no" and "quz" in the
file. Captions (17 MB) and images (302 MB) are downloaded on first use.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capivara_cli.errors import CapivaraError, unknown
from capivara_cli.evaluation.evalset import EvalSet, Provenance
from capivara_cli.evaluation.sets._download import Remote, fetch, folder, unpack
from capivara_cli.evaluation.sets._files import (
    CaptionedImage,
    ImageFolder,
    ReadImage,
    Samples,
    check_choice,
    check_count,
    checksum,
)
from capivara_cli.pipeline.env import Env

COUNT = 3_600

_LANGUAGES = (
    "en", "ar", "bn", "cs", "da", "de", "el", "es", "fa", "fi", "fr", "he", "hi", "hr", "hu", "id", "it", "ja", "ko",
    "mi", "nb", "nl", "pl", "pt", "qu", "ro", "ru", "sv", "sw", "te", "th", "tl", "tr", "uk", "vi", "zh",
)  # fmt: skip
_CODES = {"nb": "no", "qu": "quz", "tl": "fil"}  # in the file
_LINES = "captions.jsonl"
_LAYOUT = (
    "--data DIR takes your copy: DIR/captions.jsonl (or captions.zip with it) and DIR/images/*.jpg, "
    "both of google.github.io/crossmodal-3600"
)

CAPTIONS = Remote(
    "https://google.github.io/crossmodal-3600/web-data/captions.zip", "the captions of Crossmodal-3600", "17 MB"
)
IMAGES = Remote(
    "https://open-images-dataset.s3.amazonaws.com/crossmodal-3600/images.tgz",
    "the images of Crossmodal-3600",
    "302 MB",
)


def languages(variant: str) -> tuple[str, ...]:
    return _LANGUAGES


def load(variant: str, *, lang: str, data: str, split: str, env: Env) -> EvalSet:
    """The captions in ``lang`` and the images, from ``data`` or downloaded."""
    check_choice("crossmodal3600", variant, (), "there is one split: test")
    if split != "test":
        raise unknown("split of crossmodal3600", split, ("test",))
    if lang not in languages(variant):
        raise unknown("language in crossmodal3600", lang, languages(variant))
    path, obtained = _captions(data)
    document = env.once(("crossmodal3600", path), lambda: _Document.of(path))
    rows = document.rows(_CODES.get(lang, lang))
    provenance = Provenance(
        "Crossmodal-3600, original captions",
        "captions CC BY 4.0; images CC BY 2.0, of Open Images",
        "test",
        by="human",
        obtained=obtained,
        checksums={path.name: document.checksum},
    )
    return EvalSet("crossmodal3600", lang, Samples(rows, lang, "human", _images(data, rows)), provenance)


def _captions(data: str) -> tuple[Path, str]:
    """The file of captions, and the origin of captions and images."""
    if not data:
        path = fetch(CAPTIONS, folder("crossmodal3600") / "captions.zip", _LAYOUT)
        return path, f"downloaded from {CAPTIONS.url} and {IMAGES.url}"
    for name in (_LINES, "captions.zip"):
        if (Path(data) / name).is_file():
            return Path(data) / name, f"local copy in {data}"
    raise CapivaraError(f"{data}: has no {_LINES}", _LAYOUT)


def _images(data: str, rows: Sequence[CaptionedImage]) -> ReadImage:
    root = Path(data) if data else unpack(IMAGES, folder("crossmodal3600") / "images", _LAYOUT).parent
    return ImageFolder(root, ("images",)).checked_reader(rows, _LAYOUT)


@dataclass(frozen=True)
class _Document:
    """The file of captions: one object per image, read once for all languages."""

    path: Path
    checksum: str
    images: list[dict[str, Any]]

    @classmethod
    def of(cls, path: Path) -> _Document:
        try:
            if path.suffix == ".zip":
                with zipfile.ZipFile(path) as archive:
                    text = archive.read(next(name for name in archive.namelist() if name.rpartition("/")[2] == _LINES))
            else:
                text = path.read_bytes()
            images = [json.loads(line) for line in text.split(b"\n") if line.strip()]
        except (OSError, ValueError, StopIteration, zipfile.BadZipFile, zlib.error) as error:
            raise CapivaraError(f"{path}: not the captions of Crossmodal-3600: {error!r}", _LAYOUT) from error
        check_count(path, len(images), COUNT, "images")
        return cls(path, checksum(path), images)

    def rows(self, code: str) -> list[CaptionedImage]:
        try:
            return [(f"{each['image/key']}.jpg", list(each.get(code, {}).get("caption", ()))) for each in self.images]
        except (KeyError, TypeError, AttributeError) as error:
            raise CapivaraError(f"{self.path}: not the captions of Crossmodal-3600: {error!r}", _LAYOUT) from error
