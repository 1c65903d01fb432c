"""What an image must be, by its header where that is enough: size, aspect, and how much there is to see in it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True)
class ImageRules:
    """``min_side`` in pixels, ``max_aspect`` longest over shortest side, ``min_entropy`` in bits; 0: no such rule."""

    min_side: int = 0
    max_aspect: float = 0.0
    min_entropy: float = 0.0

    @property
    def of_size(self) -> bool:
        """Whether the header has to be read."""
        return self.min_side > 0 or self.max_aspect > 0

    def size_objection(self, width: int, height: int) -> str:
        """What is wrong with an image of this size, "" when nothing is."""
        shortest, longest = sorted((width, height))
        if shortest < self.min_side:
            return f"image side below {self.min_side} pixels"
        if 0 < self.max_aspect * shortest < longest:
            return f"image more than {self.max_aspect:g} times as long as wide"
        return ""

    def pixel_objection(self, image: Image) -> str:
        """What is wrong with a decoded image, "" when nothing is."""
        if self.min_entropy > 0 and entropy(image) < self.min_entropy:
            return f"image entropy below {self.min_entropy:g} bits"
        return ""


def entropy(image: Image) -> float:
    """Shannon entropy of the histogram of grey levels, in bits: 0 for one colour, at most 8."""
    counts = [count for count in image.convert("L").histogram() if count]
    total = sum(counts)
    return math.fsum(count / total * math.log2(total / count) for count in counts)
