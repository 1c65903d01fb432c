"""The teacher's embeddings: of the source of a translation, of a kept caption itself, and of this teacher alone."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.stores import store_of, strings

from capivara_cli.errors import CapivaraError
from capivara_cli.training import teacher as module
from capivara_cli.training.data import Batches, TrainingData, select
from capivara_cli.training.teacher import Teacher

# Of each of three images: a Portuguese caption, another one, and the English one that the first was translated from.
TEXTS = [f"{word} {image}" for image in range(3) for word in ("um gato", "gato", "a cat")]
SOURCES = np.array([2, -1, -1, 5, -1, -1, 8, -1, -1])


@dataclass
class Model:
    """A model whose embedding of a text is its number in ``TEXTS``, plus an own number; it notes what it is asked."""

    text_digest: str = "sha256:a"
    plus: float = 0.0
    dim: int = 2
    asked: list[tuple[str, str, bool]] = field(default_factory=list)

    def embed_texts(self, texts: list[str], codes: list[str], *, normalize: bool = True) -> np.ndarray:
        self.asked += [(text, code, normalize) for text, code in zip(texts, codes, strict=True)]
        return np.array([[TEXTS.index(text) + self.plus, 1.0] for text in texts], np.float32)


@pytest.fixture
def data(tmp_path: Path) -> TrainingData:
    texts, bounds = strings(TEXTS)
    store = replace(store_of([[2, 1]] * 3), folder=tmp_path, source=SOURCES, texts=texts, text_bounds=bounds)
    return select(store, ["pt"], ["en"])


def of(model: Any, data: TrainingData) -> Teacher:
    return Teacher(model, data)


def test_the_target_is_the_source_as_it_is_in_its_language(data: TrainingData) -> None:
    model = Model()
    teacher = of(model, data)
    assert {(code, normalize) for _, code, normalize in model.asked} == {("en", False)}
    assert sorted(text for text, _, _ in model.asked) == ["a cat 0", "a cat 1", "a cat 2"]
    batch = Batches(data, 3, 0.34, seed=0).draw(0)
    sources = teacher.sources(batch)
    for caption, source in zip(batch.captions[0, :-1], sources[0, :-1], strict=True):
        assert source == SOURCES[caption]
    assert batch.kept == 1 and sources[0, -1] == batch.captions[0, -1]  # a kept caption is its own target
    found = teacher.of(np.array([8, 2, 5]))
    assert found.dtype == torch.float32 and found[:, 0].tolist() == [8.0, 2.0, 5.0]


def test_the_embeddings_are_kept_for_this_teacher_and_these_captions(data: TrainingData) -> None:
    assert of(Model(), data).of(np.array([2]))[0, 0] == 2.0
    again = Model()
    of(again, data)
    assert again.asked == []  # from the file
    other = Model("sha256:b", plus=0.5)
    assert of(other, data).of(np.array([2]))[0, 0] == 2.5
    fewer = replace(
        data, target=data.target.among(np.array([True, False, False])), kept=data.kept.among(np.zeros(3, bool))
    )
    one = Model()
    assert of(one, fewer).of(np.array([2]))[0, 0] == 2.0
    assert [text for text, _, _ in one.asked] == ["a cat 0"]
    assert of(Model(), data).of(np.array([8]))[0, 0] == 8.0


def test_blocks_decide_nothing(data: TrainingData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK", 2)
    assert of(Model(), data).of(np.array([2, 5, 8]))[:, 0].tolist() == [2.0, 5.0, 8.0]


def test_captions_that_people_wrote_have_no_teacher(data: TrainingData) -> None:
    alone = replace(data, store=replace(data.store, source=np.full(9, -1)))
    with pytest.raises(CapivaraError, match="no caption has a known source text"):
        of(Model(), alone)
