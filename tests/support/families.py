"""Tiny models of every family of text towers, of the real classes; and a short training of one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from support.tiny import WORDS, own_tower, tiny_clip

from capivara_cli.commands.train import Options, train
from capivara_cli.models.run_folder import RunDir
from capivara_cli.pipeline.env import Env
from capivara_cli.pipeline.options import Settings, build

VOCABULARY = 4 + len(WORDS)


def mt5(folder: Path) -> str:
    from transformers import MT5Config

    config = MT5Config(
        vocab_size=VOCABULARY, d_model=32, d_kv=16, d_ff=64, num_layers=2, num_heads=2, pad_token_id=1, eos_token_id=2,
        dropout_rate=0.1,
    )  # fmt: skip
    return _with_tower(folder, config, {"hf_pooler_type": "mean_pooler"})


def nllb(folder: Path) -> str:
    from transformers import M2M100Config

    config = M2M100Config(
        vocab_size=VOCABULARY, d_model=32, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=64,
        decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=64, max_position_embeddings=90, pad_token_id=1,
        bos_token_id=0, eos_token_id=2, decoder_start_token_id=2,
    )  # fmt: skip
    return _with_tower(folder, config, {"hf_pooler_type": "cls_pooler", "hf_proj_type": "linear"})


def _with_tower(folder: Path, text: Any, more: dict[str, Any]) -> str:
    """The tiny model with another Hugging Face text tower."""
    import open_clip

    tiny_clip(folder)
    text.save_pretrained(folder)
    described = json.loads((folder / "open_clip_config.json").read_text())
    config = described["model_cfg"]
    config["text_cfg"] = {"hf_tokenizer_name": "tiny/none", "hf_model_pretrained": False, **more}
    torch.manual_seed(0)
    here = {**config, "text_cfg": {**config["text_cfg"], "hf_model_name": str(folder)}}
    model = open_clip.CustomTextCLIP(**here)
    weights = {name: value.clone().contiguous() for name, value in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    config["text_cfg"]["hf_model_name"] = "tiny/none"
    (folder / "open_clip_config.json").write_text(json.dumps(described))
    return f"local-dir:{folder}"


def clip_text(folder: Path) -> str:
    own_tower(folder)
    return f"local-dir:{folder}"


def siglip(folder: Path, layers: int = 2) -> str:
    own_tower(folder, no_causal_mask=True, pool_type="last", proj_bias=True, layers=layers)
    return f"local-dir:{folder}"


def mclip(folder: Path) -> str:
    """As M-CLIP publishes: an encoder named by ``modelBase``, and one linear layer."""
    from transformers import XLMRobertaConfig, XLMRobertaModel

    images = tiny_clip(folder / "images")
    own = folder / "XLM-Roberta-Tiny"
    own.mkdir()
    shutil.copytree(images, own / "base", ignore=shutil.ignore_patterns("*.safetensors", "open_clip*"))
    for path in images.glob("tokenizer*"):
        shutil.copy(path, own)
    (own / "config.json").write_text(json.dumps({"modelBase": "base", "transformerDimensions": 32, "numDims": 16}))
    torch.manual_seed(1)
    encoder = XLMRobertaModel(XLMRobertaConfig.from_pretrained(own / "base"))
    state = {f"transformer.{name}": value for name, value in encoder.state_dict().items()}
    linear = torch.nn.Linear(32, 16)
    state |= {f"LinearTransformation.{name}": value for name, value in linear.state_dict().items()}
    torch.save(state, own / "pytorch_model.bin")
    return f"mclip:{own}"


FAMILIES = {"mt5": mt5, "nllb": nllb, "clip": clip_text, "siglip": siglip, "mclip": mclip}


def taught(model: str, folder: Path, runs: Path, **changes: Any) -> RunDir:
    pretrained = f"local-dir:{Path(model.removeprefix('mclip:')).parent / 'images'}" if "mclip:" in model else ""
    options = build(
        Options,
        lang="pt", model=model, pretrained=pretrained, runs=str(runs), steps=3, batch_size=16, lr=1e-2, warmup=1,
        **changes,
    )  # fmt: skip
    return RunDir(Path(train.run([str(folder)], options, Env(Settings(), "train"))["run"]))
