"""One cell: train as the plan says, by ``capivara train`` itself, and score; the result is stored as a small JSON."""

from __future__ import annotations

import functools
import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.reproduce import towers, world
from benchmarks.reproduce.plan import DATA, DEFAULTS, LANGUAGES, SMALL, Cell
from benchmarks.reproduce.world import Test, World
from capivara_cli.storage.files import replace_text

Result = dict[str, Any]


@dataclass(frozen=True)
class Job:
    """A cell of a world."""

    world: World
    cell: Cell

    @property
    def path(self) -> Path:
        return self.world.folder / "cells" / f"{self.cell.name}.json"

    @property
    def options(self) -> dict[str, Any]:
        asked = {**DEFAULTS, **dict(self.world.size.training), **self.cell.train}
        return {"min_lr": asked["lr"] / 10, **asked}


def run(job: Job) -> Result:
    """The stored result of a cell; if there is none, train and score now."""
    if job.path.is_file():
        return json.loads(job.path.read_text("utf-8"))
    clip, found = _trained(job)
    test = world.read_test(job.world.folder)
    found |= scores(clip, test, job.cell.scored, job.world.folder)
    replace_text(job.path, json.dumps(found) + "\n")
    return found


def _trained(job: Job) -> tuple[Any, Result]:
    from capivara_cli.models.clip import load_clip

    model = model_of(job.world, job.cell.model)
    if not job.cell.data:
        return load_clip(model), {}
    from capivara_cli.commands.train import Options, train
    from capivara_cli.pipeline.env import Env
    from capivara_cli.pipeline.options import Settings, build

    options = build(
        Options, lang=job.cell.lang, model=model, runs=str(job.world.runs), name=job.cell.name, **job.options
    )
    env = Env(Settings(seed=job.world.seed, quiet=True, device="cpu"), "train")
    began = time.perf_counter(), time.process_time()
    summary = train.run([str(job.world.data(job.cell.data))], options, env)
    spent = time.perf_counter() - began[0], time.process_time() - began[1]
    clip = load_clip(summary["run"])
    shutil.rmtree(summary["run"])
    return clip, {
        "seconds": round(spent[0], 2),
        "cpu": round(spent[1], 2),
        "pairs": summary["steps"] * summary["batch_size"],
        "trained": summary["trainable"],
        "total": summary["total"],
        "loss": round(summary["loss_last"], 4),
        "captions": summary["captions"],
    }


def model_of(where: World, name: str) -> str:
    return f"local-dir:{where.root / towers.SMALL / 'clip'}" if name == SMALL else name


def scores(clip: Any, test: Test, keys: tuple[str, ...], folder: Path) -> Result:
    """{"recall": {key: [text to image, image to text]}, "accuracy": {lang: top-1}}, in percent."""
    from capivara_cli.evaluation.retrieval import mean_over_k, retrieval

    seen = _images(clip, test, folder)
    recall, accuracy = {}, {}
    for key in keys:
        texts = test.texts["pt-to-en" if key == "pt" and clip.translate_queries else key]
        found = retrieval(seen, clip.embed_texts(texts), np.arange(len(texts)))
        recall[key] = [round(100 * mean_over_k(each), 3) for each in (found.text_to_image, found.image_to_text)]
        if key in ("en", *LANGUAGES):
            accuracy[key] = round(100 * _accuracy(clip, test, seen, key), 3)
    return {"recall": recall, "accuracy": accuracy}


def _accuracy(clip: Any, test: Test, seen: np.ndarray, lang: str) -> float:
    from capivara_cli.evaluation.zeroshot import classify

    means = clip.embed_texts(world.prompts(lang)).reshape(len(world.CLASSES), world.PROMPTS, -1).mean(axis=1)
    vectors = means / np.linalg.norm(means, axis=1, keepdims=True)
    return classify(seen[test.classed], test.classes, vectors).score


def _images(clip: Any, test: Test, folder: Path) -> np.ndarray:
    """The images as this image tower sees them; those of a frozen tower once per process."""
    known = _SEEN.setdefault((folder, len(test.images)), {})
    if clip.identity.weights not in known:
        from PIL import Image

        pixels = [clip.preprocess(Image.fromarray(image)) for image in test.images]
        known[clip.identity.weights] = clip.embed_images(pixels)
    return known[clip.identity.weights]


_SEEN: dict[tuple[Path, int], dict[str, np.ndarray]] = {}


def prepare(where: World, data: str, model: str) -> None:
    """Choose the captions, and make what all runs on them share: cells in several processes then only read."""
    from capivara_cli.models.clip import load_clip
    from capivara_cli.pipeline.env import Env
    from capivara_cli.pipeline.options import Settings
    from capivara_cli.pipeline.source import Source
    from capivara_cli.training.store import FOLDER, features

    world.choose(where, data, DATA[data])
    clip = world.toy() if model == "toy" else load_clip(model_of(where, model))
    env = Env(Settings(seed=where.seed, quiet=True, device="cpu"), "train")
    features(Source([str(where.data(data))], env), clip, where.runs / FOLDER, env)


@functools.cache
def quiet() -> None:
    """Once per process: one thread, and nothing said but errors."""
    import torch

    from capivara_cli import console

    torch.set_num_threads(1)
    console.be_quiet(True)
