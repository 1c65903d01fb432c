"""The contrastive objective of CLIP over one batch, with texts encoded in chunks of similar length."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (torch's own name for it)

MAX_LOGIT_SCALE = 4.605170185988092
"""ln 100: the bound CLIP (arXiv 2103.00020, section 2.5) puts on its learned temperature."""

_CHUNK = 24
_MAX_CHUNKS = 16


def info_nce(images: Tensor, texts: Tensor, logit_scale: Tensor) -> Tensor:
    """Symmetric InfoNCE: L = ½ [CE(s·I·Tᵀ) + CE(s·T·Iᵀ)], s = exp(logit_scale), pair i being the only match of i.

    ``images``, ``texts``: [n, dim], L2-normalised. Returns a scalar. (CLIP, arXiv 2103.00020, figure 3.)
    """
    logits = logit_scale.exp() * images @ texts.T
    labels = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2


def drift(texts: Tensor, anchors: Tensor) -> Tensor:
    """Mean of 1 - cosine between embeddings and where they were before: learning without forgetting, by distillation.

    ``texts``, ``anchors``: [n, dim], L2-normalised; no gradient goes to ``anchors``. (Li & Hoiem, arXiv 1606.09282;
    the frozen-anchor form of the alignment term of arXiv 2305.03510.)
    """
    return (1 - (texts * anchors).sum(-1)).mean()


def chunks_by_length(rows: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Indices of the rows, sorted by length and cut into chunks to be padded each to its own longest row.

    Batch, negatives and loss stay those of one padded batch: only the padding, which the towers mask, goes.
    """
    order = np.argsort([len(row) for row in rows], kind="stable")
    return np.array_split(order, max(1, min(_MAX_CHUNKS, len(rows) // _CHUNK)))


def encode_texts(
    tower: Callable[[Tensor], Tensor],
    rows: Sequence[np.ndarray],
    pad: Callable[[list[np.ndarray]], Tensor],
    device: str,
) -> tuple[Tensor, int]:
    """Token rows -> ([n, dim] L2-normalised, in the order given; tokens computed, padding included)."""
    chunks = chunks_by_length(rows)
    padded = [pad([rows[index] for index in chunk]) for chunk in chunks]
    features = torch.cat([tower(tokens.to(device)) for tokens in padded])
    back = torch.from_numpy(np.argsort(np.concatenate(chunks), kind="stable")).to(device)
    return F.normalize(features[back].float(), dim=-1), sum(tokens.numel() for tokens in padded)
