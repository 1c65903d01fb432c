"""What is tuned: exact counts on real architectures, and what tuning leaves alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny import WORDS

from capivara_cli.errors import CapivaraError, UsageError
from capivara_cli.models.adapters import methods
from capivara_cli.models.adapters.layers import (
    Dropout,
    Hypercomplex,
    PromptedTower,
    PromptEmbedding,
    UsedTokens,
    matmul_attention,
)
from capivara_cli.models.adapters.methods import tune
from capivara_cli.models.adapters.peft_backed import trainable
from capivara_cli.models.adapters.tuning import Tuning
from capivara_cli.models.clip import Clip, load_clip
from capivara_cli.training.compact_tower import save_memory

MCLIP_LORA = Tuning("lora", projection=False, layernorm=True)


def xlm_roberta(folder: Path, width: int, layers: int, head: str | None, dim: int) -> Any:
    """An XLM-RoBERTa text tower without memory for its weights."""
    from open_clip.hf_model import HFTextEncoder
    from transformers import XLMRobertaConfig

    XLMRobertaConfig(
        vocab_size=250002, hidden_size=width, num_hidden_layers=layers, num_attention_heads=width // 64,
        intermediate_size=4 * width, max_position_embeddings=514, type_vocab_size=1, pad_token_id=1,
    ).save_pretrained(folder)  # fmt: skip
    with torch.device("meta"):
        return HFTextEncoder(str(folder), dim, pooler_type="mean_pooler", proj_type=head, pretrained=False)


@pytest.mark.parametrize(
    ("chosen", "count"),
    [
        (Tuning("lora", projection=False), 294_912),
        (Tuning("lora"), 1_114_112),
        (Tuning("lit"), 278_272_256),
        (Tuning("layernorm"), 12 * 2 * 2 * 768),
    ],
    ids=["lora", "lora and projection", "whole tower", "layernorm"],
)
def test_counts_on_the_base_model_of_capivara(tmp_path: Path, chosen: Tuning, count: int) -> None:
    tower = xlm_roberta(tmp_path, 768, 12, "mlp", 512)
    assert trainable(tune(tower, chosen, "base")) == count


@pytest.mark.parametrize(
    ("chosen", "count"),
    [
        (MCLIP_LORA, 884_736),
        (Tuning("adapter"), 2_507_904),
        (Tuning("compacter"), 261_120),
        (Tuning("soft-prompt"), 4_096),
    ],
    ids=["lora", "adapter", "compacter", "soft-prompt"],
)
def test_counts_of_the_table_of_2305_03510(tmp_path: Path, chosen: Tuning, count: int) -> None:
    """XLM-R large with M-CLIP's head: 0.158, 0.447, 0.047 and 0.0007 % of 560,677,632."""
    tower = xlm_roberta(tmp_path, 1024, 24, "linear", 768)
    assert trainable(tune(tower, chosen, "base")) == count


TINY = {
    "lora": Tuning("lora", lora_r=2),
    "pissa": Tuning("lora", lora_r=2, lora_init="pissa"),
    "dora": Tuning("lora", lora_r=2, lora_use="dora"),
    "adapter": Tuning("adapter", adapter_dim=4),
    "compacter": Tuning("compacter", compacter_reduction=4, phm_dim=2),
    "soft-prompt": Tuning("soft-prompt"),
    "layernorm": Tuning("layernorm"),
    "lit": Tuning("lit"),
    "full": Tuning("full"),
}


def tuned(tiny: Path, method: str) -> tuple[Clip, torch.Tensor]:
    clip = load_clip(f"local-dir:{tiny}")
    torch.manual_seed(1)
    clip.model.text = tune(clip.model.text, TINY[method], "tiny").eval()
    return clip, clip.pad(clip.tokenize([" ".join(WORDS[:count]) for count in range(1, 12)]))


@pytest.mark.parametrize("method", TINY)
def test_a_tuned_tower_is_saved_loaded_and_switched_off(tiny: Path, tmp_path: Path, method: str) -> None:
    clip, tokens = tuned(tiny, method)
    with torch.no_grad():
        before = load_clip(f"local-dir:{tiny}").model.text(tokens)
        for parameter in clip.model.text.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.1)
        after = clip.model.text(tokens)
        with methods.untuned(clip.model.text):
            torch.testing.assert_close(clip.model.text(tokens), before, atol=2e-6 if method == "pissa" else 0, rtol=0)
        assert torch.equal(clip.model.text(tokens), after)
    assert (after - before).abs().max() > 1e-3

    methods.save(clip.model.text, tmp_path / "adapter", {"source": clip.source})
    fresh = load_clip(f"local-dir:{tiny}").model.text
    loaded = methods.load(fresh, tmp_path / "adapter", "cpu").eval()
    with torch.no_grad():
        assert torch.allclose(loaded(tokens), after, atol=2e-6)
    resumed = tune(load_clip(f"local-dir:{tiny}").model.text, methods.tuning_of(tmp_path / "adapter"), "tiny").eval()
    methods.set_state(resumed, methods.read_state(tmp_path / "adapter"))
    with torch.no_grad():
        assert torch.allclose(resumed(tokens), after, atol=2e-6)


def test_the_configuration_is_the_same_file_every_time(tiny: Path, tmp_path: Path) -> None:
    """peft keeps names of modules in a set, whose order differs from process to process."""
    tower = load_clip(f"local-dir:{tiny}").model.text
    tower = tune(tower, Tuning("lora", lora_targets="value,dense,query,key", projection=False), "tiny")
    methods.save(tower, tmp_path, {"source": {"model": "tiny"}})
    names = json.loads((tmp_path / "adapter_config.json").read_text())["target_modules"]
    assert names == ["dense", "key", "query", "value"]
    assert methods.tuning_of(tmp_path).targets == names


@pytest.mark.parametrize("method", TINY)
def test_only_what_is_tuned_gets_a_gradient(tiny: Path, method: str) -> None:
    clip, tokens = tuned(tiny, method)
    clip.model.text(tokens).square().sum().backward()
    for name, parameter in clip.model.text.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name


@pytest.mark.parametrize("method", TINY)
def test_a_tower_in_compact_tower_computes_the_same(tiny: Path, method: str) -> None:
    """Only the words that occur, plain attention, no dropout in evaluation: equal but for rounding."""
    clip, tokens = tuned(tiny, method)
    with torch.no_grad():
        expected = clip.model.text(tokens)
        save_memory(clip.model.text, [tokens.numpy().ravel()], torch.float32)
        assert torch.allclose(clip.model.text(tokens), expected, atol=1e-5)
    if method not in ("lit", "full"):
        assert any(isinstance(module, UsedTokens) for module in clip.model.text.modules())


def test_frozen_weights_are_bf16_and_tuned_ones_are_not(tiny: Path) -> None:
    clip, _ = tuned(tiny, "lora")
    save_memory(clip.model.text, [], torch.bfloat16)
    kinds = {(each.requires_grad, each.dtype) for each in clip.model.text.parameters()}
    assert kinds == {(True, torch.float32), (False, torch.bfloat16)}


def test_a_hypercomplex_layer_is_a_sum_of_kronecker_products() -> None:
    torch.manual_seed(0)
    layer, x = Hypercomplex(12, 8, 4), torch.randn(5, 12)
    torch.nn.init.normal_(layer.rule)
    torch.nn.init.normal_(layer.bias)
    weight = sum(torch.kron(layer.rule[i], layer.left[i] @ layer.right[i]) for i in range(4))
    assert torch.allclose(layer(x), x @ weight + layer.bias, atol=1e-5)


def test_dropout_keeps_the_mean_and_its_share() -> None:
    torch.manual_seed(0)
    layer, ones = Dropout(0.1), torch.ones(1000, 1001)
    dropped = layer(ones)
    assert (dropped == 0).float().mean().item() == pytest.approx(0.1, abs=2e-3)
    assert dropped.mean().item() == pytest.approx(1, abs=2e-3)
    assert torch.equal(layer.eval()(ones), ones)


@pytest.mark.parametrize("boolean", [True, False])
def test_matmul_attention_equals_torchs(boolean: bool) -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 2, 4, 7, 16).unbind()
    allowed = torch.arange(7).expand(2, 1, 7, 7) < torch.tensor([7, 4]).view(2, 1, 1, 1)
    mask = allowed if boolean else torch.zeros(2, 1, 7, 7).masked_fill(~allowed, float("-inf"))
    expected = torch.nn.functional.scaled_dot_product_attention(query, key, value, mask)
    ours, _ = matmul_attention(torch.nn.Identity(), query, key, value, mask)
    assert torch.allclose(ours, expected.transpose(1, 2), atol=1e-6)


def test_a_prompt_comes_after_the_first_token_and_the_end_stays() -> None:
    class Seen(torch.nn.Module):
        def forward(self, tokens: torch.Tensor) -> torch.Tensor:
            return tokens

    tokens = torch.tensor([[7, 8, 9, 10, 11]])
    assert PromptedTower(Seen(), 2, 0)(tokens).tolist() == [[7, -1, -2, 8, 9, 10, 11]]
    assert PromptedTower(Seen(), 2, 6)(tokens).tolist() == [[7, -1, -2, 8, 9, 11]]
    words = torch.nn.Embedding(12, 3)
    embedded = PromptEmbedding(words, torch.ones(2, 3))(torch.tensor([[7, -1, -2, 8]]))
    assert torch.equal(embedded[0, 1:3], torch.ones(2, 3))
    assert torch.equal(embedded[0, [0, 3]], words.weight[[7, 8]])


def test_a_tower_without_the_parts_is_refused(tiny: Path) -> None:
    clip = load_clip(f"local-dir:{tiny}")
    with pytest.raises(UsageError, match="product does not divide"):
        tune(clip.model.text, Tuning("compacter", compacter_reduction=16, phm_dim=4), "tiny")
    with pytest.raises(CapivaraError, match=r"output\.dense"):
        tune(torch.nn.Sequential(torch.nn.Linear(2, 2)), Tuning("adapter"), "none")
