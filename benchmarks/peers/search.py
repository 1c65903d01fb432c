"""Queries per second of `capivara search`, exact and by faiss, beside numpy and faiss's own exact index.

Embeddings are unit vectors of 512 numbers: those of 2,000 topics with as much chance as topic, queries alike, as real
ones cluster; and of chance alone, the worst case for an inverted file. The features are memory-mapped from a file as an
index is. Rates are the best of some batches, the ways taking turns; recall@10 is the share of the ten best that the
inverted file finds too.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from benchmarks.peers.results import Found, Row, Setup
from benchmarks.peers.retrieval import unit

TITLE = "Search"
PACKAGES = ("faiss-cpu", "numpy")
BATCHES = (1, 64, 1024)
K = 10
COLUMNS = {
    "rates": {
        "way": ("queries per second", ""),
        **{f"at {batch}": (f"{batch:,} at a time", ",.0f") for batch in BATCHES},
        "recall": (f"recall@{K}", ".4f"),
    }
}
TEXT = """
The {k} best of {images:,} images of {dim} numbers around {topics:,} topics: queries per second, the fastest of
{repeats} batches, with the ways taking turns.

{rates}

{ratios}

One query reads all {megabytes:,.0f} MB of embeddings, so memory bandwidth limits it. On vectors without any structure,
which no images have, the inverted file finds {chance_recall:.3f} of the {k} best at {chance_rate:,.0f} queries per
second.
"""
DIM = 512
TOPICS = 2_000
QUERIES = 1024
REPEATS = 10
Floats = np.ndarray
Search = Callable[[Floats], np.ndarray]


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
    import faiss

    from capivara_cli.commands.searching import exact

    yield "capivara, exact", lambda queries: exact.best(features, queries, K).rows
    yield "numpy: product, argpartition", lambda queries: plain(features, queries)
    flat = faiss.IndexFlatIP(DIM)
    flat.add(features)
    yield "faiss: IndexFlatIP", lambda queries: flat.search(queries, K)[1]


def inverted_file(features: Floats, folder: Path) -> tuple[str, Search]:
    from capivara_cli.commands.searching import approximate

    inverted = approximate.inverted_file(features, folder)
    return (
        f"capivara, `--index faiss` ({inverted.nprobe} of {inverted.nlist:,} clusters)",
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


def compared(kind: str, count: int) -> list[Row]:
    """The ways, exact ones for topics alone."""
    from capivara_cli.commands.searching import exact

    images, queries = embeddings(kind, count)
    with tempfile.TemporaryDirectory() as name:
        features = mapped(images, Path(name))
        del images
        expected = exact.best(features, queries, K).rows
        named = [*(exact_ways(features) if kind == "topics" else ()), inverted_file(features, Path(name))]
        columns = [rates(named, queries, batch) for batch in BATCHES]
        shares = [recall(search(queries), expected) for _, search in named]
    return [
        {"way": way, **{f"at {batch}": rate for batch, rate in zip(BATCHES, row, strict=True)}, "recall": share}
        for (way, _), share, *row in zip(named, shares, *columns, strict=True)
    ]


def measure(setup: Setup) -> Found:
    count = 10_000 if setup.small else 100_000
    rows, (chance,) = compared("topics", count), compared("chance", count)
    ours, numpy, flat, inverted = rows
    ratios = {}
    for batch in BATCHES:
        at = f"at {batch}"
        ratios[f"faiss: IndexFlatIP / capivara, exact, {batch:,} at a time"] = ours[at] / flat[at]
        ratios[f"numpy / capivara, exact, {batch:,} at a time"] = ours[at] / numpy[at]
        ratios[f"capivara, exact / capivara, `--index faiss`, {batch:,} at a time"] = inverted[at] / ours[at]
    facts = {
        "k": K, "images": count, "dim": DIM, "topics": TOPICS, "repeats": REPEATS, "megabytes": 4 * DIM * count / 1e6,
        "chance_recall": chance["recall"], "chance_rate": chance[f"at {BATCHES[0]}"],
    }  # fmt: skip
    return Found({"rates": rows}, ratios, facts)
