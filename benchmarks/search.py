"""Queries per second of `capivara search` over 100,000 images, exact and by faiss, and what faiss misses.

    python benchmarks/search.py            # about three minutes on two cores, 1.5 GB of memory

Embeddings are unit vectors of 512 numbers: those of 2,000 topics with as much chance as topic, queries alike, as real
ones cluster; and of chance alone, the worst case for an inverted file. The features are memory-mapped from a file as an
index is. Beside ours: a plain product with argpartition in numpy, and faiss's own exact index. Rates are the best of
twenty batches (the machine may be shared); recall@10 is the share of the ten best that the inverted file finds too.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from capivara_cli.searching import approximate, exact

DIM = 512
TOPICS = 2_000
QUERIES = 1024
BATCHES = (1, 64, 1024)
K = 10
REPEATS = 20
Floats = np.ndarray
Search = Callable[[Floats], np.ndarray]


def unit(rows: Floats) -> Floats:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def embeddings(kind: str, count: int) -> tuple[Floats, Floats]:
    """Images [count, 512] and queries [1024, 512]."""
    chance = np.random.default_rng(0)
    total = count + QUERIES
    rows = unit(chance.standard_normal((total, DIM), dtype=np.float32))
    if kind == "topics":
        topics = unit(chance.standard_normal((TOPICS, DIM), dtype=np.float32))
        rows = unit(rows + topics[chance.integers(TOPICS, size=total)])
    return rows[:count], rows[count:]


def mapped(rows: Floats, folder: Path) -> Floats:
    """The rows as an index has them: in a file, read when they are touched."""
    rows.tofile(folder / "features")
    return np.asarray(np.memmap(folder / "features", "<f4", "r")).reshape(rows.shape)


def exact_ways(features: Floats) -> Iterator[tuple[str, Search]]:
    yield "capivara, exact", lambda queries: exact.best(features, queries, K).rows
    yield "numpy: product, argpartition", lambda queries: plain(features, queries)
    import faiss

    flat = faiss.IndexFlatIP(DIM)
    flat.add(features)
    yield "faiss: IndexFlatIP", lambda queries: flat.search(queries, K)[1]


def inverted_file(features: Floats, folder: Path) -> tuple[str, Search]:
    start = time.perf_counter()
    inverted = approximate.inverted_file(features, folder)
    print(f"inverted file of {inverted.nlist:,} clusters made in {time.perf_counter() - start:.0f} s")
    return (
        f"capivara, faiss ({inverted.nprobe} of {inverted.nlist:,} clusters)",
        lambda queries: approximate.best_of(inverted, features, queries, K).rows,
    )


def plain(features: Floats, queries: Floats) -> np.ndarray:
    """What is usually written."""
    scores = queries @ features.T
    rows = np.argpartition(-scores, K, axis=1)[:, :K]
    order = np.argsort(-np.take_along_axis(scores, rows, 1), axis=1)
    return np.take_along_axis(rows, order, 1)


def rates(named: Sequence[tuple[str, Search]], queries: Floats, batch: int) -> list[float]:
    """Queries per second of each way in its fastest batch; they take turns, so that none has a quiet minute alone."""
    batches = [queries[start : start + batch] for start in range(0, len(queries), batch)]
    fastest = [np.inf] * len(named)
    for number in range(REPEATS):
        for place, (_, search) in enumerate(named):
            start = time.perf_counter()
            search(batches[number % len(batches)])
            fastest[place] = min(fastest[place], time.perf_counter() - start)
    return [batch / seconds for seconds in fastest]


def recall(found: np.ndarray, expected: np.ndarray) -> float:
    """The mean share of the expected rows that were found."""
    return float(np.mean([len(set(one) & set(other)) / K for one, other in zip(found, expected, strict=True)]))


def measure(kind: str, count: int) -> None:
    images, queries = embeddings(kind, count)
    print(f"\n{kind}: {count:,} images of {DIM} numbers, k = {K}; batches of queries")
    with tempfile.TemporaryDirectory() as name:
        features = mapped(images, Path(name))
        del images
        expected = exact.best(features, queries, K).rows
        named = [*(exact_ways(features) if kind == "topics" else ()), inverted_file(features, Path(name))]
        columns = [rates(named, queries, batch) for batch in BATCHES]
        shares = [recall(search(queries), expected) for _, search in named]
    print("\n| queries per second | " + " | ".join(f"{batch:,} at a time" for batch in BATCHES) + f" | recall@{K} |")
    print("|---" * (len(BATCHES) + 2) + "|")
    for (way, _), share, *row in zip(named, shares, *columns, strict=True):
        print(f"| {way} | " + " | ".join(f"{rate:,.0f}" for rate in row) + f" | {share:.4f} |", flush=True)


def processor() -> str:
    """What this runs on."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    named = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{named[0] if named else platform.processor()}, {len(os.sched_getaffinity(0))} cores"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    count = parser.parse_args().images
    print(f"{processor()}, load {os.getloadavg()[0]:.1f} at the start")
    for kind in ("topics", "chance"):
        measure(kind, count)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)
    print(f"\npeak {peak:,.0f} MB, load {os.getloadavg()[0]:.1f} at the end")


if __name__ == "__main__":
    main()
