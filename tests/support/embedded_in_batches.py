"""A program: embed the same images and texts in batches of several sizes, and print what depends on the batch.

python embedded_in_batches.py FOLDER …   a line of JSON: for each model the number of differing embeddings by size, and
for one and two threads the digest of all embeddings. Run apart, because libraries choose their kernels when they start.
"""

from __future__ import annotations

import hashlib
import json
import sys
from typing import Any

import numpy as np
import torch

from capivara_cli.models.clip import Clip, load_clip

SIZES = (1, 2, 3, 7, 8, 9, 17)
_WORDS = ["a", "the", "red", "blue", "dog", "cat", "ball", "um", "o", "vermelho", "azul", "cachorro", "gato", "bola"]


def main() -> None:
    print(json.dumps({name: of_model(load_clip(name)) for name in sys.argv[1:]}))


def of_model(clip: Clip) -> dict[str, Any]:
    generator = np.random.default_rng(0)
    size = clip.model.visual.preprocess_cfg["size"]
    height, width = (size, size) if isinstance(size, int) else size
    images = torch.from_numpy(generator.integers(0, 256, (max(SIZES), 3, height, width), np.uint8))
    texts = [" ".join(generator.choice(_WORDS, generator.integers(1, 30))) for _ in range(max(SIZES))]
    found: dict[str, Any] = {}
    for threads in (1, 2):
        torch.set_num_threads(threads)
        embed = {
            "images": lambda chosen: clip.embed_images([images[index] for index in chosen]),
            "texts": lambda chosen: clip.embed_texts([texts[index] for index in chosen]),
            "bf16": lambda chosen: in_bf16(clip, [texts[index] for index in chosen]),
        }
        for kind, work in embed.items():
            alone = np.concatenate([work([index]) for index in range(max(SIZES))])
            for count in SIZES:
                for order in (list(range(count)), list(range(count))[::-1]):
                    differ = (work(order) != alone[order]).any(axis=1)
                    found[f"{kind} {count}"] = found.get(f"{kind} {count}", 0) + int(differ.sum())
            found[f"{kind}, {threads} threads"] = hashlib.sha256(alone.tobytes()).hexdigest()
    return found


def in_bf16(clip: Clip, texts: list[str]) -> np.ndarray:
    with torch.autocast("cpu", torch.bfloat16):
        return clip.embed_texts(texts, normalize=False)


if __name__ == "__main__":
    main()
