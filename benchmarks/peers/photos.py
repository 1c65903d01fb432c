"""The images and captions that comparisons share: a folder of photos where there is one, else pictures made here."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.results import ROOT, Setup

FOLDER = ROOT.parent / "shared" / "data" / "photos"
MADE = 100
SIDES = (500, 375)
FALL = 1.45
"""How much fainter each octave of noise is; with this a picture has about as many bytes as a photo."""
PREFIXES = ("a photo of", "this is a scene depicting", "an image of", "the picture shows", "a painting of", "an art of")
CAPTIONS = 12
"""Of each image: its own, and these with prefixes of the paper."""


@dataclass
class Photo:
    """One encoded image with its captions, (text, language)."""

    name: str
    data: bytes
    captions: list[tuple[str, str]] = field(default_factory=list)

    def sample(self, captions: int = CAPTIONS) -> Any:
        from capivara_cli.shards.sample import Caption, Sample, encode_json

        written = [Caption(text, lang, "alt").to_json() for text, lang in self.captions[:captions]]
        first = self.captions[0][0].encode()
        return Sample(self.name, {"jpg": self.data, "txt": first, "json": encode_json({"captions": written})})


def photos(setup: Setup) -> list[Photo]:
    found = read(setup.photos) if setup.photos else made()
    for photo in found:
        own = list(photo.captions)
        said = [(f"{prefix} {own[place % len(own)][0]}", "en") for place, prefix in enumerate(PREFIXES)]
        photo.captions = (own + said)[:CAPTIONS]
    return found


def described(setup: Setup) -> str:
    return "photos of Flickr8k" if setup.photos == FOLDER else "photos" if setup.photos else "made pictures"


def read(folder: Path) -> list[Photo]:
    """Those that captions.csv (image, caption, lang) names."""
    found: dict[str, Photo] = {}
    with (folder / "captions.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            image = folder / row["image"]
            photo = found.get(row["image"]) or found.setdefault(row["image"], Photo(image.stem, image.read_bytes()))
            photo.captions.append((row["caption"], row["lang"]))
    return list(found.values())


def made() -> list[Photo]:
    """Clouds of noise on all scales, which compress like photos, with captions of toy scenes."""
    from PIL import Image

    from tools.build_toy.translators import parallel_rows

    rows = parallel_rows("train", MADE, 1, {"sentence": 1})
    chance = np.random.default_rng(0)
    found = []
    for number, row in zip(range(MADE), rows, strict=False):
        picture = np.zeros((SIDES[1], SIDES[0], 3), np.float32)
        for octave in range(8):
            noise = chance.random((3 << octave, 4 << octave, 3), np.float32)
            layer = Image.fromarray((255 * noise).astype(np.uint8)).resize(SIDES, Image.Resampling.BICUBIC)
            picture += np.asarray(layer, np.float32) / FALL**octave
        out = io.BytesIO()
        Image.fromarray(np.uint8(picture * (1 - 1 / FALL))).save(out, "JPEG", quality=90)
        captions = [(row[lang], lang) for lang in ("en", "pt", "hi", "xh") if lang in row]
        found.append(Photo(f"{number:08d}", out.getvalue(), captions))
    return found
