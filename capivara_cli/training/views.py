"""Augmented views of an image. CAPIVARA draws a new one at every visit; here K of them are drawn once and stored.

Resize to 250, a random crop of 90 to 100 % of the area, AugMix of severity 2 (CAPIVARA, section 4; AugMix, arXiv
1912.02781), then the model's own preprocessing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_RESIZE, _CROP, _AREA, _SEVERITY = 250, 224, (0.9, 1.0), 2


class Views:
    """Makes ``count`` views of every image; the seed and the image's key decide them."""

    def __init__(self, count: int, seed: int) -> None:
        from torchvision import transforms

        self.count, self._seed = count, seed
        self._augment = transforms.Compose(
            [
                transforms.Resize(_RESIZE),
                transforms.RandomResizedCrop(_CROP, scale=_AREA),
                transforms.AugMix(severity=_SEVERITY),
            ]
        )

    @property
    def described(self) -> list[Any]:
        """Everything that decides the views beside the image."""
        return [self.count, self._seed, _RESIZE, _CROP, _AREA, _SEVERITY]

    def of(self, key: str, image: Any, preprocess: Callable[[Any], Tensor]) -> list[Tensor]:
        """The views of a PIL image, [3, h, w] each. Not for threads: it draws from torch's global generator."""
        views = []
        with torch.random.fork_rng(devices=[]):
            for number in range(self.count):
                words = f"{self._seed} {number} {key}".encode("utf-8", "surrogateescape")
                torch.manual_seed(int.from_bytes(hashlib.sha256(words).digest()[:7], "little"))
                views.append(preprocess(self._augment(image)))
        return views
