"""The objective: a weighted sum of terms over the features of one batch.

A term is a small object. ``needs`` names what it uses besides the captions of the batch ("images", "anchors", "kept",
"teacher"), and a call turns the features into a scalar.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812 (torch's own name for it)

MAX_LOGIT_SCALE = math.log(100)
"""CLIP's upper bound on its learned logit scale (arXiv 2103.00020, section 2.5)."""
SIGLIP_SCALE, SIGLIP_BIAS = math.log(10), -10.0
"""Initial values of SigLIP (arXiv 2303.15343, section 3)."""


@dataclass(frozen=True)
class Features:
    """The features of one batch.

    ``versions``: one tensor [n, dim] for each version of the captions, not normalised. ``images`` [n, dim],
    L2-normalised. ``anchors`` and ``teacher``: [n, dim] for each version, valid where ``aligned`` and ``has_teacher``,
    bool [n], are true. ``kept`` [k, dim]: the base model's embeddings of the last k captions.
    """

    versions: Sequence[Tensor]
    logit_scale: Tensor
    logit_bias: Tensor | None = None
    images: Tensor | None = None
    anchors: Sequence[Tensor] = ()
    aligned: Sequence[Tensor] = ()
    teacher: Sequence[Tensor] = ()
    has_teacher: Sequence[Tensor] = ()
    kept: Tensor | None = None


class Term(Protocol):
    """One part of the objective."""

    @property
    def name(self) -> str: ...
    @property
    def weight(self) -> float: ...
    @property
    def needs(self) -> frozenset[str]: ...
    def __call__(self, features: Features) -> Tensor: ...


def info_nce(images: Tensor, texts: Tensor, logit_scale: Tensor) -> Tensor:
    """Symmetric InfoNCE: L = ½ [CE(s·I·Tᵀ) + CE(s·T·Iᵀ)], s = exp(logit_scale); text i matches only image i.

    ``images``, ``texts``: [n, dim], L2-normalised. Returns a scalar. (CLIP, arXiv 2103.00020, figure 3.)
    """
    logits = logit_scale.exp() * images @ texts.T
    labels = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2


def sigmoid_loss(images: Tensor, texts: Tensor, logit_scale: Tensor, logit_bias: Tensor) -> Tensor:
    """SigLIP's loss: L = -1/n Σᵢⱼ log σ(zᵢⱼ (s·Iᵢ·Tⱼ + b)), zᵢⱼ = 1 if i = j, else -1; s = exp(logit_scale).

    ``images``, ``texts``: [n, dim], L2-normalised. (SigLIP, arXiv 2303.15343, equation 2.)
    """
    logits = logit_scale.exp() * images @ texts.T + logit_bias
    signs = 2 * torch.eye(len(logits), device=logits.device) - 1
    return -F.logsigmoid(signs * logits).sum() / len(logits)


def drift(texts: Tensor, anchors: Tensor) -> Tensor:
    """The mean over n texts of 1 - cos(tᵢ, aᵢ), where aᵢ is the base model's embedding: learning without forgetting.

    ``texts``, ``anchors``: [n, dim]. Returns a scalar. (Li & Hoiem, arXiv 1606.09282. With frozen anchors it is the
    alignment term of arXiv 2305.03510.)
    """
    return (1 - F.cosine_similarity(texts, anchors, dim=-1)).mean()


def contrast_of_texts(texts: Tensor, anchors: Tensor) -> Tensor:
    """Symmetric InfoNCE between texts and anchors at the fixed scale of 100 (arXiv 2305.03510)."""
    scale = texts.new_tensor(MAX_LOGIT_SCALE)
    return info_nce(F.normalize(texts, dim=-1), F.normalize(anchors, dim=-1), scale)


DISTANCES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "mse": F.mse_loss,  # mean over all n·dim numbers; the embeddings are not normalised
    "cosine": drift,
    "contrastive": contrast_of_texts,
}


@dataclass(frozen=True)
class ImageText:
    """Contrastive loss between images and captions: ``clip`` (``info_nce``) or ``siglip`` (``sigmoid_loss``).

    With M versions of the captions, L = 1/M Σⱼ loss(I, Tⱼ): negatives are of the same version (LaCLIP-MT, arXiv
    2305.20088).
    """

    name: str = "clip"
    weight: float = 1.0
    needs = frozenset({"images"})

    def __call__(self, features: Features) -> Tensor:
        losses = [self._of(features, F.normalize(texts, dim=-1)) for texts in features.versions]
        return torch.stack(losses).mean()

    def _of(self, features: Features, texts: Tensor) -> Tensor:
        if features.images is None:
            raise ValueError(f"{self.name} needs images")
        if self.name == "clip" or features.logit_bias is None:
            return info_nce(features.images, texts, features.logit_scale)
        return sigmoid_loss(features.images, texts, features.logit_scale, features.logit_bias)


@dataclass(frozen=True)
class Align:
    """The mean distance between captions and their anchors, without captions that have none (arXiv 2305.03510)."""

    distance: str = "mse"
    weight: float = 0.1
    name = "align"
    needs = frozenset({"anchors"})

    def __call__(self, features: Features) -> Tensor:
        return _mean_distance(self.distance, features.versions, features.anchors, features.aligned)


@dataclass(frozen=True)
class Distill:
    """The mean distance between a caption's embedding and the teacher's embedding of its source text.

    It needs no images. (M-CLIP, LREC 2022; AltCLIP, arXiv 2211.06679.)
    """

    distance: str = "mse"
    weight: float = 1.0
    name = "distill"
    needs = frozenset({"teacher"})

    def __call__(self, features: Features) -> Tensor:
        return _mean_distance(self.distance, features.versions, features.teacher, features.has_teacher)


@dataclass(frozen=True)
class Keep:
    """The ``drift`` of the kept captions' embeddings from those of the base model."""

    weight: float = 4.0
    name = "drift"
    needs = frozenset({"kept"})

    def __call__(self, features: Features) -> Tensor:
        if features.kept is None or not len(features.kept):
            return features.versions[0].new_zeros(())
        return drift(features.versions[0][-len(features.kept) :], features.kept)


def _mean_distance(
    distance: str, versions: Sequence[Tensor], partners: Sequence[Tensor], masks: Sequence[Tensor]
) -> Tensor:
    """The mean distance over the versions with at least one partner; 0 if there is none."""
    losses = [
        DISTANCES[distance](texts[mask], partner[mask])
        for texts, partner, mask in zip(versions, partners, masks, strict=True)
        if mask.any()
    ]
    return torch.stack(losses).mean() if losses else versions[0].sum() * 0


@dataclass(frozen=True)
class Objective:
    """L = Σ wₖ·Lₖ over the terms."""

    terms: tuple[Term, ...]

    def needs(self, what: str) -> bool:
        """Whether a term needs "images", "anchors", "kept" or "teacher"."""
        return any(what in term.needs for term in self.terms)

    def __call__(self, features: Features) -> tuple[Tensor, dict[str, float]]:
        """The weighted sum as a scalar tensor, and the unweighted value of each term by name."""
        values = {term.name: term(features) for term in self.terms}
        total = torch.stack([term.weight * values[term.name] for term in self.terms]).sum()
        return total, {name: value.item() for name, value in values.items()}
