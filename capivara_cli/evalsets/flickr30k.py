"""Flickr30k, Karpathy's split: 1,000 test images with 5 English captions each (Young et al. 2014).

The test split is downloaded on first use; with ``--data DIR`` all three splits come from a copy of yours. The images
are for non-commercial research and are never part of capivara.
"""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from capivara_cli import hub
from capivara_cli.errors import CapivaraError, unknown
from capivara_cli.evaluation.evalset import EvalSet, Provenance
from capivara_cli.sample import Caption, Sample, encode_json
from capivara_cli.stage import Env

LANGUAGES = ("en",)

REPO = "nlphuji/flickr_1k_test_image_text_retrieval"
_TABLE, _ARCHIVE = "test_1k_flickr.csv", "images_flickr_1k_test.zip"
_ANNOTATIONS, _IMAGES = "dataset_flickr30k.json", "flickr30k-images"
_SPLITS = ("train", "val", "test")
_LICENCE = "Flickr terms of use; non-commercial research only"
_LAYOUT = (
    f"--data DIR takes a copy of yours, with DIR/{_ANNOTATIONS} (Karpathy's splits, 36 MB) and "
    f"DIR/{_IMAGES}/*.jpg (31,783 images, 4 GB)"
)

Row = tuple[str, list[str]]  # the file name of an image, its captions


def load(variant: str, *, lang: str, data: str, split: str, env: Env) -> EvalSet:
    """The English captions and images of one split, from ``data`` or, for the test split, from the hub."""
    if variant:
        raise CapivaraError(f"flickr30k:{variant}: flickr30k has no variants", "the split is chosen with --split")
    if split not in _SPLITS:
        raise unknown("split of flickr30k", split, _SPLITS)
    if lang not in LANGUAGES:
        raise unknown("language in flickr30k", lang, LANGUAGES)
    if data:
        samples, source = _from_folder(Path(data), split), "Flickr30k, Karpathy split, local copy"
    else:
        samples, source = _from_hub(split), f"Flickr30k, Karpathy split, {REPO} on the Hugging Face hub"
    return EvalSet("flickr30k", lang, samples, Provenance(source, _LICENCE, split, by="human"))


def _from_hub(split: str) -> Iterator[Sample]:
    if split != "test":
        raise CapivaraError(f"flickr30k: only the test split can be downloaded, not {split}", _LAYOUT)
    need = hub.Need(
        REPO,
        ((_TABLE,), (_ARCHIVE,)),
        what="the captions and images of the Flickr30k test split",
        size="142 MB",
        ways=(_LAYOUT,),
        kind="dataset",
    )
    folder = hub.folder(need)
    rows = _rows_of_table(folder / _TABLE)
    try:
        archive = zipfile.ZipFile(folder / _ARCHIVE)
    except (OSError, zipfile.BadZipFile) as error:
        raise CapivaraError(
            f"{folder / _ARCHIVE}: not a zip archive: {error}", "delete it: it is downloaded again"
        ) from error
    members = {name.rpartition("/")[2]: name for name in archive.namelist() if not name.startswith("__MACOSX")}

    def read(name: str) -> bytes | None:
        return archive.read(members[name]) if name in members else None

    return _samples(rows, read)


def _rows_of_table(path: Path) -> list[Row]:
    """The rows of the hub's table: ``raw`` holds the five captions as a JSON list."""
    try:
        with open(path, encoding="utf-8", newline="") as lines:
            rows = [(row["filename"], json.loads(row["raw"])) for row in csv.DictReader(lines)]
    except (OSError, ValueError, KeyError, csv.Error) as error:
        raise CapivaraError(f"{path}: not the table of captions that was expected: {error!r}", _LAYOUT) from error
    return rows


def _from_folder(folder: Path, split: str) -> Iterator[Sample]:
    annotations = folder / _ANNOTATIONS
    if not annotations.is_file() or not (folder / _IMAGES).is_dir():
        missing = _IMAGES + "/" if annotations.is_file() else _ANNOTATIONS
        raise CapivaraError(f"{folder}: there is no {missing} in it", _LAYOUT)
    try:
        images = json.loads(annotations.read_bytes())["images"]
        rows = [(each["filename"], [said["raw"] for said in each["sentences"]]) for each in images if _in(each, split)]
    except (ValueError, KeyError, TypeError) as error:
        raise CapivaraError(f"{annotations}: not Karpathy's annotations of Flickr30k: {error!r}") from error
    if not rows:
        raise CapivaraError(f"{annotations}: no image of the split {split}")

    def read(name: str) -> bytes | None:
        path = folder / _IMAGES / Path(name).name
        return path.read_bytes() if path.is_file() else None

    return _samples(rows, read)


def _in(image: dict[str, Any], split: str) -> bool:
    return image["split"] == split


def _samples(rows: Iterable[Row], read: Callable[[str], bytes | None]) -> Iterator[Sample]:
    """One sample per row; an image that is missing makes a sample without one, which evaluation counts."""
    for name, captions in rows:
        entries = [Caption(text.strip(), "en", "human").to_json() for text in captions]
        data = read(name)
        image = {} if data is None else {"jpg": data}
        yield Sample(name.partition(".")[0], {**image, "json": encode_json({"captions": entries})})
