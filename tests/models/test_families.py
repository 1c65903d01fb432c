"""Every family of text towers that is trained: made tiny, of the real classes, taught, loaded again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from support import variants
from support.families import FAMILIES, mclip, nllb, siglip, taught
from support.tiny import WORDS, pairs

from capivara_cli.commands.export import Options as ExportOptions
from capivara_cli.commands.export import export
from capivara_cli.commands.exporters import onnx
from capivara_cli.errors import CapivaraError
from capivara_cli.models.clip import find_adapter, load_clip
from capivara_cli.models.clip_files import DEFAULT_MODEL
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings

TEXTS = ["um gato azul", "a red dog on the house"]
VOCABULARY = 4 + len(WORDS)


EVERY = [(family, peft) for family in FAMILIES for peft in ("lora", "lit")]


@pytest.mark.parametrize(("family", "peft"), EVERY if variants.ALL else EVERY[::2])  # lora in each
def test_a_family_learns_and_is_loaded(family: str, peft: str, shards: Callable[..., Path], tmp_path: Path) -> None:
    model = FAMILIES[family](tmp_path / "model")
    run = taught(model, shards(pairs(20)), tmp_path / "runs", peft=peft)
    clip = load_clip(str(run))
    pretrained = run.document["base"]["source"]["pretrained"]
    base = load_clip(model, pretrained)
    tuned, before = clip.embed_texts(TEXTS), base.embed_texts(TEXTS)
    assert np.isfinite(tuned).all() and np.abs(tuned - before).max() > 1e-4
    assert run.document["parameters"]["parts"][f"in {peft}"] > 0
    expected = {
        "mt5": ["q", "v"],
        "nllb": ["q_proj", "v_proj"],
        "clip": ["c_fc", "c_proj"],
        "siglip": ["c_fc", "c_proj"],
    }
    assert run.document["parameters"]["targets"] == (expected.get(family, ["query", "value"]) if peft == "lora" else [])
    assert clip.identity == base.identity


@pytest.mark.parametrize(
    ("family", "form", "refusal"),
    [
        ("mclip", "hf", ""),
        ("mclip", "open-clip", "open_clip cannot express M-CLIP's text towers"),
        ("clip", "open-clip", ""),
        ("clip", "hf", "sentence-transformers cannot express this text tower"),
        ("nllb", "open-clip", ""),
        pytest.param("siglip", "onnx", "", marks=variants.only_with_all("test_exporters.py exports another tower")),
    ],
)
def test_a_family_is_exported_or_refused(
    family: str,
    form: str,
    refusal: str,
    shards: Callable[..., Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if (
        form == "onnx"
    ):  # torch's exporter takes seconds for each layer, and the image tower is that of test_exporters.py
        model, convert = siglip(tmp_path / "model", layers=1), onnx._convert
        monkeypatch.setattr(
            onnx, "_convert", lambda tower, *given: convert(tower, *given) if given[1].name == "text.onnx" else None
        )
    else:
        model = FAMILIES[family](tmp_path / "model")
    run, target = taught(model, shards(pairs(20)), tmp_path / "runs"), tmp_path / "out"

    def write() -> None:
        export.run([str(run)], ExportOptions(to=str(target), format=form), Env(Settings(), "export"))

    if refusal:
        with pytest.raises(CapivaraError, match=refusal):
            write()
        assert not target.exists()
        return
    write()
    assert ("README.md has the lines that load it" in capsys.readouterr().err) == (family == "nllb")
    expected = load_clip(str(run)).embed_texts(TEXTS)
    if form == "open-clip":
        np.testing.assert_allclose(load_clip(f"local-dir:{target}").embed_texts(TEXTS), expected, atol=1e-5)
    elif form == "hf":
        from sentence_transformers import SentenceTransformer

        found = SentenceTransformer(str(target / "text"), device="cpu").encode(TEXTS)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_nllbs_projection_cannot_be_trained_through_peft_and_it_is_said(
    shards: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """peft takes names by their ends: with "proj" every q_proj and out_proj would be trained too."""
    model, data = nllb(tmp_path / "model"), shards(pairs(20))
    run = taught(model, data, tmp_path / "runs")
    assert "the projection is not trained" in capsys.readouterr().err
    assert run.document["parameters"]["parts"]["in lora"] == 2 * 2 * 2 * 8 * 32
    assert run.document["parameters"]["trainable"] == 2 * 2 * 2 * 8 * 32 + 1
    with pytest.raises(CapivaraError, match="every module of this text tower whose name ends in proj"):
        taught(model, data, tmp_path / "runs", name="two", projection=True)


def test_mclip_is_the_mean_of_its_encoder_through_one_linear_layer(tmp_path: Path) -> None:
    from transformers import XLMRobertaConfig, XLMRobertaModel

    model = mclip(tmp_path / "model")
    own = Path(model.removeprefix("mclip:"))
    clip = load_clip(model, f"local-dir:{own.parent / 'images'}")
    state = torch.load(own / "pytorch_model.bin", weights_only=True)
    encoder = XLMRobertaModel(XLMRobertaConfig.from_pretrained(own / "base")).eval()
    encoder.load_state_dict(
        {name.removeprefix("transformer."): each for name, each in state.items() if "transf" in name}
    )
    for text, row in zip(TEXTS, clip.tokenize(TEXTS), strict=True):
        with torch.no_grad():
            hidden = encoder(torch.from_numpy(row[None]).long()).last_hidden_state.mean(1)
        expected = hidden @ state["LinearTransformation.weight"].T + state["LinearTransformation.bias"]
        np.testing.assert_allclose(clip.embed_texts([text], normalize=False), expected.numpy(), atol=1e-5)


def test_mclip_says_what_does_not_fit(tmp_path: Path) -> None:
    model = mclip(tmp_path / "model")
    own = Path(model.removeprefix("mclip:"))
    with pytest.raises(CapivaraError, match="does not end in the name of an image tower"):
        load_clip(model)
    images = f"local-dir:{own.parent / 'images'}"
    config = json.loads((own / "config.json").read_text())
    (own / "config.json").write_text(json.dumps({**config, "numDims": 12}))
    with pytest.raises(CapivaraError, match="cannot be loaded"):
        load_clip(model, images)
    (own / "config.json").write_text(json.dumps(config))
    state = torch.load(own / "pytorch_model.bin", weights_only=True)
    torch.save({name: each for name, each in state.items() if "layer.1" not in name}, own / "pytorch_model.bin")
    with pytest.raises(CapivaraError, match=r"its weights lack transformer.encoder.layer.1"):
        load_clip(model, images)


def test_a_published_adapter_is_started_from_and_loaded(
    tiny: Path, shards: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As hiaac-nlp/CAPIVARA-Opt: peft's two files on the hub, and nothing that says which base they are for."""
    from capivara_cli.models import clip as module
    from capivara_cli.models import hub

    first = taught(f"local-dir:{tiny}", shards(pairs(20)), tmp_path / "runs", name="first")
    cached = tmp_path / "published"
    shutil.copytree(first.adapter, cached, ignore=shutil.ignore_patterns("base.json"))
    (cached / "README.md").write_text("")
    assert find_adapter(str(cached)).base == {"model": DEFAULT_MODEL, "pretrained": ""}

    monkeypatch.setattr(hub, "folder", lambda need: cached if need.repo == "hiaac-nlp/CAPIVARA-Opt" else None)
    given = module.load_clip

    def load(model: str = DEFAULT_MODEL, pretrained: str = "", device: str = "cpu") -> Any:
        return given(f"local-dir:{tiny}" if model == DEFAULT_MODEL else model, pretrained, device)

    monkeypatch.setattr(module, "load_clip", load)
    published = module.load_clip("hf-hub:hiaac-nlp/CAPIVARA-Opt")
    np.testing.assert_array_equal(published.embed_texts(TEXTS), given(str(first)).embed_texts(TEXTS))


def test_weights_of_another_precision_are_read(tiny: Path, tmp_path: Path) -> None:
    half = shutil.copytree(tiny, tmp_path / "half")
    weights = load_file(half / "open_clip_model.safetensors")
    save_file({name: each.half() for name, each in weights.items()}, half / "open_clip_model.safetensors")
    clip = load_clip(f"local-dir:{half}")
    assert {each.dtype for each in clip.model.parameters()} == {torch.float32}
    np.testing.assert_allclose(clip.embed_texts(TEXTS), load_clip(f"local-dir:{tiny}").embed_texts(TEXTS), atol=5e-3)
