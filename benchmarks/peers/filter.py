"""Scoring 12 captions of each image: the original's way, data-juicer's filter and ours, taking turns.

The original's way, in our own words: one image and its captions, padded to 77 tokens, per forward, float32, nothing
prepared ahead. data-juicer: a sample of 12 chunks, each the image and one caption, so its filter runs the towers 12
times. Ours is the stage as the command runs it, from encoded images to scored samples.
"""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.apart import apart
from benchmarks.peers.data_juicer import DataJuicer
from benchmarks.peers.environments import version_of
from benchmarks.peers.models import make_multilingual
from benchmarks.peers.photos import CAPTIONS, Photo, described, photos
from benchmarks.peers.results import Found, Setup

TITLE = "Scoring captions"
PACKAGES = ("torch", "open_clip_torch", "transformers")
COLUMNS = {
    "ways": {
        "way": ("", ""),
        "seconds": ("s per image", ".4f"),
        "cpu": ("CPU s per image", ".4f"),
        "off": ("largest difference of a score", ".5f"),
        "other": ("other decisions", ",d"),
    }
}
TEXT = """
{captions} captions of each image, {tokens:.1f} tokens on average, at most {longest}; {images};
xlm-roberta-base-ViT-B-32 at full size with random weights. The original's way, in our own words: one image and its
captions, padded to 77 tokens, per forward, float32. data-juicer's `image_text_similarity_filter` needs Hugging
Face's CLIP, here with towers of the same sizes, and runs both for every caption. The ways take turns, each on images
of its own; the median of {rounds} rounds. Scores and decisions (at the median of all scores) are compared with the
original's on {agree} images, {scores} scores.

{ways}

{ratios}

`filter` uses bf16 for texts by default where the processor multiplies in it. {other} of its decisions differ; {far} of
these are more than 0.005 from the threshold.
"""
WAYS = {
    "original": (6, "the original's way"),
    "data-juicer": (2, "data-juicer"),
    "bf16": (48, "`capivara filter`, in bf16"),
    "fp32": (24, "`capivara filter --precision fp32`"),
}
"""Images per round."""


class OriginalWay:
    """One image and its captions per forward."""

    def __init__(self, clip: Any) -> None:
        from open_clip.transform import PreprocessCfg, image_transform_v2

        self.clip = clip
        self.transform = image_transform_v2(PreprocessCfg(**clip.model.visual.preprocess_cfg), is_train=False)

    def __call__(self, chosen: list[Photo]) -> list[list[float]]:
        import torch
        from PIL import Image

        scores = []
        for photo in chosen:
            image = self.transform(Image.open(io.BytesIO(photo.data)).convert("RGB"))[None]
            tokens = self.clip.tokenizer([text for text, _ in photo.captions])
            with torch.no_grad():
                found = self.clip.model.encode_image(image, normalize=True)
                said = self.clip.model.encode_text(tokens, normalize=True)
                scores.append((said @ found[0]).tolist())
        return scores


class Ours:
    """The stage, as the command runs it."""

    def __init__(self, clip: Any, precision: str) -> None:
        from capivara_cli.stages.filter import Options

        self.clip = clip
        self.options = Options(model="full", precision=precision)  # type: ignore[arg-type]

    def __call__(self, chosen: list[Photo]) -> list[list[float]]:
        from capivara_cli.pipeline.env import Env
        from capivara_cli.pipeline.options import Settings
        from capivara_cli.stages.filter import filter as stage

        env = Env(Settings(device="cpu"), "filter", {("clip", "full", "", "cpu"): self.clip})
        samples = stage.run((photo.sample() for photo in chosen), self.options, env)
        return [[each.score or 0.0 for each in sample.captions] for sample in samples]


def timed(way: Callable[[list[Photo]], Any], chosen: list[Photo]) -> tuple[float, float]:
    """Seconds and CPU seconds of all threads, for an image."""
    if isinstance(way, DataJuicer):
        wall, cpu = way(chosen)
    else:
        wall, cpu = time.perf_counter(), time.process_time()
        way(chosen)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return wall / len(chosen), cpu / len(chosen)


def measure(setup: Setup) -> Found:
    from capivara_cli.models.clip import load_clip

    given = photos(setup)
    texts = [text for photo in given for text, _ in photo.captions]
    rounds, agree = (1, 4) if setup.small else (3, 24)
    with tempfile.TemporaryDirectory() as parent:
        folder = str(Path(parent, "model"))
        apart(make_multilingual, folder, texts)
        clip = load_clip(f"local-dir:{folder}")
        tokens = [len(row) for row in clip.tokenize(texts)]
        ways: dict[str, Any] = {
            "original": OriginalWay(clip),
            "data-juicer": DataJuicer(Path(parent, "data-juicer"), texts),
            "bf16": Ours(clip, "bf16"),
            "fp32": Ours(clip, "fp32"),
        }
        seconds = take_turns(ways, given, rounds)
        ways["data-juicer"].close()
    compared = agreement(ways, given[:agree])
    rows = [
        {"way": WAYS[name][1], "seconds": wall, "cpu": cpu, **compared.get(name, {})}
        for name, (wall, cpu) in seconds.items()
    ]
    ratios = {
        f"{WAYS[one][1]} / {WAYS[other][1]}, seconds": seconds[one][0] / seconds[other][0]
        for other in ("bf16", "fp32")
        for one in ("original", "data-juicer")
    }
    facts = {
        "captions": CAPTIONS, "tokens": float(np.mean(tokens)), "longest": max(tokens), "images": described(setup),
        "rounds": rounds, "agree": agree, "scores": agree * CAPTIONS, "other": compared["bf16"]["other"],
        "far": compared["bf16"]["far"],
    }  # fmt: skip
    return Found({"ways": rows}, ratios, facts, version_of("data-juicer", "py-data-juicer"))


def take_turns(ways: dict[str, Any], given: list[Photo], rounds: int) -> dict[str, tuple[float, float]]:
    """Median seconds and CPU seconds of each way."""
    for way in ways.values():
        timed(way, given[:2])
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for number in range(rounds):
        for name, way in ways.items():
            count = WAYS[name][0]
            chosen = [given[(number * count + place) % len(given)] for place in range(count)]
            seconds[name].append(timed(way, chosen))
    return {name: tuple(np.median(np.array(each), axis=0).tolist()) for name, each in seconds.items()}


def agreement(ways: dict[str, Any], given: list[Photo]) -> dict[str, dict[str, Any]]:
    """Scores beside the original's, and decisions at a threshold in the middle of them."""
    reference = np.array(ways["original"](given))
    threshold = float(np.median(reference))
    found = {}
    for name in ("bf16", "fp32"):
        scores = np.array(ways[name](given))
        other = (scores >= threshold) != (reference >= threshold)
        far = other & (np.abs(reference - threshold) > 0.005)
        found[name] = {
            "off": float(np.abs(scores - reference).max()),
            "other": int(other.sum()),
            "far": int(far.sum()),
        }
    return found
