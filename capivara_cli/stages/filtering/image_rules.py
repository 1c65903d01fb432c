"""Rules for images: size and aspect ratio, read from the header, and the entropy of the pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class ImageRules:
    """Limits; 0 is none. ``min_side``: pixels. ``max_aspect``: longer over shorter side. ``min_entropy``: bits."""

    min_side: int = 0
    max_aspect: float = 0.0
    min_entropy: float = 0.0

    @property
    def needs_size(self) -> bool:
        """Whether a rule needs the size of the image, which is read from its header."""
        return self.min_side > 0 or self.max_aspect > 0

    @property
    def needs_pixels(self) -> bool:
        """Whether a rule needs the decoded image."""
        return self.min_entropy > 0

    def size_objection(self, width: int, height: int) -> str:
        """Why an image of this size is removed; "" if it stays."""
        shortest, longest = sorted((width, height))
        if shortest < self.min_side:
            return f"image side below {self.min_side} pixels"
        if 0 < self.max_aspect * shortest < longest:
            return f"image more than {self.max_aspect:g} times as long as wide"
        return ""

    def pixel_objection(self, image: Image) -> str:
        """Why a decoded image is removed; "" if it stays."""
        if self.needs_pixels and entropy(image) < self.min_entropy:
            return f"image entropy below {self.min_entropy:g} bits"
        return ""


def entropy(image: Image) -> float:
    """Shannon entropy of the histogram of grey levels, in bits: 0 for one colour, at most 8."""
    counts = [count for count in image.convert("L").histogram() if count]
    total = sum(counts)
    return math.fsum(count / total * math.log2(total / count) for count in counts)
