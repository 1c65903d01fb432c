"""Hateful Memes in its authors' distribution: one line of JSON per meme, and a folder of images."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from capivara_cli.errors import CapivaraError
from capivara_cli.evaluation.sets._files import checksum
from capivara_cli.evaluation.sets._images import Images
from capivara_cli.shards.sample import Sample

_FILES = {"test": ("dev_seen.jsonl", "dev.jsonl"), "val": ("dev_unseen.jsonl",), "train": ("train.jsonl",)}
"""ELEVATER tests on the 500 memes of the seen development set, because the labels of the test set came later."""

LAYOUT = "DIR/dev_seen.jsonl (or dev.jsonl), DIR/train.jsonl and DIR/img/*.png"


def is_copy(folder: Path) -> bool:
    """Whether a folder looks like a copy of Hateful Memes."""
    return (folder / "img").is_dir() or any(folder.glob("*.jsonl"))


def images(folder: Path, split: str) -> Images:
    """The memes of a split; class 1 is hate speech. Raises ``CapivaraError`` for missing or damaged files."""
    listing = next((folder / name for name in _FILES[split] if (folder / name).is_file()), None)
    if listing is None or not (folder / "img").is_dir():
        missing = " or ".join(_FILES[split]) if listing is None else "img/"
        raise CapivaraError(f"{folder}: has no {missing}", LAYOUT)
    try:
        lines = [json.loads(line) for line in listing.read_text("utf-8").split("\n") if line.strip()]
        memes = [(str(each["img"]), int(each["label"])) for each in lines]
    except (ValueError, KeyError, TypeError) as error:
        raise CapivaraError(f"{listing}: not a list of memes with img and label: {error!r}") from error
    if not memes:
        raise CapivaraError(f"{listing}: empty")
    return Images(_samples(folder, memes), f"local copy in {folder}", {listing.name: checksum(listing)})


def _samples(folder: Path, memes: list[tuple[str, int]]) -> Iterator[Sample]:
    for name, label in memes:
        path = folder / "img" / Path(name).name
        image = {path.suffix[1:].lower(): path.read_bytes()} if path.is_file() else {}
        yield Sample(path.stem, {**image, "cls": str(label).encode()})
