"""The teacher of a distillation: another model's embeddings of the source texts of captions."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor

from capivara_cli import console
from capivara_cli.errors import CapivaraError
from capivara_cli.models.clip import Clip
from capivara_cli.storage.files import replacing
from capivara_cli.training.data import Batch, TrainingData

_CHUNK = 1024


class Teacher:
    """The teacher's text embeddings, not normalised, computed once and saved in the feature store's folder.

    The target of a translated caption is the embedding of its source; the target of a kept caption is its own embedding
    (M-CLIP, LREC 2022; AltCLIP, arXiv 2211.06679). Raises ``CapivaraError`` if no caption has a known source.
    """

    def __init__(self, model: Clip, data: TrainingData) -> None:
        self._sources = data.store.source
        known = self._sources[data.target.ids]
        self._ids = np.unique(np.concatenate([known[known >= 0], data.kept.ids]))
        if not (known >= 0).any():
            raise CapivaraError(
                "--objective distill: no caption has a known source text",
                "captions of capivara translate have one; captions that people wrote have none",
            )
        name = hashlib.sha256(model.text_digest.encode() + self._ids.tobytes()).hexdigest()[:24]
        path = data.store.folder / f"teacher-{name}.npy"
        if not path.is_file():
            with replacing(path) as out:
                np.save(out, self._embed(model, data))
        self._features = np.load(path, mmap_mode="r")

    def _embed(self, model: Clip, data: TrainingData) -> np.ndarray:
        blocks = [np.zeros((0, model.dim), np.float16)]
        progress = console.Progress("teacher", len(self._ids))
        for start in range(0, len(self._ids), _CHUNK):
            chosen = self._ids[start : start + _CHUNK]
            texts = [data.store.text(caption) for caption in chosen]
            codes = [data.store.languages[lang] for lang in data.store.lang[chosen]]
            blocks.append(model.embed_texts(texts, codes, normalize=False).astype(np.float16))
            progress.advance(len(texts))
        progress.close()
        return np.concatenate(blocks)

    def sources(self, batch: Batch) -> np.ndarray:
        """int64 [versions, n]: the ids of the texts that are the targets of the batch's captions, -1 for none."""
        sources = self._sources[batch.captions]
        if batch.kept:
            sources[:, -batch.kept :] = batch.captions[:, -batch.kept :]
        return sources

    def of(self, sources: np.ndarray) -> Tensor:
        """float32 [n, dim]: the embeddings of the texts ``sources`` [n]; an arbitrary embedding if the id is -1."""
        places = np.clip(np.searchsorted(self._ids, sources), 0, len(self._ids) - 1)
        return torch.from_numpy(self._features[places].astype(np.float32))
