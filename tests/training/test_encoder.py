"""Chunks of a batch: what they hold, which random numbers they draw, and gradients equal to those of one batch."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from support.tiny import WORDS
from torch import nn
from torch.nn import functional as F  # noqa: N812

from capivara_cli.models.adapters.peft_backed import add_lora
from capivara_cli.models.adapters.tuning import Tuning
from capivara_cli.models.clip import Clip, load_clip
from capivara_cli.training.devices import Devices
from capivara_cli.training.encoder import Encoder, ImageEncoder, chunks_by_length
from capivara_cli.training.memory import Budget
from capivara_cli.training.objective import info_nce


def captions(count: int) -> list[str]:
    generator = np.random.default_rng(0)
    return [" ".join(generator.choice(WORDS, generator.integers(1, 30))) for _ in range(count)]


def test_chunks_hold_every_row_once_from_the_longest_to_the_shortest() -> None:
    rows = [np.zeros(length) for length in np.random.default_rng(0).integers(1, 30, 300)]
    chunks = chunks_by_length([len(row) for row in rows], 256)
    lengths = [len(rows[index]) for chunk in chunks for index in chunk.rows]
    assert lengths == sorted(lengths, reverse=True)
    assert sorted(np.concatenate([chunk.rows for chunk in chunks])) == list(range(300))
    assert all(chunk.tokens <= 256 and chunk.width == len(rows[chunk.rows[0]]) for chunk in chunks)
    assert [chunk.number for chunk in chunks] == list(range(len(chunks)))
    assert sum(chunk.tokens for chunk in chunks) < 1.06 * sum(lengths)  # next to no padding


def test_a_row_longer_than_a_chunk_has_one_of_its_own() -> None:
    chunks = chunks_by_length([9, 3, 3], 6)
    assert [chunk.rows.tolist() for chunk in chunks] == [[0], [1, 2]]


def adapted(tiny: Path, dropout: bool = False) -> tuple[Clip, list[torch.nn.Parameter]]:
    """A model with LoRA that does something, and what is trained of it."""
    clip = load_clip(f"local-dir:{tiny}")
    torch.manual_seed(0)
    text = add_lora(clip.model.text, Tuning(lora_targets="query,value"), "tiny").train(dropout)
    for name, parameter in text.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    clip.model.text = text
    return clip, [each for each in text.parameters() if each.requires_grad]


def step(clip: Clip, rows: list, parameters: list, room: float, tokens: int = 512) -> tuple[float, list, int]:
    """Loss, gradients, and the number of chunks that were computed twice, with ``room`` bytes for graphs."""
    images, scale = F.normalize(torch.randn(len(rows), 16, generator=torch.Generator().manual_seed(1)), dim=-1), 2.6
    budget = Budget("cpu", chunk_tokens=tokens, bytes_per_token=1.0, room=room)
    encoded = Encoder(clip, torch.float32, budget, Devices())(rows, (7, 3))
    for parameter in parameters:
        parameter.grad = None
    loss = info_nce(images, F.normalize(encoded.features, dim=-1), torch.tensor(scale))
    loss.backward()
    recomputed = encoded.recomputed
    encoded.backward()
    return loss.item(), [each.grad.clone() for each in parameters], recomputed


def close(ours: list, theirs: list, relative: float) -> None:
    difference = math.sqrt(sum(float((a - b).norm() ** 2) for a, b in zip(ours, theirs, strict=True)))
    assert difference <= relative * math.sqrt(sum(float(each.norm() ** 2) for each in theirs))
    assert difference == difference


def test_chunks_padded_each_to_its_own_length_equal_one_batch_padded_to_77(tiny: Path) -> None:
    """Same loss, same gradients to a millionth: batch and negatives are those of the padded run."""
    clip, parameters = adapted(tiny)  # no dropout: the masks would have other shapes
    texts = captions(256)
    rows = clip.tokenize(texts)
    images = F.normalize(torch.randn(256, 16, generator=torch.Generator().manual_seed(1)), dim=-1)
    whole = info_nce(images, F.normalize(clip.model.text(clip.tokenizer(texts)), dim=-1), torch.tensor(2.6))
    expected = torch.autograd.grad(whole, parameters)

    loss, gradients, recomputed = step(clip, rows, parameters, room=1e12)
    assert recomputed == 0
    assert loss == pytest.approx(whole.item(), rel=1e-6)
    close(gradients, expected, 1e-6)


@pytest.mark.parametrize("room", [0, 3000])
def test_a_chunk_computed_twice_draws_the_same_dropout(tiny: Path, room: int) -> None:
    """GradCache, of all chunks or of those that do not fit, gives the gradients of the plain backward pass."""
    clip, parameters = adapted(tiny, dropout=True)
    rows = clip.tokenize(captions(256))
    plain, expected, none = step(clip, rows, parameters, room=1e12)
    loss, gradients, recomputed = step(clip, rows, parameters, room)
    assert none == 0
    assert recomputed > 4 if room else recomputed == len(chunks_by_length([len(row) for row in rows], 512))
    assert loss == plain
    close(gradients, expected, 1e-6)
    other, _, _ = step(clip, rows, parameters, room=1e12, tokens=400)  # other chunks, other dropout
    assert other != plain


class Words(nn.Module):
    """A text tower: the sum of the embeddings of the words, with dropout; ``before`` tuning all embeddings were 1."""

    def __init__(self, dropout: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.dropout = nn.Embedding(50, 8, padding_idx=0), nn.Dropout(dropout)
        self.words.weight.before = torch.ones(50, 8)  # type: ignore[attr-defined]

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.dropout(self.words(tokens)).sum(1)


def padded(rows: list[np.ndarray]) -> torch.Tensor:
    width = max(map(len, rows))
    return torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])


def of_words(dropout: float, tokens: int) -> Encoder:
    tower = Words(dropout).train()
    clip: Any = SimpleNamespace(model=SimpleNamespace(text=tower), device="cpu", dim=8, pad=padded)
    return Encoder(clip, torch.float32, Budget("cpu", chunk_tokens=tokens, bytes_per_token=1.0, room=1e12), Devices())


def test_every_chunk_draws_random_numbers_of_its_own() -> None:
    """Two chunks of the same sixteen rows: other dropout; the same seed draws the same, another one another."""
    encoder = of_words(0.5, tokens=32)
    rows = [np.array([3, 4])] * 32
    features = encoder(rows, (7, 1)).features
    first, second = features[:16], features[16:]
    assert not torch.equal(first, second)
    assert torch.equal(encoder(rows, (7, 1)).features, features)
    for seed in ((7, 2), (8, 1), (1, 7)):
        assert not torch.equal(encoder(rows, seed).features, features)


def test_features_are_in_the_order_of_the_rows() -> None:
    encoder = of_words(0.0, tokens=16)
    rows = [np.arange(1, 1 + length) for length in (1, 5, 2, 9, 3, 1)]
    encoded = encoder(rows, (0,))
    expected = torch.stack([encoder.tower(padded([row]))[0] for row in rows])
    torch.testing.assert_close(encoded.features, expected)
    assert (encoded.tokens, encoded.recomputed) == (21, 0)
    assert encoded.padded == sum(chunk.tokens for chunk in chunks_by_length([1, 5, 2, 9, 3, 1], 16))


def test_the_untuned_tower_has_its_old_weights_no_dropout_and_no_gradient() -> None:
    encoder = of_words(0.5, tokens=1024)
    rows = [np.array([3, 4]), np.array([5])]
    tuned = encoder.tower.words.weight.data.clone()
    features = encoder.untuned_features(rows)
    assert features.tolist() == [[2.0] * 8, [1.0] * 8]
    assert not features.requires_grad
    assert encoder.tower.training and torch.equal(encoder.tower.words.weight, tuned)


@pytest.mark.parametrize(
    ("count", "tokens", "sizes"),
    [(64, 32, [16, 16, 16, 16]), (64, 48, [16] * 4), (40, 64, [32, 8]), (20, 30, [15, 5]), (3, 1, [1, 1, 1])],
)
def test_chunks_have_a_multiple_of_sixteen_rows_and_a_rest(count: int, tokens: int, sizes: list[int]) -> None:
    """Of two tokens each: 24 rows would fit into 48 tokens. Where fewer than sixteen fit, all that fit are taken."""
    assert [len(chunk.rows) for chunk in chunks_by_length([2] * count, tokens)] == sizes


@pytest.mark.parametrize(("processes", "sizes"), [(1, [32]), (2, [16, 16]), (3, [11, 11, 10])])
def test_every_process_gets_a_chunk(processes: int, sizes: list[int]) -> None:
    """The chunks are as long as a fair share, and the processes take them in turn."""
    encoder = of_words(0.0, tokens=1024)
    encoder.devices = Devices(count=processes)
    taken = []
    for rank in range(processes):
        mine = Devices(rank, processes).share(chunks_by_length([2] * 32, -(-64 // processes)))
        taken.append([chunk.number for chunk in mine])
    assert sorted(number for numbers in taken for number in numbers) == list(range(len(sizes)))
    assert all(numbers == list(range(rank, len(sizes), processes)) for rank, numbers in enumerate(taken))
    assert [len(chunk.rows) for chunk in chunks_by_length([2] * 32, -(-64 // processes))] == sizes


def test_the_length_of_an_image_is_its_patches_and_the_class_token() -> None:
    visual = SimpleNamespace(patch_size=(8, 8), to=lambda device: visual)
    clip: Any = SimpleNamespace(model=SimpleNamespace(text=None, visual=visual), device="cpu", dim=1, pad=None,
                                preprocess=None)  # fmt: skip
    encoder = ImageEncoder(clip, torch.float32, Budget("cpu"), Devices())
    assert encoder.length(np.zeros((3, 32, 16), np.uint8)) == 4 * 2 + 1


def test_memory_is_measured_on_the_longest_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a chunk of 1,024 tokens; the least of all processes' sizes is taken."""
    encoder = of_words(0.0, tokens=64)
    seen: list[tuple[int, int]] = []
    run = encoder.run
    monkeypatch.setattr(encoder, "run", lambda rows: (seen.append((len(rows), max(map(len, rows)))), run(rows))[1])

    def saved(forward: Any, model: nn.Module) -> int:
        assert model is encoder.tower
        forward()
        return 5000

    fitted: list[float] = []
    monkeypatch.setattr("capivara_cli.training.encoder.saved_bytes", saved)
    monkeypatch.setattr(encoder.budget, "fit", lambda each, model: fitted.append(each))
    monkeypatch.setattr(Devices, "least", lambda self, number: number // 2)
    encoder.measure_memory([np.ones(2, np.int64)] * 300 + [np.ones(8, np.int64)] * 300)
    assert seen == [(128, 8)]
    assert fitted == [5000 / 1024] and encoder.budget.chunk_tokens == 32


def test_features_that_the_loss_does_not_use_are_an_error() -> None:
    encoded = of_words(0.0, tokens=64)([np.array([1, 2])], (0,))
    with pytest.raises(RuntimeError, match="the loss does not depend on these features"):
        encoded.backward()
