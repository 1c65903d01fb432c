"""The teacher of a distillation: another model's embeddings of the source texts of captions."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from capivara_cli import console
from capivara_cli.errors import CapivaraError
from capivara_cli.models.clip import Clip
from capivara_cli.storage.arrays import ArrayWriter, map_arrays, read_document, write_document
from capivara_cli.storage.shared_folders import opened_or_made
from capivara_cli.training.data import Batch, TrainingData

_CHUNK = 1024
_ARRAYS = {"features": "<f2"}
_DOCUMENT = "teacher.json"


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
        self._features = opened_or_made(
            data.store.folder / f"teacher-{name}",
            lambda folder: self._opened(folder, model.dim),
            lambda folder: self._write(folder, model, data),
        )

    def _opened(self, folder: Path, dim: int) -> np.ndarray:
        """The embeddings [n, dim] in a folder, memory-mapped. Raises ``DamagedArrays``."""
        document = read_document(folder / _DOCUMENT)
        return map_arrays(folder, _ARRAYS, document.get("files"))["features"].reshape(-1, dim)

    def _write(self, folder: Path, model: Clip, data: TrainingData) -> None:
        """Embed the source texts, and write their embeddings into a folder."""
        progress = console.Progress("teacher", len(self._ids))
        with ArrayWriter(folder, _ARRAYS) as arrays:
            for start in range(0, len(self._ids), _CHUNK):
                chosen = self._ids[start : start + _CHUNK]
                texts = [data.store.text(caption) for caption in chosen]
                codes = [data.store.languages[lang] for lang in data.store.lang[chosen]]
                arrays.put("features", model.embed_texts(texts, codes, normalize=False))
                progress.advance(len(texts))
        progress.close()
        write_document(folder / _DOCUMENT, {"files": arrays.files})

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
