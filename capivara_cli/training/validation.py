"""Retrieval on held-out images, measured during training."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812 (torch's own name for it)

from capivara_cli.evaluation.retrieval import retrieval
from capivara_cli.training.data import CaptionPool
from capivara_cli.training.encoder import Encoder, ImageEncoder
from capivara_cli.training.store import FeatureStore


class Validation:
    """Computes the mean recall in percent (R@1, R@5, R@10, both directions) by language, and its ``mean`` over them.

    ``parts``: for each language, a feature store and its captions in that language. ``images``: the encoder of images,
    None if images are stored vectors.
    """

    def __init__(
        self, parts: Mapping[str, tuple[FeatureStore, CaptionPool]], images: ImageEncoder | None = None
    ) -> None:
        self._parts, self._images = parts, images

    def __call__(self, encoder: Encoder) -> dict[str, float]:
        tower = encoder.tower
        training = tower.training
        tower.eval()
        scores = {lang: self._score(encoder, *part) for lang, part in self._parts.items()}
        tower.train(training)
        return {**scores, "mean": sum(scores.values()) / len(scores)}

    def _score(self, encoder: Encoder, store: FeatureStore, pool: CaptionPool) -> float:
        rows = pool.images
        with torch.no_grad():
            texts = encoder(store.rows(pool.ids), (0,)).features
            if self._images is None:
                images = torch.from_numpy(store.images[rows, 0].astype(np.float32))
            else:
                images = self._images([store.pixels[row] for row in rows], (0,)).features.cpu()
        owners = np.repeat(np.arange(len(rows)), pool.counts[rows])
        found = retrieval(F.normalize(images, dim=-1).numpy(), F.normalize(texts, dim=-1).cpu().numpy(), owners)
        return round(100 * found.mean_recall, 4)
