"""A second look at drawings: texts, icons, signs, charts, tables and screenshots on a plain background.

A perceptual hash sees 8 x 8 low frequencies. In a drawing these are nearly those of the blank background: "CAT" and
"DOG", small on white, have one hash. So images most of whose pixels have one grey level are also compared by what
stands out from it. Photos have no such level and are compared by their hashes alone: of 200 photos, the largest share
of one level is 0.61.
"""

from __future__ import annotations

import functools
import hashlib
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import IO, TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

DRAWN = 0.66
"""The share of pixels with the grey level of the background, give or take 4, from which an image is a drawing."""
MAYBE = 0.5
"""The share from which an image has a look, because it may be a copy of a drawing."""
SIDE = 128
_COARSE = 8
_CELL = SIDE // _COARSE
_HEAD = 5 + _COARSE * _COARSE
_BLOCK = 4
_SAME_SIZE = 2
_SAME_SHARE = 0.04
"""Pixels, and share of the larger, by which the contents of copies of one size may differ in width or height.

Compression moves their edges. Texts of one size also differ by the last letter of a line.
"""
_STRIP = slice(55, 73)
_AT_ONCE = 32


def look(grey: Image) -> bytes | None:
    """The look of an image that may be a drawing; None for any other. ``grey``: the whole image, mode L.

    The share of the background in percent, width and height of the content in pixels (uint16), its 8 x 8 means (uint8)
    and the content at 128 x 128 pixels, compressed: how far each pixel is from the background, 255 for the farthest.
    """
    from PIL import Image, ImageChops

    levels = np.convolve(grey.histogram(), np.ones(9, np.int64), "same")
    background = int(levels.argmax())
    share = levels[background] / (grey.width * grey.height)
    if share < MAYBE:
        return None
    apart = ImageChops.difference(grey, Image.new("L", grey.size, background))
    most = max(1, int(np.asarray(apart).max()))
    box = apart.point([255 * (level * 3 > most) for level in range(256)]).getbbox() or (0, 0, *grey.size)
    content = apart.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=box)
    pixels = np.minimum(np.rint(np.asarray(content) * (255 / most)), 255).astype(np.uint8)
    means = pixels.reshape(_COARSE, _CELL, _COARSE, _CELL).mean(axis=(1, 3)).astype(np.uint8)
    size = np.minimum([box[2] - box[0], box[3] - box[1]], 65_535).astype("<u2")
    return bytes([int(100 * share)]) + size.tobytes() + means.tobytes() + zlib.compress(pixels.tobytes(), 1)


class Looks:
    """The looks of items. Memory: 4 bytes for each item and 150 for each look, besides the looks themselves.

    ``heads``: the look of each item, or its first 69 bytes; b"" for an item without one. ``read``: the whole look of an
    item.
    """

    def __init__(self, heads: Sequence[bytes], read: Callable[[int], bytes]) -> None:
        found = [item for item, head in enumerate(heads) if head]
        self._row = np.full(len(heads), -1, np.int32)
        self._row[found] = np.arange(len(found))
        rows = np.frombuffer(b"".join(heads[item][:_HEAD] for item in found), np.uint8).reshape(-1, _HEAD)
        self._is_drawn = rows[:, 0] >= 100 * DRAWN
        self._sizes = rows[:, 1:5].copy().view("<u2").astype(np.int32)
        self._means = rows[:, 5:].astype(np.int16)
        self._pixels = functools.lru_cache(1024)(lambda item: _pixels(read(item)))

    @classmethod
    def of(cls, looks: Sequence[bytes | None]) -> Looks:
        """The looks of items in memory."""
        return cls([each or b"" for each in looks], lambda item: looks[item] or b"")

    def agree(self, ones: np.ndarray, others: np.ndarray, second: Looks) -> np.ndarray:
        """bool [p]: whether items (int64 [p]) look like items (int64 [p]) of ``second``.

        Also True if neither is a drawing, or if one of them has no look.
        """
        left_row, right_row = self._row[ones], second._row[others]
        compared = np.flatnonzero((left_row >= 0) & (right_row >= 0))
        one, other = left_row[compared], right_row[compared]
        compared = compared[self._is_drawn[one] | second._is_drawn[other]]
        agree = np.ones(len(ones), bool)
        agree[compared] = False
        for start in range(0, len(compared), 1 << 14):
            part = compared[start : start + (1 << 14)]
            limits = _limits(self._sizes[left_row[part]], second._sizes[right_row[part]])
            apart = np.abs(self._means[left_row[part]] - second._means[right_row[part]]).max(axis=1)
            some = apart <= 255 * (limits + 0.15)
            part, limits = part[some], limits[some]
            for place in range(0, len(part), _AT_ONCE):
                few = part[place : place + _AT_ONCE]
                left = np.stack([self._pixels(item) for item in ones[few].tolist()])
                right = np.stack([second._pixels(item) for item in others[few].tolist()])
                agree[few] = _alike(left, right, limits[place : place + _AT_ONCE])
        return agree


def _limits(sizes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """float [p]: how much looks may differ. ``sizes``, ``others``: width and height of their contents, int32 [p, 2].

    More where a look enlarges its content. Less in copies of the same size: a digit of a table is hardly more than a
    pixel of the look.
    """
    enlarged = SIDE / np.maximum(np.maximum(sizes.min(axis=1), others.min(axis=1)), 1)
    apart = np.abs(sizes - others) - np.maximum(_SAME_SIZE, _SAME_SHARE * np.maximum(sizes, others))
    is_same_size = apart.max(axis=1) <= 0
    return np.where(is_same_size, np.clip(0.11 * enlarged, 0.02, 0.36), np.clip(0.4 * enlarged, 0.14, 0.36))


def key(stored: bytes | None) -> int:
    """A number that two looks share only if they are equal; 0 for None."""
    return int.from_bytes(hashlib.sha256(stored).digest()[:8], "big") | 1 if stored else 0


class LookFile:
    """The looks of very many images, in an open file. ``heads``, ``keys``: of each image."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._ends: list[int] = []
        self.heads: list[bytes] = []
        self.keys: list[int] = []

    def add(self, looks: Iterable[bytes]) -> None:
        """Add the looks of more images, b"" for one without."""
        end = self._ends[-1] if self._ends else 0
        for each in looks:
            self._file.write(each)
            end += len(each)
            self._ends.append(end)
            self.heads.append(each[:_HEAD])
            self.keys.append(key(each))

    def read(self, image: int) -> bytes:
        start = self._ends[image - 1] if image else 0
        self._file.seek(start)
        return self._file.read(self._ends[image] - start)


def _pixels(stored: bytes) -> np.ndarray:
    return np.frombuffer(zlib.decompress(stored[_HEAD:]), np.uint8).reshape(SIDE, SIDE)


def _alike(left: np.ndarray, right: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """bool [p]: whether the difference of looks, uint8 [p, 128, 128] each, is within the limit, float [p].

    Most pairs that differ do so at once: unshifted, and in a strip through the middle.
    """
    alike = np.zeros(len(left), bool)
    far = 4 * limits + 0.05
    open_ = np.flatnonzero(difference(left[:, _STRIP], right[:, _STRIP], shift=0) <= far)
    unshifted = difference(left[open_], right[open_], shift=0)
    alike[open_] = unshifted <= limits[open_]
    open_ = open_[(unshifted > limits[open_]) & (unshifted <= far[open_])]
    alike[open_] = difference(left[open_], right[open_]) <= limits[open_]
    return alike


def difference(left: np.ndarray, right: np.ndarray, shift: int = 1) -> np.ndarray:
    """float [p]: the largest difference in a block of 4 x 4 pixels (root mean square; 1 is black against white).

    ``left``, ``right``: uint8 [p, rows, columns]. Of all ways to shift one look by at most ``shift`` pixels the best
    counts: compression and resizing move the edges of the content.
    """
    height, width = ((side - 2) // _BLOCK * _BLOCK for side in left.shape[1:])
    inner = left[:, 1 : 1 + height, 1 : 1 + width].astype(np.float32)
    least = np.full(len(left), np.inf, np.float32)
    for down in range(1 - shift, 2 + shift):
        for along in range(1 - shift, 2 + shift):
            squares = np.square(inner - right[:, down : down + height, along : along + width])
            bands = sum(squares[:, start::_BLOCK] for start in range(_BLOCK))  # faster than a sum over axes of 4
            blocks = sum(bands[:, :, start::_BLOCK] for start in range(_BLOCK))
            least = np.minimum(least, blocks.max(axis=(1, 2), initial=0))
    return np.sqrt(least) / _BLOCK / 255
