"""A program: embed the same images and texts in batches of several sizes, and print what depends on the batch.

python embedded_in_batches.py MODEL …   a line of JSON: for each model, the number of embeddings that differ from those
of an image or text alone, by the size of the batch and with two threads. It is run apart, because libraries choose
their kernels when they start.
"""

from __future__ import annotations

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
    texts = [" ".join(generator.choice(_WORDS, generator.integers(1, 6))) for _ in range(max(SIZES))]
    embed = {
        "images": lambda chosen: clip.embed_images([images[index] for index in chosen]),
        "texts": lambda chosen: clip.embed_texts([texts[index] for index in chosen]),
        "bf16": lambda chosen: in_bf16(clip, [texts[index] for index in chosen]),
    }
    if width > 32:  # without instructions for it, bfloat16 takes minutes
        del embed["bf16"]
    found: dict[str, Any] = {}
    for kind, work in embed.items():
        torch.set_num_threads(1)
        alone = np.concatenate([work([index]) for index in range(max(SIZES))])
        for count in SIZES:
            order = list(range(max(SIZES)))[-count:][::-1]  # at other places than alone
            found[f"{kind} {count}"] = int((work(order) != alone[order]).any(axis=1).sum())
        torch.set_num_threads(2)
        differ = (work(list(range(max(SIZES)))) != alone).any(axis=1)
        found[f"{kind}, two threads"] = int(differ.sum())
    return found


def in_bf16(clip: Clip, texts: list[str]) -> np.ndarray:
    with torch.autocast("cpu", torch.bfloat16):
        return clip.embed_texts(texts, normalize=False)


if __name__ == "__main__":
    main()
