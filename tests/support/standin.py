"""A stand-in model whose every embedding is known, and samples it understands."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings
from capivara_cli.shards.embedding import TowerIdentity
from capivara_cli.shards.sample import Sample, encode_json

DIM = 8


class RedChannel:
    """A preprocessing that reads one number from an image."""

    draft = 0

    def __call__(self, image) -> int:
        return image.getpixel((0, 0))[0]


@dataclass
class Fake:
    """Image n (the red channel) is the basis vector n; a text "… n" is that vector too, if ``knows`` its language."""

    knows: str = "en"
    tower: str = "a"
    dim: int = DIM
    embedded: int = 0
    texts: list[str] = field(default_factory=list)
    translate_queries: str = ""

    @property
    def identity(self) -> TowerIdentity:
        return TowerIdentity("fake", self.tower, "none")

    @property
    def preprocess(self) -> RedChannel:
        return RedChannel()

    def embed_images(self, images: Sequence[int]) -> np.ndarray:
        self.embedded += len(images)
        return np.eye(self.dim, dtype=np.float32)[list(images)]

    def embed_texts(self, texts: Sequence[str], langs: str = "") -> np.ndarray:
        self.texts += texts
        rows = np.full((len(texts), self.dim), self.dim**-0.5, np.float32)  # an unknown language: says nothing
        for row, text in zip(rows, texts, strict=True):
            if text.split()[0] in self.knows.split(","):
                row[:] = np.eye(self.dim)[int(text.split()[-1]) % self.dim]
        return rows


def png(number: int) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", (4, 4), (number, 0, 0)).save(out, "PNG")
    return out.getvalue()


def sample(number: int, *langs: str, cls: int | None = None, **members: bytes) -> Sample:
    captions = [{"text": f"{lang} {number}", "lang": lang, "by": "human", "of": None, "score": None} for lang in langs]
    label = {} if cls is None else {"cls": str(cls).encode()}
    document = {"json": encode_json({"captions": captions})}
    return Sample(f"{number:03d}", {"png": png(number), **document, **label, **members})


def environment(**models: Fake) -> Env:
    settings = Settings(device="cpu")
    return Env(settings, "eval", {("clip", name, "", "cpu"): model for name, model in models.items()})


def rows(found: dict, **wanted: str) -> list[dict]:
    return [row for row in found["retrieval"] if all(row[key] == value for key, value in wanted.items())]


def make_run(folder: Path) -> None:
    folder.mkdir()
    (folder / "run.json").write_text(json.dumps({"request": {"lang": "pt"}}))
