"""From JPEG bytes to what the image tower is shown: open_clip's own transform, and ours, in images per second.

    python benchmarks/decode.py [PHOTOS]      # a folder of JPEGs; about a minute on two cores

Photos as they are (500 pixels), and sheets of 36 of them, as large and as detailed as a camera's (3,000 x 2,250). One
thread, and four; the ways take turns, the fastest of five rounds counts. "whole" is ours as ``eval`` reads images,
"draft" as ``filter``, ``train`` and ``search`` do.
"""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image

from capivara_cli.images import decode_image
from capivara_cli.pixels import Pixels

SETTINGS: dict[str, Any] = {
    "size": 224, "mode": "RGB", "mean": (0.4814, 0.4578, 0.4082), "std": (0.2686, 0.2613, 0.2757),
    "interpolation": "bicubic", "resize_mode": "shortest", "fill_color": 0,
}  # fmt: skip
ROUNDS = 5


def sheets(photos: list[bytes]) -> list[bytes]:
    made = []
    for start in range(0, len(photos) - 35, 36):
        sheet = Image.new("RGB", (3000, 2250))
        for place, data in enumerate(photos[start : start + 36]):
            sheet.paste(Image.open(io.BytesIO(data)).resize((500, 375)), (place % 6 * 500, place // 6 * 375))
        out = io.BytesIO()
        sheet.save(out, "JPEG", quality=90)
        made.append(out.getvalue())
    return made * 4


def ways() -> dict[str, Callable[[bytes], torch.Tensor]]:
    theirs, ours = image_transform_v2(PreprocessCfg(**SETTINGS), is_train=False), Pixels(SETTINGS)
    return {
        "open_clip's transform": lambda data: theirs(Image.open(io.BytesIO(data))),
        "capivara, whole": lambda data: ours(decode_image(data)),
        "capivara, draft": lambda data: ours(decode_image(data, ours.draft)),
    }


def rate(way: Callable[[bytes], torch.Tensor], images: list[bytes], threads: int) -> float:
    started = time.perf_counter()
    if threads == 1:
        for data in images:
            way(data)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(way, images))
    return len(images) / (time.perf_counter() - started)


def main() -> None:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "../shared/data/photos/images")
    photos = [path.read_bytes() for path in sorted(folder.glob("*.jpg"))[:200]]
    torch.set_num_threads(1)
    print(f"{len(photos)} photos, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n")
    print("| images per second | photos, 1 thread | 4 threads | large, 1 thread | 4 threads |\n|---|---|---|---|---|")
    cases = [(images, threads) for images in (photos, sheets(photos)) for threads in (1, 4)]
    best = {name: [0.0] * len(cases) for name in ways()}
    for _ in range(ROUNDS):
        for place, (images, threads) in enumerate(cases):
            for name, way in ways().items():
                best[name][place] = max(best[name][place], rate(way, images, threads))
    for name, rates in best.items():
        print(f"| {name} | {' | '.join(f'{each:,.1f}' for each in rates)} |")


if __name__ == "__main__":
    main()
