"""Run a tower over a batch in chunks of similar length, within a memory budget, on one device or several.

A contrastive loss needs the features of the whole batch before it has a gradient. So the features are computed chunk by
chunk and detached from their graphs, the loss gives the gradient of each feature, and each chunk propagates its part
back to the parameters (GradCache, arXiv 2101.06983). A chunk keeps its graph from the first pass if memory allows;
otherwise it is computed a second time. With all graphs kept this is the plain backward pass, with none it is GradCache.
The randomness of a chunk is seeded by its number, so the second pass draws the same dropout, on any device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from capivara_cli.models.adapters.methods import untuned
from capivara_cli.models.clip import Clip
from capivara_cli.training.devices import Devices
from capivara_cli.training.memory import Budget, saved_bytes

_ROWS = 16
"""The rows of a chunk are a multiple of this, because matrix units compute whole tiles, even half-empty ones."""
_SAMPLE_TOKENS = 1024


@dataclass(frozen=True)
class Chunk:
    """Rows of a batch that are encoded together. ``width``: the tokens of the longest row, to which all are padded."""

    number: int
    rows: np.ndarray
    width: int

    @property
    def tokens(self) -> int:
        """The number of tokens with padding."""
        return len(self.rows) * self.width


def chunks_by_length(lengths: Sequence[int], tokens: int) -> list[Chunk]:
    """Sort rows from the longest to the shortest and cut them into chunks of at most ``tokens`` padded tokens.

    A chunk has at least one row. The towers mask padding, so features and loss equal those of one padded batch.
    """
    order = np.argsort(-np.asarray(lengths), kind="stable")
    chunks: list[Chunk] = []
    start = 0
    while start < len(order):
        width = int(lengths[order[start]])
        count = max(1, tokens // width)  # one shape per width, because oneDNN makes a plan for each shape
        end = start + (count - count % _ROWS or count)
        chunks.append(Chunk(len(chunks), order[start:end], width))
        start = end
    return chunks


class Encoded:
    """Encoded rows: ``features`` float32 [n, dim], in the order of the rows, not normalised, a leaf of the loss graph.

    ``tokens``, ``padded``: the number of tokens without and with padding. After ``loss.backward()``, call ``backward``
    to propagate ``features.grad`` to the parameters.
    """

    def __init__(self, encoder: Encoder, rows: Sequence[np.ndarray], seed: Sequence[int]) -> None:
        self._encoder, self._rows, self._seed = encoder, rows, seed
        lengths = [encoder.length(row) for row in rows]
        share = -(-sum(lengths) // encoder.devices.count)  # every device gets a chunk
        chunks = chunks_by_length(lengths, min(encoder.budget.chunk_tokens, share))
        self._mine = encoder.devices.share(chunks)
        self.tokens = sum(lengths)
        self.padded = sum(chunk.tokens for chunk in chunks)
        kept = encoder.budget.kept(self._mine) if torch.is_grad_enabled() else set()
        self._graphs: dict[int, Tensor] = {}
        self.features = torch.zeros(len(rows), encoder.dim, device=encoder.device)
        for chunk in self._mine:
            with torch.set_grad_enabled(chunk.number in kept):
                features = self._forward(chunk)
            if chunk.number in kept:
                self._graphs[chunk.number] = features
            self.features[encoder.index(chunk)] = features.detach()
        self.recomputed = len(self._mine) - len(self._graphs)
        """The number of chunks whose graph did not fit into memory, which are computed twice."""
        encoder.devices.add_up([self.features])
        self.features.requires_grad_(torch.is_grad_enabled())

    def backward(self) -> None:
        """Add to the ``grad`` of every parameter. Call it once.

        Chunks with a graph come first. The others follow from the largest to the smallest, so that each fits into the
        memory that the previous one freed.
        """
        gradient = self.features.grad
        if gradient is None:
            raise RuntimeError("the loss does not depend on these features")
        for chunk in sorted(self._mine, key=lambda each: (each.number not in self._graphs, -each.tokens)):
            features = self._graphs.pop(chunk.number, None)
            if features is None:
                features = self._forward(chunk)
            features.backward(gradient[self._encoder.index(chunk)])

    def _forward(self, chunk: Chunk) -> Tensor:
        if torch.is_grad_enabled():
            self._encoder.budget.make_room()
        torch.manual_seed(_seed_of(*self._seed, chunk.number))
        return self._encoder.run([self._rows[row] for row in chunk.rows])


class Encoder:
    """A text tower in training, with its device, its precision and its memory budget.

    ``precision``: the dtype of its activations (autocast); its features are float32.
    """

    def __init__(self, clip: Clip, precision: torch.dtype, budget: Budget, devices: Devices) -> None:
        self.tower: Any = clip.model.text
        self.device, self.dim = clip.device, clip.dim
        self.budget, self.devices = budget, devices
        self._pad, self._precision = clip.pad, precision

    def __call__(self, rows: Sequence[np.ndarray], seed: Sequence[int]) -> Encoded:
        """Encode rows of tokens. ``seed``: whole numbers that seed everything random in the tower."""
        return Encoded(self, rows, seed)

    def length(self, row: np.ndarray) -> int:
        """The number of tokens of a row."""
        return len(row)

    def run(self, rows: list[np.ndarray]) -> Tensor:
        """float32 [len(rows), dim]: the features of rows that are padded together."""
        return self._autocast(self._pad(rows))

    def _autocast(self, batch: Tensor) -> Tensor:
        with torch.autocast(self.device.partition(":")[0], self._precision, self._precision != torch.float32):
            return self.tower(batch.to(self.device, non_blocking=True)).float()

    def index(self, chunk: Chunk) -> Tensor:
        """The rows of a chunk, on the device."""
        return torch.from_numpy(chunk.rows).to(self.device)

    def untuned_features(self, rows: Sequence[np.ndarray]) -> Tensor:
        """float32 [n, dim]: the features by the tower as it was before tuning, without dropout and gradient."""
        with torch.no_grad(), untuned(self.tower):
            return self(rows, (0,)).features

    def measure_memory(self, rows: Sequence[np.ndarray]) -> None:
        """Measure the memory per token on ``rows``, the longest ones, and set the budget's chunk size from it."""
        chunk = chunks_by_length([self.length(row) for row in rows], _SAMPLE_TOKENS)[0]
        total = saved_bytes(lambda: self.run([rows[row] for row in chunk.rows]), self.tower)
        self.budget.fit(total / chunk.tokens, self.tower)
        self.budget.chunk_tokens = self.devices.least(self.budget.chunk_tokens)


class ImageEncoder(Encoder):
    """An ``Encoder`` of an image tower in training; its rows are pixels, uint8 [3, height, width]."""

    def __init__(self, clip: Clip, precision: torch.dtype, budget: Budget, devices: Devices) -> None:
        super().__init__(clip, precision, budget, devices)
        self.tower = clip.model.visual.to(clip.device)
        self._pixels = clip.preprocess
        patch = getattr(clip.model.visual, "patch_size", 16)
        self._patch = patch[0] if isinstance(patch, tuple) else int(patch)

    def length(self, row: np.ndarray) -> int:
        """The number of patches of an image, plus the class token."""
        return row.shape[-1] * row.shape[-2] // self._patch**2 + 1

    def run(self, rows: list[np.ndarray]) -> Tensor:
        return self._autocast(self._pixels.normalised(torch.from_numpy(np.stack(rows))))


def _seed_of(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
