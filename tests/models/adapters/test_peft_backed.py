"""LoRA on towers of several kinds: numbers of parameters, and targets that are not there."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from capivara_cli.errors import CapivaraError
from capivara_cli.models.adapters.peft_backed import add_lora, has_projection, linear_names, trainable
from capivara_cli.models.adapters.tuning import Tuning
from capivara_cli.models.clip import load_clip


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
