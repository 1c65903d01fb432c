"""Retrieval on held-out images during training, with embeddings made here."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from support.stores import store_of
from torch import nn

from capivara_cli.training.data import CaptionPool
from capivara_cli.training.validation import Validation


class Encoder:
    """The embedding of a caption is the image with the number of its token, of twelve; it notes the tower's mode."""

    def __init__(self) -> None:
        self.tower = nn.Dropout(0.5).train()
        self.modes: list[bool] = []

    def __call__(self, rows: list[np.ndarray], seed: tuple[int, ...]) -> Any:
        self.modes.append(self.tower.training)
        encoded = torch.eye(12)[[int(row[0]) for row in rows]]
        return type("Encoded", (), {"features": 3 * encoded})


def part(tokens: list[int], counts: list[int]) -> tuple[Any, CaptionPool]:
    """A set of twelve images; the second view of each is another one. ``counts``: captions of each image."""
    store = store_of([[count, 0] for count in counts])
    images = np.stack([np.eye(12), np.eye(12)[::-1]], axis=1).astype(np.float16)
    store = replace(store, images=2 * images, tokens=np.array(tokens, np.int32))
    return store, CaptionPool.of(store, np.ones(len(tokens), bool))


RIGHT = part(list(range(12)), [1] * 12)
WRONG = part([(token + 6) % 12 for token in range(12)], [1] * 12)


def test_the_mean_is_over_languages() -> None:
    encoder: Any = Encoder()
    found = Validation({"pt": RIGHT, "hi": WRONG})(encoder)
    assert found["pt"] == 100.0
    assert 0 < found["hi"] < 100 and found["mean"] == pytest.approx((100 + found["hi"]) / 2)
    assert list(found) == ["pt", "hi", "mean"]


def test_the_tower_does_not_drop_out_and_goes_on_as_it_was() -> None:
    encoder: Any = Encoder()
    for training in (True, False):
        encoder.tower.train(training)
        Validation({"pt": RIGHT})(encoder)
        assert encoder.tower.training is training
    assert encoder.modes == [False, False]


def test_images_without_captions_are_no_candidates_and_several_captions_are_of_one_image() -> None:
    """Image 1 has no caption, image 0 has two: the second of them looks like image 3."""
    found = Validation({"pt": part([0, 3, 2, 3, 4], [2, 0, 1, 1, 1, *[0] * 7])})
    encoder: Any = Encoder()
    to_image = (4 / 5 + 5 / 5 + 5 / 5) / 3  # one of five captions finds another image first; there are but four
    tied = (1 + 1 + 1 + 1 / 2) / 4  # image 3 has its own caption and that of image 0 in the first place
    to_text = (tied + 1 + 1) / 3
    assert found(encoder)["pt"] == pytest.approx(100 * (to_image + to_text) / 2, abs=1e-3)
