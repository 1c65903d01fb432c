"""A corpus stage over lists of samples, as the engine runs it over shards; pictures and photos to run it on."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.made import PHOTOS, a_sample

from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings
from capivara_cli.pipeline.stage import Arrays
from capivara_cli.shards.sample import Caption, Sample
from capivara_cli.stages.dedupe import CORPUS, Options, dedupe

QUIET = Settings(quiet=True, device="cpu")


def kept(through: Arrays) -> Arrays:
    """Arrays written and read again, as a sidecar is: no pickle."""
    buffer = io.BytesIO()
    np.savez(buffer, **through)
    buffer.seek(0)
    with np.load(buffer, allow_pickle=False) as found:
        return {name: found[name] for name in found}


def over(shards: Sequence[Sequence[Sample]], **options: Any) -> tuple[list[list[Sample]], Env]:
    """What is left of each shard, and the books; the survey and the decision of each are made apart from it."""
    asked, env = Options(**options), Env(QUIET, "dedupe")
    asked.check()
    env.tally.read = sum(map(len, shards))
    if not CORPUS.needed(asked):
        return [list(dedupe.run(iter(shard), asked, env)) for shard in shards], env
    surveys = [kept(CORPUS.survey(iter(shard), asked, env)) for shard in shards]
    assert env.tally.dropped == {} and env.tally.notes == {}  # a survey counts nothing
    decisions = list(map(kept, CORPUS.decide([lambda each=each: each for each in surveys], asked, env)))
    assert len(decisions) == len(shards)
    results = [
        list(CORPUS.apply(iter(shard), survey, decision, asked, env))
        for shard, survey, decision in zip(shards, surveys, decisions, strict=True)
    ]
    assert env.tally.read == sum(map(len, results)) + env.tally.dropped.total()
    return results, env


def keys(results: list[list[Sample]]) -> list[str]:
    return [sample.key for shard in results for sample in shard]


def noise(seed: int, size: tuple[int, int] = (64, 48)) -> bytes:
    """A PNG of large random blocks: a hash of its own."""
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC).save(out, "PNG")
    return out.getvalue()


def a_noise(key: str, seed: int, size: tuple[int, int] = (64, 48), score: float | None = None) -> Sample:
    return a_sample(key, Caption(f"picture {key}", "en", "alt", score=score), image=noise(seed, size))


def photos() -> dict[str, Image.Image]:
    folder = PHOTOS / "images"
    if not folder.is_dir():
        pytest.skip("the photos are not here")
    return {path.stem: Image.open(path).convert("RGB") for path in sorted(folder.iterdir())}


def encoded(image: Image.Image, quality: int = 90) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=quality)
    return out.getvalue()


def cut(image: Image.Image, share: float) -> Image.Image:
    """The image without ``share`` of its width and height."""
    x, y = int(image.width * share / 2), int(image.height * share / 2)
    return image.crop((x, y, image.width - x, image.height - y))
