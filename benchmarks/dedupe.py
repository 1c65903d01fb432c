"""Seconds and peak memory of deciding which images stay: a million perceptual hashes, a hundred thousand embeddings.

    python benchmarks/dedupe.py            # some minutes on two cores, 2 GB of memory

Each case runs in a process of its own; its memory is the peak of the process less what importing costs. A tenth of the
hashes are 0 to 6 bits beside another, a tenth of the embeddings near another (cosine 0.9 to 1). "Crowded": half of the
hashes share 40 of their bits, as drawings on white do; one in a hundred lies in a crowd of thousands within the radius.
Beside ours: all pairs by faiss (its exact indexes), which finds the pairs and does not yet say what stays, and for the
clusters the same decision by all pairs: recall is the share of its near-duplicates that go, and "kept too few" is what
goes and need not.
"""

from __future__ import annotations

import json
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

DIM = 512
RADIUS = 4
SIMILARITY = 0.96
Found = dict[str, float]


def hashes(count: int, crowded: bool = False) -> np.ndarray:
    chance = np.random.default_rng(0)
    made = chance.integers(0, 2**64, count, dtype=np.uint64)
    if crowded:
        made[: count // 2] &= np.uint64(2**24 - 1)
        made[: count // 100] = chance.choice(chance.integers(0, 2**64, 3, dtype=np.uint64), count // 100)
    copies = count // 10
    made[-copies:] = made[chance.integers(0, count - copies, copies)]
    for _ in range(6):
        made[-copies:] ^= np.uint64(1) << chance.integers(0, 64, copies, dtype=np.uint64)
        copies -= copies // 3
    if crowded:
        for _ in range(2):
            made[: count // 100] ^= np.uint64(1) << chance.integers(0, 64, count // 100, dtype=np.uint64)
    return np.unique(made)[chance.permutation(len(np.unique(made)))]


def embeddings(count: int) -> np.ndarray:
    """float16 [count, 512]: 2,000 topics with as much chance as topic, a tenth near another."""
    chance = np.random.default_rng(0)
    rows = chance.standard_normal((count, DIM), dtype=np.float32)
    rows += chance.standard_normal((2000, DIM), dtype=np.float32)[chance.integers(0, 2000, count)]
    copies = count // 10
    noise = chance.standard_normal((copies, DIM), dtype=np.float32)
    rows[-copies:] = rows[chance.integers(0, count - copies, copies)] + noise * chance.random((copies, 1), np.float32)
    return rows[chance.permutation(count)].astype(np.float16)


def our_hashes(count: int, crowded: bool) -> Callable[[], Found]:
    from capivara_cli.deduplication.greedy import first_of_near
    from capivara_cli.deduplication.hamming import HashSpace

    space = HashSpace(hashes(count, crowded), RADIUS)
    return lambda: {"go": float((~first_of_near(space)).sum())}


def faiss_hashes(count: int) -> Callable[[], Found]:
    import faiss

    rows = hashes(count).view(np.uint8).reshape(-1, 8)

    def find() -> Found:
        index = faiss.IndexBinaryFlat(64)
        index.add(rows)
        pairs = sum(
            len(index.range_search(rows[start : start + 4096], RADIUS + 1)[2]) for start in range(0, len(rows), 4096)
        )
        return {"pairs": float(pairs - len(rows)) / 2}

    return find


def our_embeddings(count: int) -> Callable[[], Found]:
    from capivara_cli.deduplication.cosine import CosineSpace, Vectors
    from capivara_cli.deduplication.greedy import first_of_near

    space = CosineSpace(Vectors(embeddings(count), SIMILARITY, "cpu"))
    return lambda: {"go": float((~first_of_near(space)).sum())}


def faiss_embeddings(count: int) -> Callable[[], Found]:
    import faiss

    rows = embeddings(count).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)

    def find() -> Found:
        index = faiss.IndexFlatIP(DIM)
        index.add(rows)
        pairs = sum(
            len(index.range_search(rows[start : start + 2048], SIMILARITY)[2]) for start in range(0, count, 2048)
        )
        return {"pairs": float(pairs - count) / 2}

    return find


def clustered(count: int) -> Callable[[], Found]:
    from capivara_cli.deduplication import clusters
    from capivara_cli.deduplication.cosine import CosineSpace, Vectors
    from capivara_cli.deduplication.greedy import first_of_near

    rows = embeddings(count)
    vectors = Vectors(rows, SIMILARITY, "cpu")

    def find() -> Found:
        start = time.perf_counter()
        number = clusters.count_for(count)
        centres = clusters.centres(clusters.sample_of(lambda: iter([rows]), count, number), number, "cpu")
        near = clusters.nearest(rows, centres, "cpu")
        at = np.argsort(near[:, 0], kind="stable")
        place = np.empty(count, np.int64)
        place[at] = np.arange(count)
        space = clusters.ClusterSpace(Vectors(rows[at], SIMILARITY, "cpu"), near, place)
        stays = first_of_near(space)
        seconds = time.perf_counter() - start
        exact = first_of_near(CosineSpace(vectors))
        recall = (~stays & ~exact).sum() / (~exact).sum()
        return {
            "go": float((~stays).sum()),
            "recall": recall,
            "too few": float((~stays & exact).sum()),
            "seconds in clusters": seconds,
        }

    return find


CASES: dict[str, Callable[[], Callable[[], Found]]] = {
    "1,000,000 hashes": lambda: our_hashes(1_000_000, False),
    "1,000,000 hashes, crowded": lambda: our_hashes(1_000_000, True),
    "10,000,000 hashes": lambda: our_hashes(10_000_000, False),
    "100,000 hashes": lambda: our_hashes(100_000, False),
    "100,000 hashes, faiss IndexBinaryFlat": lambda: faiss_hashes(100_000),
    "100,000 embeddings": lambda: our_embeddings(100_000),
    "100,000 embeddings, faiss IndexFlatIP": lambda: faiss_embeddings(100_000),
    "100,000 embeddings in clusters": lambda: clustered(100_000),
}


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def one(case: str) -> None:
    prepared = CASES[case]()
    before, start, work = peak(), time.perf_counter(), time.process_time()
    found = prepared()
    seconds, work = time.perf_counter() - start, time.process_time() - work
    print(json.dumps({"seconds": seconds, "cpu": work, "peak": peak(), "more": peak() - before, **found}))


def main() -> None:
    print(f"{platform.processor() or platform.machine()}, numpy {np.__version__}\n")
    print("| case | seconds | CPU seconds | peak MB, of it while deciding | found |\n|---|---|---|---|---|")
    for case in sys.argv[1:] or CASES:
        done = subprocess.run([sys.executable, __file__, "--case", case], capture_output=True, text=True, check=True)
        found = json.loads(done.stdout)
        seconds, work, most, more = (found.pop(name) for name in ("seconds", "cpu", "peak", "more"))
        said = ", ".join(
            f"{name} {value:,.4g}" if value < 2 else f"{name} {value:,.0f}" for name, value in found.items()
        )
        print(f"| {case} | {seconds:.1f} | {work:.1f} | {most:,.0f}, {more:,.0f} | {said} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--case"]:
        one(sys.argv[2])
    else:
        main()
