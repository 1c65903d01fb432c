"""What the tests make for themselves: small images, samples and shards."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from capivara_cli.costs.footprint import Footprint
from capivara_cli.shards.archive import ShardWriter
from capivara_cli.shards.sample import Caption, Sample, encode_json

ROOT = Path(__file__).parents[2]
PHOTOS = ROOT.parent / "shared" / "data" / "photos"


def copy_photos(folder: Path, count: int) -> None:
    """A folder like that of the real photos, with the first ``count`` of them; skips the test where there are none."""
    if not PHOTOS.is_dir():
        pytest.skip("the real photos are not beside this checkout")
    head, *rows = (PHOTOS / "captions.csv").read_text("utf-8").splitlines(keepends=True)
    images = list(dict.fromkeys(row.partition(",")[0] for row in rows))[:count]
    (folder / "images").mkdir(parents=True)
    for image in images:
        (folder / image).symlink_to(PHOTOS / image)
    chosen = [row for row in rows if row.partition(",")[0] in images]
    (folder / "captions.csv").write_text(head + "".join(chosen), "utf-8")


def jpeg(color: tuple[int, int, int] = (200, 30, 30), size: tuple[int, int] = (64, 48)) -> bytes:
    """A small JPEG of one colour."""
    from PIL import Image

    out = io.BytesIO()
    Image.new("RGB", size, color).save(out, "JPEG")
    return out.getvalue()


def a_sample(key: str, *captions: Caption, image: bytes | None = None, **document: object) -> Sample:
    """A sample with an image, captions and whatever else its json holds."""
    entries = [caption.to_json() for caption in captions]
    members = {"jpg": jpeg() if image is None else image, "json": encode_json({**document, "captions": entries})}
    return Sample(key, members)


def a_footprint(stage: str = "caption", **given: Any) -> Footprint:
    """The cost of ten seconds that took 1 kWh."""
    values = {
        "seconds": 10.0, "cpu_seconds": 8.0, "kwh_cpu": 0.25, "kwh_gpu": 0.5, "kwh_ram": 0.25, "intensity": 100.0,
        "country": "BRA", "intensity_source": "a table", "source": "modelled", "hardware": "x", "device": "cpu",
        "flops": None, "power": {},
    }  # fmt: skip
    return Footprint(stage, **{**values, **given})


def shard_bytes(samples: Sequence[Sample]) -> bytes:
    out = io.BytesIO()
    writer = ShardWriter(out, [])
    for sample in samples:
        writer.write(sample)
    writer.finish()
    return out.getvalue()


def toy_like(count: int, start: int = 0) -> list[Sample]:
    """Samples with distinct images and English captions that the toy models know."""
    colors = [(220, 40, 40), (40, 180, 60), (50, 80, 220), (240, 220, 60)]
    names = ["red", "green", "blue", "yellow"]
    return [
        a_sample(
            f"{number:05d}",
            Caption(f"a {names[number % 4]} square number {number}", "en", "alt"),
            Caption(f"a {names[number % 4]} square on a white background", "en", "someone"),
            image=jpeg(colors[number % 4], (64 + number % 7, 64)),
            id=number,
        )
        for number in range(start, start + count)
    ]
