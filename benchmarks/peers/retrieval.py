"""Recall at 1, 5 and 10 both ways: CLIP_benchmark's code and ours on the same embeddings, each in its own process.

CLIP_benchmark gets a model that only looks embeddings up, so its time is that of its metric. The memory is the peak
beyond the process that has read the embeddings; the whole peak is that of the process.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.peers.apart import apart, peak_mb
from benchmarks.peers.results import Found, Row, Setup

TITLE = "Retrieval"
PACKAGES = ("clip-benchmark", "numpy", "torch")
COLUMNS = {
    "runs": {
        "size": ("images, captions", ""),
        "way": ("", ""),
        "seconds": ("seconds", ".2f"),
        "cpu": ("CPU seconds", ".2f"),
        "extra": ("MB beyond the embeddings", ",.0f"),
        "peak": ("peak MB", ",.0f"),
    }
}
TEXT = """
Recall at 1, 5 and 10 both ways from random embeddings of {dim} numbers, texts a little like their image.
clip_benchmark gets them from a model that looks them up, so that its time is that of its metric. Each in a process of
its own.

{runs}

{ratios}

The recalls of both differ by {apart:.1e} at most. A dense matrix of the largest size would take {dense_gb:.0f} GB.
"""
KS = (1, 5, 10)
DIM = 512
BATCH = 64  # CLIP_benchmark's default
SIZES = {"COCO test": (5_000, 25_000), "PraCegoVer": (70_728, 70_728)}
SMALL = {"COCO test": (500, 2_500), "PraCegoVer": (2_000, 2_000)}
Floats = np.ndarray


def write_embeddings(folder: str, n_images: int, n_texts: int) -> None:
    """In a process of its own too: a child starts with the peak of its parent."""
    chance = np.random.default_rng(0)
    images = unit(chance.standard_normal((n_images, DIM), dtype=np.float32))
    noise = unit(chance.standard_normal((n_texts, DIM), dtype=np.float32))
    np.save(Path(folder, "images.npy"), images)
    np.save(Path(folder, "texts.npy"), unit(noise + 0.15 * images[owners(n_images, n_texts)]))


def unit(rows: Floats) -> Floats:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def owners(n_images: int, n_texts: int) -> np.ndarray:
    return np.repeat(np.arange(n_images), n_texts // n_images)


def clip_benchmark(images: Floats, texts: Floats) -> Callable[[], dict[str, float]]:
    """Its own ``evaluate``: batches of images, each with its captions."""
    import torch
    from clip_benchmark.metrics.zeroshot_retrieval import evaluate

    pictures, table = torch.from_numpy(images), torch.from_numpy(texts)
    each = len(texts) // len(images)
    captions = [[str(image * each + place) for place in range(each)] for image in range(len(images))]
    loader = [(pictures[at : at + BATCH], captions[at : at + BATCH]) for at in range(0, len(images), BATCH)]
    model = SimpleNamespace(encode_image=lambda rows: rows, encode_text=lambda numbers: table[numbers])

    def tokenizer(names: list[str]) -> Any:
        return torch.tensor([int(name) for name in names])

    def work() -> dict[str, float]:
        found = evaluate(model, loader, tokenizer, "cpu", amp=False, recall_k_list=list(KS))
        return {
            **{f"T→I {k}": found[f"image_retrieval_recall@{k}"] for k in KS},
            **{f"I→T {k}": found[f"text_retrieval_recall@{k}"] for k in KS},
        }

    return work


def capivara(images: Floats, texts: Floats) -> Callable[[], dict[str, float]]:
    from capivara_cli.evaluation.retrieval import retrieval

    def work() -> dict[str, float]:
        found = retrieval(images, texts, owners(len(images), len(texts)), KS)
        return {
            **{f"T→I {k}": value for k, value in found.text_to_image.items()},
            **{f"I→T {k}": value for k, value in found.image_to_text.items()},
        }

    return work


def run(way: str, folder: str) -> dict[str, Any]:
    images, texts = np.load(Path(folder, "images.npy")), np.load(Path(folder, "texts.npy"))
    work = {"clip_benchmark": clip_benchmark, "capivara": capivara}[way](images, texts)
    before = peak_mb()
    start, spent = time.perf_counter(), time.process_time()
    recalls = work()
    return {
        "seconds": time.perf_counter() - start,
        "cpu": time.process_time() - spent,
        "extra": peak_mb() - before,
        "peak": peak_mb(),
        "recalls": recalls,
    }


def measure(setup: Setup) -> Found:
    found: dict[tuple[str, str], dict[str, Any]] = {}
    rows: list[Row] = []
    sizes = SMALL if setup.small else SIZES
    for size, (n_images, n_texts) in sizes.items():
        with tempfile.TemporaryDirectory() as folder:
            apart(write_embeddings, folder, n_images, n_texts)
            for way in ("clip_benchmark", "capivara") if size == "COCO test" else ("capivara",):
                line = found[size, way] = apart(run, way, folder)
                rows.append({"size": f"{n_images:,}, {n_texts:,}", "way": way, **line})
    for row in rows:
        del row["recalls"]
    theirs, ours = (found["COCO test", way] for way in ("clip_benchmark", "capivara"))
    ratios = {
        f"clip_benchmark / capivara, {says}": theirs[key] / ours[key]
        for key, says in (("seconds", "seconds"), ("cpu", "CPU seconds"), ("extra", "memory beyond the embeddings"))
    }
    largest = sizes["PraCegoVer"]
    facts = {
        "dim": DIM,
        "apart": max(abs(theirs["recalls"][name] - ours["recalls"][name]) for name in ours["recalls"]),
        "dense_gb": 4 * largest[0] * largest[1] / 1e9,
    }
    return Found({"runs": rows}, ratios, facts)
