"""From JPEG bytes to the input of the image tower: open_clip's own transform, and ours.

Photos, and sheets of 36 of them, as large and as detailed as a camera's. "Draft" is how every command decodes an image
for the image tower; "whole" decodes all its pixels.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from benchmarks.peers.photos import described, photos
from benchmarks.peers.results import Found, Row, Setup

TITLE = "Decoding"
PACKAGES = ("open_clip_torch", "torch", "torchvision", "pillow")
COLUMNS = {
    "rates": {
        "way": ("images per second", ""),
        "photos, 1": ("photos, 1 thread", ",.0f"),
        "photos, 4": ("4 threads", ",.0f"),
        "sheets, 1": ("large, 1 thread", ",.1f"),
        "sheets, 4": ("4 threads", ",.1f"),
    }
}
TEXT = """
{photos} {images} of about 500 pixels, and {sheets} sheets of 36 of them, {width:,} x {height:,}; the ways take turns,
the fastest of {rounds} rounds.

{rates}

{ratios}

Whole decodes every pixel: these differ from the transform's by {differ:.1e} at most, and the arithmetic runs on the
device. Draft is how every command decodes an image for the image tower: a JPEG of more than three times the pixels that
are needed is decoded at half, a quarter or an eighth of its size. Embeddings of the sheets by a ViT-B/32 with random
weights have a cosine of at least {cosine:.6f} to those of the whole images.
"""
SETTINGS: dict[str, Any] = {
    "size": 224, "mode": "RGB", "mean": (0.4814, 0.4578, 0.4082), "std": (0.2686, 0.2613, 0.2757),
    "interpolation": "bicubic", "resize_mode": "shortest", "fill_color": 0,
}  # fmt: skip
SHEET = (3000, 2250)
THREADS = (1, 4)
Way = Callable[[bytes], Any]


def sheets(images: list[bytes]) -> list[bytes]:
    from PIL import Image

    found = []
    for start in range(0, len(images) - 35, 36):
        sheet = Image.new("RGB", SHEET)
        for place, data in enumerate(images[start : start + 36]):
            sheet.paste(Image.open(io.BytesIO(data)).resize((500, 375)), (place % 6 * 500, place // 6 * 375))
        out = io.BytesIO()
        sheet.save(out, "JPEG", quality=90)
        found.append(out.getvalue())
    return found


def ways() -> dict[str, Way]:
    from open_clip.transform import PreprocessCfg, image_transform_v2
    from PIL import Image

    from capivara_cli.models.preprocess import Pixels
    from capivara_cli.shards.images import decode_image

    theirs, ours = image_transform_v2(PreprocessCfg(**SETTINGS), is_train=False), Pixels(SETTINGS)
    return {
        "open_clip's transform": lambda data: theirs(Image.open(io.BytesIO(data))),
        "capivara, whole": lambda data: ours(decode_image(data)),
        "capivara, draft": lambda data: ours(decode_image(data, ours.draft)),
    }


def rate(way: Way, images: list[bytes], threads: int) -> float:
    started = time.perf_counter()
    if threads == 1:
        for data in images:
            way(data)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(way, images))
    return len(images) / (time.perf_counter() - started)


def sameness(named: dict[str, Way], small: list[bytes], large: list[bytes]) -> dict[str, float]:
    """How far pixels of whole images are from the transform's, and the least cosine of embeddings of drafts."""
    import open_clip
    import torch
    from torch.nn import functional

    from capivara_cli.models.preprocess import Pixels

    normalised = Pixels(SETTINGS).normalised
    theirs, whole, draft = named.values()
    differ = max(float((theirs(data) - normalised(whole(data)[None])[0]).abs().max()) for data in small)
    torch.manual_seed(0)
    tower = open_clip.create_model("ViT-B-32").visual.eval()
    with torch.inference_mode():
        seen = [tower(normalised(torch.stack([way(data) for data in large]))) for way in (whole, draft)]
    return {"differ": differ, "cosine": float(functional.cosine_similarity(*seen).min())}


def measure(setup: Setup) -> Found:
    import torch

    rounds, times = (1, 1) if setup.small else (5, 4)
    small = [photo.data for photo in photos(setup)][: 72 if setup.small else 200]
    large = sheets(small)
    named = ways()
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    cases = {"photos": small, "sheets": large * times}
    rows: list[Row] = [{"way": name} for name in named]
    for _ in range(rounds):
        for kind, images in cases.items():
            for threads in THREADS:
                for row, way in zip(rows, named.values(), strict=True):
                    key = f"{kind}, {threads}"
                    row[key] = max(row.get(key, 0.0), rate(way, images, threads))
    same = sameness(named, small[:20], large)
    torch.set_num_threads(before)
    theirs, *own = rows
    ratios = {
        f"open_clip's transform / {row['way']}, {says}": row[key] / theirs[key]
        for row in own
        for key, says in (("photos, 1", "photos, 1 thread"), ("photos, 4", "photos, 4 threads"),
                          ("sheets, 1", "large, 1 thread"), ("sheets, 4", "large, 4 threads"))
    }  # fmt: skip
    facts = {
        "photos": len(small), "images": described(setup), "sheets": len(large), "width": SHEET[0], "height": SHEET[1],
        "rounds": rounds, **same,
    }  # fmt: skip
    return Found({"rates": rows}, ratios, facts)
