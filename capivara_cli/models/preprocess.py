"""Preprocess images for an image tower: resize and crop 8-bit pixels in threads, normalise batches on the device.

This is open_clip's transform in two parts. The second part (division by 255, mean, standard deviation) runs on the
tower's device with the same float32 operations. The results are identical. Only a quarter of the bytes are copied, and
the decoding threads do not hold Python's lock for this part.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

_ARITHMETIC = ("MaybeToTensor", "Normalize")
_DRAFT = 3
"""A JPEG is decoded at 1/8, 1/4 or 1/2 of its size if its sides remain at least this many times the tower's input.

The difference is small after resizing: the cosine of the two embeddings is above 0.9999, see test_preprocess.py.
"""


class Pixels:
    """A function from an RGB image to uint8 [3, height, width] by open_clip's ``preprocess_cfg``; see ``normalised``.

    ``draft``: the smallest side in pixels of a JPEG that is decoded at a reduced size, for ``decode_image``.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        *geometry, to_tensor, normalise = image_transform_v2(PreprocessCfg(**settings), is_train=False).transforms
        if (type(to_tensor).__name__, type(normalise).__name__) != _ARITHMETIC:
            raise RuntimeError(f"open_clip's transform ends in {to_tensor}, {normalise}")
        self._geometry = geometry
        self._settings = settings
        self._mean, self._std = (torch.tensor(settings[key]).view(3, 1, 1) for key in ("mean", "std"))
        size = settings["size"]
        self.draft = _DRAFT * (size if isinstance(size, int) else max(size))

    def __call__(self, image: Image) -> Tensor:
        for step in self._geometry:
            image = step(image)
        return torch.from_numpy(np.array(image).transpose(2, 0, 1).copy())

    @property
    def description(self) -> str:
        """The settings that determine the pixels: ``JPEGs decoded to 672 px or more, 224 px bicubic shortest, …``."""
        size = self._settings["size"]
        size = size if isinstance(size, int) or size[0] != size[1] else size[0]
        resize = f"{size} px {self._settings['interpolation']} {self._settings['resize_mode']}"
        mean, std = ("/".join(f"{value:.4g}" for value in self._settings[key]) for key in ("mean", "std"))
        return f"JPEGs decoded to {self.draft} px or more, {resize}, mean {mean}, std {std}"

    def normalised(self, pixels: Tensor) -> Tensor:
        """uint8 […, 3, height, width] -> float32, bit for bit as by open_clip's transform."""
        return pixels.float().div(255).sub(self._mean.to(pixels.device)).div(self._std.to(pixels.device))
