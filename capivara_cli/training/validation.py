"""How good the model is on images that are not trained on, measured while it trains."""

from __future__ import annotations

import numpy as np
import torch
from torch.nn import functional as F  # noqa: N812 (torch's own name for it)

from capivara_cli.evaluation.retrieval import retrieval
from capivara_cli.training.data import Pool
from capivara_cli.training.encoder import Encoder, ImageEncoder
from capivara_cli.training.store import Store


class Validation:
    """Mean recall (R@1, 5 and 10, both directions, in percent) per language, and its mean over languages."""

    def __init__(self, store: Store, pools: dict[str, Pool], images: ImageEncoder | None = None) -> None:
        self._store, self._pools, self._images = store, pools, images

    def __call__(self, encoder: Encoder) -> dict[str, float]:
        tower = encoder.tower
        training = tower.training
        tower.eval()
        scores = {lang: self._score(encoder, pool) for lang, pool in self._pools.items()}
        tower.train(training)
        return {**scores, "mean": sum(scores.values()) / len(scores)}

    def _score(self, encoder: Encoder, pool: Pool) -> float:
        places = pool.images
        with torch.no_grad():
            texts = encoder(self._store.rows(pool.ids), (0,)).features
            if self._images is None:
                images = torch.from_numpy(self._store.images[places, 0].astype(np.float32))
            else:
                images = self._images(self._images.pixels(places), (0,)).features.cpu()
        owners = np.repeat(np.arange(len(places)), pool.counts[places])
        found = retrieval(F.normalize(images, dim=-1).numpy(), F.normalize(texts, dim=-1).cpu().numpy(), owners)
        return round(100 * found.mean_recall, 4)
