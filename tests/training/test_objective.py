"""The loss, the chunks, the schedule, the optimiser and LoRA, each against values worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from support.tiny import WORDS
from torch.nn import functional as F  # noqa: N812

from capivara_cli.errors import CapivaraError
from capivara_cli.models.adapters.peft_backed import add_lora, has_projection, linear_names, trainable
from capivara_cli.models.adapters.tuning import Tuning
from capivara_cli.models.clip import Clip, load_clip
from capivara_cli.training.devices import Devices
from capivara_cli.training.encoder import Encoder, chunks_by_length
from capivara_cli.training.memory import Budget
from capivara_cli.training.objective import info_nce
from capivara_cli.training.optimization import optimizer
from capivara_cli.training.schedule import Schedule

LORA = Tuning(lora_targets="query,value")


def test_info_nce_of_orthogonal_pairs() -> None:
    """Two pairs, each text equal to its image: both directions are -log(e^s / (e^s + 1))."""
    loss = info_nce(torch.eye(2), torch.eye(2), torch.tensor(math.log(4.0)))
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-4)), rel=1e-5)


def test_info_nce_is_the_mean_of_both_directions() -> None:
    images, texts = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    rows = (math.log(2) + math.log(2)) / 2  # image to text: both texts are alike
    columns = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(1))) / 2  # text to image
    assert info_nce(images, texts, torch.tensor(0.0)).item() == pytest.approx((rows + columns) / 2, rel=1e-5)


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
    text = add_lora(clip.model.text, LORA, "tiny").train(dropout)
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


def test_the_schedule_is_the_papers() -> None:
    def rate(step: int) -> float:
        return Schedule(steps=1500, warmup=250, lr=1e-5, min_lr=1e-6).rate(step)

    assert rate(0) == 1e-6
    assert rate(125) == pytest.approx(5.5e-6)
    assert rate(250) == pytest.approx(1e-5)
    assert rate(875) == pytest.approx(5.5e-6)
    assert rate(1499) == pytest.approx(1e-6, rel=1e-4)
    assert sum(rate(step) for step in range(1500)) == pytest.approx(8.25e-3, rel=1e-3)
    assert Schedule(steps=10, warmup=0, lr=1e-3, min_lr=0).rate(0) == 1e-3


def test_a_warmup_longer_than_half_of_the_run_becomes_a_sixth() -> None:
    assert [Schedule(steps=steps, warmup=250).warmup_steps for steps in (1500, 500, 499, 20, 1)] == [250, 250, 83, 3, 0]


@pytest.mark.parametrize(("kind", "decayed"), [("adamw", [True, False]), ("adam-l2", [True, True])])
def test_what_decays(kind: str, decayed: list[bool]) -> None:
    """A matrix and a temperature without gradient from the loss: only decay moves them."""
    matrix, scalar = torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.tensor(1.0))
    made = optimizer(kind, [matrix, scalar], 0.2)
    for group in made.param_groups:
        group["lr"] = 0.1
        assert group["betas"] == (0.9, 0.98) and group["eps"] == 1e-6
    matrix.grad, scalar.grad = torch.zeros(2, 2), torch.zeros(())
    made.step()
    assert [matrix[0, 0].item() != 1, scalar.item() != 1] == decayed
    if kind == "adamw":
        assert matrix[0, 0].item() == pytest.approx(1 - 0.1 * 0.2)


def full_size_text_tower(tmp_path: Path) -> torch.nn.Module:
    """The text tower of xlm-roberta-base-ViT-B-32, on the meta device: shapes without memory."""
    from open_clip.hf_model import HFTextEncoder
    from transformers import XLMRobertaConfig

    config = XLMRobertaConfig(
        vocab_size=250002,
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=3072,
        max_position_embeddings=514,
        type_vocab_size=1,
        pad_token_id=1,
    )
    config.save_pretrained(tmp_path)
    with torch.device("meta"):
        return HFTextEncoder(str(tmp_path), 512, pooler_type="mean_pooler", proj_type="mlp", pretrained=False)


@pytest.mark.parametrize(("projection", "count"), [(False, 294_912), (True, 1_114_112)])
def test_parameters_trained_in_the_real_architecture(tmp_path: Path, projection: bool, count: int) -> None:
    tower = full_size_text_tower(tmp_path)
    assert sum(each.numel() for each in tower.parameters()) == 278_272_256
    lora = Tuning(lora_targets="query,value", projection=projection)
    assert trainable(add_lora(tower, lora, "real")) == count


def test_targets_that_are_not_there_are_answered_with_those_that_are(tiny: Path) -> None:
    clip = load_clip(f"local-dir:{tiny}")
    lora = Tuning(lora_targets="query,q_proj")
    with pytest.raises(CapivaraError, match="no linear module named 'q_proj'") as caught:
        add_lora(clip.model.text, lora, "tiny")
    assert caught.value.hint == "it has query, key, value, dense"


def test_open_clips_own_text_tower_can_be_adapted_where_it_has_linear_modules() -> None:
    from open_clip.transformer import TextTransformer

    tower = TextTransformer(context_length=8, vocab_size=20, width=16, heads=2, layers=1, output_dim=8)
    assert linear_names(tower) == ["c_fc", "c_proj"]
    assert not has_projection(tower)
    adapted = add_lora(tower, Tuning(lora_r=2, lora_alpha=2, lora_targets="c_fc"), "own")
    assert trainable(adapted) == 2 * 16 + 2 * 64
    usual = add_lora(
        TextTransformer(context_length=8, vocab_size=20, width=16, heads=2, layers=1, output_dim=8),
        Tuning(lora_r=2, lora_alpha=2),
        "own",
    )
    assert sorted(usual.peft_config["default"].target_modules) == ["c_fc", "c_proj"]
