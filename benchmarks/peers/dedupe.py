"""Deciding which images stay: perceptual hashes and embeddings, ours beside all pairs by faiss.

Each case runs in a process of its own. A tenth of the hashes are 0 to 6 bits beside another, a tenth of the embeddings
near another (cosine 0.9 to 1). "Crowded": half of the hashes share 40 of their bits, as drawings on white do; one in a
hundred lies in a crowd of thousands within the radius. faiss (its exact indexes) finds the pairs and does not yet say
what stays.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from benchmarks.peers.apart import apart, peak_mb
from benchmarks.peers.results import Found, Row, Setup

TITLE = "Near-duplicate images"
PACKAGES = ("faiss-cpu", "numpy", "torch")
COLUMNS = {
    "cases": {
        "case": ("", ""),
        "seconds": ("seconds", ".1f"),
        "cpu": ("CPU seconds", ".1f"),
        "peak": ("peak MB", ",.0f"),
        "more": ("of it while deciding", ",.0f"),
        "go": ("images that go", ",.0f"),
        "pairs": ("pairs found", ",.0f"),
    }
}
TEXT = """
Which of many images are near-duplicates of one that stays: 64-bit perceptual hashes within {radius} bits, embeddings
of {dim} numbers with a cosine of {similarity} and more. A tenth are near another; "crowded" has half of the hashes
alike in 40 bits and crowds of thousands within the radius. faiss's exact indexes find the pairs but do not
choose which images stay. Each runs in a process of its own.

{cases}

{ratios}

Within clusters (which `dedupe` uses beyond a certain size): it removes {recall:.2%} of the near-duplicates that a
comparison of all pairs finds, and {too_few:.0f} other images.
"""
DIM = 512
RADIUS = 4
SIMILARITY = 0.96
Decision = Callable[[], dict[str, float]]


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


def our_hashes(count: int, crowded: bool = False) -> Decision:
    from capivara_cli.stages.deduplication.first_of_near import first_of_near
    from capivara_cli.stages.deduplication.hamming import HashSpace

    space = HashSpace(hashes(count, crowded), RADIUS)
    return lambda: {"go": float((~first_of_near(space)).sum())}


def crowded_hashes(count: int) -> Decision:
    return our_hashes(count, True)


def faiss_hashes(count: int) -> Decision:
    import faiss

    rows = hashes(count).view(np.uint8).reshape(-1, 8)

    def find() -> dict[str, float]:
        index = faiss.IndexBinaryFlat(64)
        index.add(rows)
        pairs = sum(
            len(index.range_search(rows[start : start + 4096], RADIUS + 1)[2]) for start in range(0, len(rows), 4096)
        )
        return {"pairs": float(pairs - len(rows)) / 2}

    return find


def our_embeddings(count: int) -> Decision:
    from capivara_cli.stages.deduplication.cosine import CosineSpace, Vectors
    from capivara_cli.stages.deduplication.first_of_near import first_of_near

    space = CosineSpace(Vectors(embeddings(count), SIMILARITY, "cpu"))
    return lambda: {"go": float((~first_of_near(space)).sum())}


def faiss_embeddings(count: int) -> Decision:
    import faiss

    rows = embeddings(count).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)

    def find() -> dict[str, float]:
        index = faiss.IndexFlatIP(DIM)
        index.add(rows)
        pairs = sum(
            len(index.range_search(rows[start : start + 2048], SIMILARITY)[2]) for start in range(0, count, 2048)
        )
        return {"pairs": float(pairs - count) / 2}

    return find


def clustered(count: int) -> Decision:
    """In clusters; then, on a clock of its own, by all pairs, to compare."""
    from capivara_cli.stages.deduplication import clusters
    from capivara_cli.stages.deduplication.cosine import CosineSpace, Vectors
    from capivara_cli.stages.deduplication.first_of_near import first_of_near

    rows = embeddings(count)
    vectors = Vectors(rows, SIMILARITY, "cpu")

    def find() -> dict[str, float]:
        start, work = time.perf_counter(), time.process_time()
        number = clusters.count_for(count)
        centres = clusters.centres(clusters.sample_of(lambda: iter([rows]), count, number), number, "cpu")
        near = clusters.nearest(rows, centres, "cpu")
        at = np.argsort(near[:, 0], kind="stable")
        place = np.empty(count, np.int64)
        place[at] = np.arange(count)
        stays = first_of_near(clusters.ClusterSpace(Vectors(rows[at], SIMILARITY, "cpu"), near, place))
        taken = {"seconds": time.perf_counter() - start, "cpu": time.process_time() - work, "peak": peak_mb()}
        exact = first_of_near(CosineSpace(vectors))
        return {
            **taken,
            "go": float((~stays).sum()),
            "recall": float((~stays & ~exact).sum() / (~exact).sum()),
            "too_few": float((~stays & exact).sum()),
        }

    return find


CASES: dict[str, tuple[Callable[[int], Decision], int]] = {
    "hashes": (our_hashes, 1_000_000),
    "hashes, crowded": (crowded_hashes, 1_000_000),
    "hashes ": (our_hashes, 100_000),
    "hashes, faiss IndexBinaryFlat": (faiss_hashes, 100_000),
    "embeddings": (our_embeddings, 50_000),
    "embeddings, faiss IndexFlatIP": (faiss_embeddings, 50_000),
    "embeddings in clusters": (clustered, 50_000),
}


def run(case: str, count: int) -> Row:
    prepared = CASES[case][0](count)
    before, start, work = peak_mb(), time.perf_counter(), time.process_time()
    found = prepared()
    taken = {"seconds": time.perf_counter() - start, "cpu": time.process_time() - work, "peak": peak_mb()} | found
    return {**taken, "more": taken["peak"] - before, "case": f"{count:,} {case.strip()}"}


def measure(setup: Setup) -> Found:
    found = {case: apart(run, case, count // 25 if setup.small else count) for case, (_, count) in CASES.items()}
    last = found["embeddings in clusters"]
    facts = {
        "radius": RADIUS, "dim": DIM, "similarity": SIMILARITY, "recall": last.pop("recall"),
        "too_few": last.pop("too_few"),
    }  # fmt: skip
    pairs = (
        ("hashes, faiss IndexBinaryFlat", "hashes "),
        ("embeddings, faiss IndexFlatIP", "embeddings"),
        ("embeddings, faiss IndexFlatIP", "embeddings in clusters"),
    )
    ratios = {
        f"{found[one]['case']} / {found[other]['case']}, seconds": found[one]["seconds"] / found[other]["seconds"]
        for one, other in pairs
    }
    return Found({"cases": list(found.values())}, ratios, facts)
