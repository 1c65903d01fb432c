"""An adapter that training continues from has the method and every setting it was saved with; towers made here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from capivara_cli.errors import CapivaraError
from capivara_cli.models.adapters import methods
from capivara_cli.models.adapters.layers import CorrectedLinear, PromptedTower
from capivara_cli.models.adapters.tuning import Tuning, lora_extras


class Block(nn.Module):
    """Query, value, and an output with a LayerNorm, by the names of BERT's layers."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.value = nn.Linear(8, 8), nn.Linear(8, 8)
        self.output = nn.ModuleDict({"dense": nn.Linear(8, 8), "LayerNorm": nn.LayerNorm(8)})

    def forward(self, x: Tensor) -> Tensor:
        return self.output["LayerNorm"](x + self.output["dense"](self.query(x) + self.value(x)))


class Tower(nn.Module):
    """A text tower of one block, with a projection and dropout."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.token_embedding, self.block = nn.Embedding(20, 8), Block()
        self.dropout, self.proj = nn.Dropout(0.5), nn.Linear(8, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        embedded = self.token_embedding(tokens)
        return self.proj(self.dropout(self.block(embedded)).mean(1))


TOKENS = torch.arange(12).view(3, 4)
LORA = Tuning("lora", lora_r=2, lora_alpha=6.0, lora_dropout=0.25, lora_targets="query,value", projection=False,
              layernorm=False)  # fmt: skip
SETTINGS = {
    "lora": LORA,
    "of rank 1": replace(LORA, lora_r=1),
    "with the projection": replace(LORA, projection=True),
    "with LayerNorms": replace(LORA, layernorm=True),
    "with both": replace(LORA, projection=True, layernorm=True),
    "one target": replace(LORA, lora_targets="dense"),
    "two variants": replace(LORA, lora_use="dora,rslora", lora_dropout=0.0),
    "weights moved into the adapter": replace(LORA, lora_init="pissa"),
    "layernorm": Tuning("layernorm", projection=False),
    "layernorm with the projection": Tuning("layernorm", projection=True),
    "adapter": Tuning("adapter", adapter_dim=3),
    "adapter without LayerNorms": Tuning("adapter", adapter_dim=3, layernorm=False, projection=True),
    "compacter": Tuning("compacter", compacter_reduction=2, phm_dim=2, layernorm=False),
    "soft prompt": Tuning("soft-prompt", prompt_tokens=2),
    "whole tower": Tuning("lit"),
}


def trained(tower: Any) -> dict[str, tuple[int, ...]]:
    return {name: tuple(each.shape) for name, each in tower.named_parameters() if each.requires_grad}


def changed(tower: Any) -> Any:
    """The tower after a step in which every tuned parameter changed."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in tower.parameters():
            if parameter.requires_grad:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return tower.eval()


@pytest.mark.parametrize("name", SETTINGS)
def test_a_resumed_adapter_is_the_one_that_was_saved(name: str, tmp_path: Path) -> None:
    tuning = SETTINGS[name]
    first = changed(methods.tune(Tower(), tuning, "made"))
    methods.save(first, tmp_path, {"source": {"model": "made"}})  # type: ignore[typeddict-item]
    resumed = methods.tune(Tower(), methods.tuning_of(tmp_path), "made").eval()
    assert trained(resumed) == trained(first)
    methods.set_state(resumed, methods.read_state(tmp_path))
    torch.testing.assert_close(resumed(TOKENS), first(TOKENS))
    assert not torch.allclose(resumed(TOKENS), Tower().eval()(TOKENS))
    found = methods.tuning_of(tmp_path)
    for key in ("peft", "trains_projection", "trains_layernorm", "targets", "peft_options"):
        assert getattr(found, key) == getattr(tuning, key), key
    if tuning.peft == "lora":
        settings = [(each.lora_r, each.lora_alpha, each.lora_dropout) for each in (found, tuning)]
        assert settings[0] == settings[1]
    methods.save(changed(resumed), tmp_path / "again", {"source": {"model": "made"}})  # type: ignore[typeddict-item]
    files = [(folder / "adapter_config.json").read_text() for folder in (tmp_path, tmp_path / "again")]
    assert files[0] == files[1]


@pytest.mark.parametrize("name", SETTINGS)
def test_what_is_switched_off_is_on_again_even_after_an_error(name: str) -> None:
    base = Tower().eval()
    tower = changed(methods.tune(Tower(), SETTINGS[name], "made"))
    tuned = tower(TOKENS)
    tower.train()
    with pytest.raises(KeyError), methods.untuned(tower):
        assert not tower.training
        torch.testing.assert_close(tower(TOKENS), base(TOKENS), atol=1e-5, rtol=0)
        raise KeyError
    assert tower.training
    assert all(each.on for each in tower.modules() if isinstance(each, CorrectedLinear | PromptedTower))
    assert torch.equal(tower.eval()(TOKENS), tuned)
    with methods.untuned(tower):
        pass
    assert not tower.training  # as it was


def test_only_initial_values_that_change_the_base_are_kept() -> None:
    assert lora_extras({"init_lora_weights": True}) == {"lora_use": "", "lora_init": ""}
    for name, kept in (("gaussian", ""), ("orthogonal", ""), ("pissa", "pissa"), ("olora", "olora")):
        assert lora_extras({"init_lora_weights": name})["lora_init"] == kept
    assert lora_extras({"use_dora": True, "use_rslora": True})["lora_use"] == "dora,rslora"
    assert lora_extras({"use_dora": False, "use_rslora": True})["lora_use"] == "rslora"


def test_an_adapter_of_another_method_or_rank_is_refused(tmp_path: Path) -> None:
    methods.save(methods.tune(Tower(), SETTINGS["adapter"], "made"), tmp_path, {})  # type: ignore[typeddict-item]
    other = methods.tune(Tower(), SETTINGS["adapter without LayerNorms"], "made")
    with pytest.raises(CapivaraError, match=r"belongs to another method or text tower: .*LayerNorm"):
        methods.set_state(other, methods.read_state(tmp_path))


@pytest.mark.parametrize(
    ("name", "merges"),
    [("lora", True), ("layernorm", True), ("whole tower", True), ("adapter", False), ("compacter", False),
     ("soft prompt", False)],
)  # fmt: skip
def test_which_methods_can_be_merged(name: str, merges: bool, tmp_path: Path) -> None:
    tower = changed(methods.tune(Tower(), SETTINGS[name], "made"))
    methods.save(tower, tmp_path, {})  # type: ignore[typeddict-item]
    assert methods.can_merge(tmp_path) is merges
    loaded = methods.load(Tower(), tmp_path, "cpu").eval()
    torch.testing.assert_close(loaded(TOKENS), tower(TOKENS))
    if name in ("lora", "layernorm"):
        assert not any("lora" in parameter for parameter, _ in loaded.named_parameters())
        assert list(loaded.state_dict()) == list(Tower().state_dict())  # a plain tower again


def test_the_image_tower_of_an_adapter_is_read_where_there_is_one(tmp_path: Path) -> None:
    images = nn.Linear(2, 2)
    assert methods.load_image_tower(images, tmp_path) is False
    tower = methods.tune(Tower(), Tuning("full"), "made")
    methods.save(tower, tmp_path, {}, images)  # type: ignore[typeddict-item]
    other = nn.Linear(2, 2)
    assert methods.load_image_tower(other, tmp_path) is True
    assert torch.equal(other.weight, images.weight)


def test_only_tuned_weights_are_kept_twice() -> None:
    for name in ("weights moved into the adapter", "with LayerNorms", "adapter", "whole tower"):
        tower = methods.tune(Tower(), SETTINGS[name], "made")
        assert not any(hasattr(each, "before") for each in tower.parameters() if not each.requires_grad), name


def test_a_prompt_cuts_texts_of_towers_with_a_longest_one_alone() -> None:
    assert methods.tune(Tower(), SETTINGS["soft prompt"], "made").longest == 0
    native = Tower()
    native.context_length = 77  # type: ignore[assignment]
    assert methods.tune(native, SETTINGS["soft prompt"], "made").longest == 77
    native = Tower()
    native.context_length, native.config = 77, {}  # type: ignore[assignment]
    assert methods.tune(native, SETTINGS["soft prompt"], "made").longest == 0


def test_weights_in_the_older_file_are_read(tmp_path: Path) -> None:
    tower = changed(methods.tune(Tower(), SETTINGS["adapter"], "made"))
    methods.save(tower, tmp_path, {})  # type: ignore[typeddict-item]
    (tmp_path / methods.WEIGHTS).unlink()
    torch.save(methods.state(tower), tmp_path / "adapter_model.bin")
    found = methods.read_state(tmp_path)
    assert found.keys() == methods.state(tower).keys()
    loaded = methods.load(Tower(), tmp_path, "cpu").eval()
    torch.testing.assert_close(loaded(TOKENS), tower(TOKENS))


def test_only_linear_layers_get_an_adapter() -> None:
    tower = Tower()
    tower.block.output["fc2"] = nn.Identity()  # the name of a linear layer in other towers
    methods.tune(tower, SETTINGS["adapter"], "made")
    assert [name for name, each in tower.named_modules() if isinstance(each, CorrectedLinear)] == ["block.output.dense"]
