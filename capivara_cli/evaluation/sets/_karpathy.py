"""Flickr30k and COCO in Karpathy's splits: from a folder, or the test split from the hub.

On the hub both have the same format: a table with one row per image, and a zip archive of the images.
"""

from __future__ import annotations

import ast
import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from capivara_cli.errors import CapivaraError, unknown
from capivara_cli.evaluation.evalset import EvalSet, Provenance
from capivara_cli.evaluation.sets._files import (
    CaptionedImage,
    ImageFolder,
    ImageZip,
    ReadImage,
    Samples,
    check_choice,
    check_count,
    checksum,
)
from capivara_cli.models import hub


@dataclass(frozen=True)
class Hub:
    """A test split on the hub: its table, its archive of images, and their description and size for messages."""

    repo: str
    table: str
    archive: str
    what: str
    size: str


@dataclass(frozen=True)
class Karpathy:
    """A set with Karpathy's splits. ``annotations``: his file; ``folders``: the folders of images beside it."""

    name: str
    title: str
    annotations: str
    folders: tuple[str, ...]
    layout: str
    licence: str
    hub: Hub

    def load(self, variant: str, lang: str, data: str, split: str, counts: Mapping[str, int]) -> EvalSet:
        """The English captions and images of one split. ``counts``: split -> number of images.

        Raises ``CapivaraError`` for an unknown split or language, missing files, and another number of images.
        """
        check_choice(self.name, variant, ())
        if split not in counts:
            raise unknown(f"split of {self.name}", split, counts)
        if lang != "en":
            raise unknown(f"language in {self.name}", lang, ("en",))
        if data:
            rows, read, annotations = self._from_folder(Path(data), split, counts[split])
            source, obtained = f"{self.title}, local copy", f"local copy in {data}"
        else:
            rows, read, annotations = self._from_hub(split, counts[split])
            source = f"{self.title}, {self.hub.repo} on the Hugging Face hub"
            obtained = f"downloaded from {self.hub.repo}@{annotations.parent.name}"  # a snapshot's name
        checksums = {annotations.name: checksum(annotations)}
        provenance = Provenance(source, self.licence, split, by="human", obtained=obtained, checksums=checksums)
        return EvalSet(self.name, lang, Samples(rows, lang, "human", read), provenance)

    def test_images(self, layout: str) -> ImageZip:
        """The images of the test split on the hub, which other sets have captions of too."""
        return ImageZip(self._hub_folder(layout) / self.hub.archive)

    def _hub_folder(self, layout: str) -> Path:
        own = self.hub
        files = hub.RepoFiles(
            own.repo, ((own.table,), (own.archive,)), what=own.what, size=own.size, hints=(layout,), kind="dataset",
        )  # fmt: skip
        return hub.folder(files)

    def _from_hub(self, split: str, count: int) -> tuple[list[CaptionedImage], ReadImage, Path]:
        if split != "test":
            raise CapivaraError(f"{self.name}: only the test split can be downloaded, not {split}", self.layout)
        folder = self._hub_folder(self.layout)
        table = folder / self.hub.table
        rows = _rows_of_table(table, self.layout)
        check_count(table, len(rows), count, "images")
        return rows, ImageZip(folder / self.hub.archive).read, table

    def _from_folder(self, folder: Path, split: str, count: int) -> tuple[list[CaptionedImage], ReadImage, Path]:
        annotations = folder / self.annotations
        if not annotations.is_file():
            raise CapivaraError(f"{folder}: has no {self.annotations}", self.layout)
        images = read_annotations(annotations)
        try:
            rows = [(each["filename"], [sentence["raw"] for sentence in each["sentences"]])
                    for each in images if each["split"] == split]  # fmt: skip
        except (KeyError, TypeError) as error:
            raise CapivaraError(f"{annotations}: not Karpathy's annotations: {error!r}", self.layout) from error
        check_count(annotations, len(rows), count, f"images of the split {split}")
        return rows, ImageFolder(folder, self.folders).checked_reader(rows, self.layout), annotations


def read_annotations(path: Path) -> list[dict[str, Any]]:
    """The entries of the images in Karpathy's ``dataset_*.json``. Raises ``CapivaraError`` for another format."""
    try:
        images = json.loads(path.read_bytes())["images"]
    except (ValueError, KeyError, TypeError) as error:
        raise CapivaraError(f"{path}: not Karpathy's annotations: {error!r}") from error
    return list(images)


def _rows_of_table(path: Path, layout: str) -> list[CaptionedImage]:
    """The rows of the hub's table; its column ``raw`` has the captions of an image as a list."""
    try:
        with open(path, encoding="utf-8", newline="") as lines:
            return [(row["filename"], _texts(row["raw"])) for row in csv.DictReader(lines)]
    except (OSError, ValueError, KeyError, SyntaxError, csv.Error) as error:
        raise CapivaraError(f"{path}: not the expected table of captions: {error!r}", layout) from error


def _texts(cell: str) -> list[str]:
    """The list of texts in a cell, which is JSON or Python's ``repr``."""
    try:
        found = json.loads(cell)
    except ValueError:
        found = ast.literal_eval(cell)
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise ValueError(f"{cell[:60]!r} is not a list of captions")
    return found
