"""Near-duplicate captions of one image: which of them stay, ours beside the code of the paper.

The captions are draws of 12 from 28 words, so most are near others and go. The paper's code is written again in our
own words (scikit-learn and numpy): it compares words and computes no cosines again.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

from benchmarks.peers.results import Found, Row, Setup

TITLE = "Near-duplicate captions"
PACKAGES = ("numpy", "scikit-learn")
COLUMNS = {
    "ways": {
        "captions": ("captions of an image", ",.0f"),
        "ours": ("`dedupe`", ".4f"),
        "paper": ("`dedupe --paper`", ".4f"),
        "original": ("the original's way", ".4f"),
        "left": ("captions that stay", ",.0f"),
    }
}
TEXT = """
CPU seconds for the captions of one image, the least of {repeats}: `dedupe` (cosines of character trigrams, computed
again until nothing changes), `dedupe --paper`, and the operations of the original, `remove_similar` of CAPIVARA, on
scikit-learn.

{ways}

{ratios}
"""
REPEATS = 3
SENTENCE = (
    "a man two women dog on the beach with red hat is riding bike green of in near small large photo picture cat sits "
    "stands under tree house"
)
Way = Callable[[list[str]], list[int]]


def captions(count: int) -> list[str]:
    chance = random.Random(count)
    return [" ".join(chance.choices(SENTENCE.split(), k=12)) for _ in range(count)]


def ours(texts: list[str]) -> list[int]:
    from capivara_cli.shards.sample import Caption
    from capivara_cli.stages.deduplication.captions import diverse

    made = [Caption(text, "en", "alt") for text in texts]
    return diverse(made, [(2.0, False, index) for index in range(len(made))], list(range(len(made))), 3, 0.3)


def paper(texts: list[str]) -> list[int]:
    from capivara_cli.stages.deduplication.captions import algorithm_1

    return algorithm_1(texts, 3, 0.3)


def original(texts: list[str]) -> list[int]:
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.metrics.pairwise import cosine_similarity

    matrix = cosine_similarity(TfidfVectorizer().fit_transform(texts))
    left = len(matrix)
    matrix = matrix - np.eye(left)
    while not (matrix <= 0.3).all() and left > 3:
        most = np.argmax(matrix.sum(axis=0))
        matrix[most, :] = 0
        matrix[:, most] = 0
        left -= 1
    return np.flatnonzero(matrix.sum(axis=0) != 0).tolist()


def seconds(way: Way, texts: list[str]) -> tuple[float, int]:
    """The least CPU time of a few repeats, and the number of captions that stay."""
    taken, left = [], 0
    for _ in range(REPEATS):
        start = time.process_time()
        left = len(way(texts))
        taken.append(time.process_time() - start)
    return min(taken), left


def measure(setup: Setup) -> Found:
    rows: list[Row] = []
    for count in (11, 50) if setup.small else (11, 100, 500, 1000):
        texts = captions(count)
        paper(texts), original(texts)  # imports
        taken = {name: seconds(way, texts) for name, way in (("ours", ours), ("paper", paper), ("original", original))}
        rows.append({"captions": count, "left": taken["ours"][1], **{name: each[0] for name, each in taken.items()}})
    last = rows[-1]
    ratios = {
        f"the original's way / `{name}`, {last['captions']:,} captions": last["original"] / last[key]
        for name, key in (("dedupe", "ours"), ("dedupe --paper", "paper"))
    }
    return Found({"ways": rows}, ratios, {"repeats": REPEATS})
