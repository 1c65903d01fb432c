"""Losses over the features of one batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (torch's own name for it)

MAX_LOGIT_SCALE = 4.605170185988092
"""ln 100: the bound CLIP (arXiv 2103.00020, section 2.5) puts on its learned temperature."""


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
