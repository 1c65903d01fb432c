"""Augmented views of an image. CAPIVARA draws a new view in every epoch; here K views are drawn once and stored.

A view is the image resized to 250, a random crop of 90 to 100 % of its area, AugMix of severity 2 (CAPIVARA, section 4;
AugMix, arXiv 1912.02781), then the model's own preprocessing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

_RESIZE, _CROP, _AREA, _SEVERITY = 250, 224, (0.9, 1.0), 2


class Views:
    """Makes ``count`` views of every image, which depend on the seed and the image's key."""

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
    def identity(self) -> list[object]:
        """Everything but the image that determines the views."""
        return [self.count, self._seed, _RESIZE, _CROP, _AREA, _SEVERITY]

    def of(self, key: str, image: Image, preprocess: Callable[[Image], Tensor]) -> list[Tensor]:
        """The views of an image, [3, h, w] each. Not thread-safe: it draws from torch's global generator."""
        views = []
        with torch.random.fork_rng(devices=[]):
            for number in range(self.count):
                words = f"{self._seed} {number} {key}".encode("utf-8", "surrogateescape")
                torch.manual_seed(int.from_bytes(hashlib.sha256(words).digest()[:7], "little"))
                views.append(preprocess(self._augment(image)))
        return views
