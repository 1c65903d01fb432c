"""Recall at 1, 5 and 10 both ways: CLIP_benchmark's code and ours on the same embeddings, each in its own process.

    python benchmarks/retrieval.py            # about two minutes on two cores

5,000 images with 25,000 captions (the size of COCO's test set) both ways, then 70,728 images with as many captions
by ours alone, where a matrix of all scores would take 20 GB. Embeddings are random unit vectors of 512 numbers, texts
a little like their image; CLIP_benchmark gets a model that only looks them up, so its time is that of its metric. The
memory is the peak beyond the process that has read the embeddings; the whole peak is that of the process.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

KS = (1, 5, 10)
DIM = 512
BATCH = 64  # CLIP_benchmark's default
SIZES = {"COCO test": (5_000, 25_000), "large": (70_728, 70_728)}
RUNS = (("COCO test", "clip_benchmark"), ("COCO test", "capivara"), ("large", "capivara"))
Floats = np.ndarray


def write_embeddings(folder: Path) -> None:
    """In a process of its own too: a child starts with the peak of its parent."""
    n_images, n_texts = SIZES[folder.name]
    chance = np.random.default_rng(0)
    images = unit(chance.standard_normal((n_images, DIM), dtype=np.float32))
    noise = unit(chance.standard_normal((n_texts, DIM), dtype=np.float32))
    np.save(folder / "images.npy", images)
    np.save(folder / "texts.npy", unit(noise + 0.15 * images[owners(n_images, n_texts)]))


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


def measure(way: str, folder: Path) -> dict[str, Any]:
    images, texts = np.load(folder / "images.npy"), np.load(folder / "texts.npy")
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


def peak_mb() -> float:
    """Of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


def processor() -> str:
    """What this runs on."""
    named = [line.split(":")[1].strip() for line in cpuinfo() if line.startswith("model name")]
    return f"{named[0] if named else platform.processor()}, {len(os.sched_getaffinity(0))} cores"


def cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def compare() -> None:
    """Every run in a process of its own, one after the other."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    print(f"{processor()}\n\n| | | seconds | CPU seconds | extra MB | whole peak MB |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as parent:
        for size, way in RUNS:
            folder = Path(parent) / size
            if not folder.exists():
                folder.mkdir()
                in_a_process("write", folder)
            line = found[size, way] = json.loads(in_a_process(way, folder).splitlines()[-1])
            n_images, n_texts = SIZES[size]
            print(
                f"| {n_images:,} images, {n_texts:,} captions | {way} "
                f"| {line['seconds']:.2f} | {line['cpu']:.2f} | {line['extra']:,.0f} | {line['peak']:,.0f} |",
                flush=True,
            )
    theirs, ours = (found["COCO test", way] for way in ("clip_benchmark", "capivara"))
    apart = max(abs(theirs["recalls"][name] - ours["recalls"][name]) for name in ours["recalls"])
    print(
        f"\n{theirs['seconds'] / ours['seconds']:.0f} x as fast ({theirs['cpu'] / ours['cpu']:.0f} x in CPU time) with "
        f"{theirs['extra'] / ours['extra']:.0f} x less memory beyond the inputs; recalls differ by {apart:.1e} at most"
    )


def in_a_process(way: str, folder: Path) -> str:
    """What this file prints with ``--way``."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, __file__, "--way", way, "--folder", str(folder)]
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    )
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.way == "write":
        write_embeddings(arguments.folder)
    elif arguments.way:
        print(json.dumps(measure(arguments.way, arguments.folder)))
    else:
        compare()


if __name__ == "__main__":
    main()
