"""PASCAL VOC 2007 in its authors' distribution: ``VOCdevkit/VOC2007`` with annotations in XML."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Sequence
from pathlib import Path

from capivara_cli.errors import CapivaraError
from capivara_cli.evaluation.sets._files import checksum
from capivara_cli.evaluation.sets._images import Images, lines_of
from capivara_cli.shards.sample import Sample, encode_json

LAYOUT = "DIR/VOCdevkit/VOC2007 with ImageSets/Main/test.txt, Annotations/*.xml and JPEGImages/*.jpg"


def root_of(folder: Path) -> Path | None:
    """The VOC2007 folder: ``folder`` itself, or one in it; None if there is none."""
    for path in (folder, folder / "VOC2007", folder / "VOCdevkit" / "VOC2007"):
        if (path / "ImageSets" / "Main").is_dir():
            return path
    return None


def images(root: Path, split: str, names: Sequence[str]) -> Images:
    """The images of a split with the classes of all their objects, including difficult ones (as in CLIP_benchmark).

    ``names``: the class names, by class number. Raises ``CapivaraError`` for missing or damaged files.
    """
    listing = root / "ImageSets" / "Main" / f"{split}.txt"
    for path in (listing, root / "Annotations", root / "JPEGImages"):
        if not path.exists():
            raise CapivaraError(f"{path} does not exist", LAYOUT)
    keys = [line.split()[0] for line in lines_of(listing) if line]
    labels = {key: _classes(root / "Annotations" / f"{key}.xml", names) for key in keys}
    return Images(_samples(root / "JPEGImages", labels), f"local copy in {root}", {listing.name: checksum(listing)})


def _classes(path: Path, names: Sequence[str]) -> list[int]:
    try:
        found = {each.findtext("name", "") for each in ElementTree.parse(path).getroot().iter("object")}
        return sorted(names.index(name) for name in found)
    except FileNotFoundError:
        raise CapivaraError(f"{path} does not exist", LAYOUT) from None
    except (ElementTree.ParseError, ValueError) as error:
        raise CapivaraError(f"{path}: not an annotation of VOC 2007: {error}") from error


def _samples(folder: Path, labels: dict[str, list[int]]) -> Iterator[Sample]:
    for key, classes in labels.items():
        path = folder / f"{Path(key).name}.jpg"
        image = {"jpg": path.read_bytes()} if path.is_file() else {}
        yield Sample(key, {**image, "json": encode_json({"classes": classes})})
