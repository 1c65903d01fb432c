"""Feature stores made in memory, without a model and without shards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from capivara_cli.training.data import TrainingData, select
from capivara_cli.training.store import FeatureStore


def store_of(counts: list[list[int]], by: list[str] | None = None) -> FeatureStore:
    """``counts[i][l]`` captions of image i in language l (0: pt, 1: en); the image's vector is its number."""
    lang = [place for image in counts for place, count in enumerate(image) for _ in range(count)]
    first = np.cumsum([0, *(sum(image) for image in counts)])
    images = np.arange(len(counts), dtype=np.float16).reshape(-1, 1, 1)
    authors = sorted(set(by or ["alt"]))
    written = np.array([authors.index(name) for name in by] if by else np.zeros(len(lang)), np.uint16)
    none = np.zeros(0, np.int64)
    return FeatureStore(
        Path(), {"languages": ["pt", "en"], "authors": authors}, images, np.ones(len(counts), bool), first,
        np.arange(len(lang), dtype=np.int32), np.arange(len(lang) + 1), np.array(lang, np.uint16), written,
        np.full(len(lang), -1), none, none, none, none, none,
    )  # fmt: skip


def data_of(target: Sequence[int], kept: Sequence[int]) -> TrainingData:
    """Images with so many Portuguese captions to learn, and so many English ones to keep."""
    store = store_of([[a, b] for a, b in zip(target, kept, strict=True)])
    return select(store, ["pt"], ["en"])


def strings(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Texts as a store holds them: their bytes, and the bounds of each."""
    encoded = [text.encode() for text in texts]
    return np.frombuffer(b"".join(encoded), np.uint8), np.cumsum([0, *map(len, encoded)])
