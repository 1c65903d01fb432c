"""both towers in Hugging Face's formats: text for sentence-transformers, image for transformers"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from capivara_cli.commands.exporters._merged import merged
from capivara_cli.errors import CapivaraError
from capivara_cli.models.clip import Clip
from capivara_cli.models.run_folder import RunDir
from capivara_cli.reports import card

_BICUBIC, _BILINEAR = 3, 2
"""Pillow's numbers of these interpolations."""
_POOLINGS = {"MeanPooler": "mean", "MultilingualText": "mean", "ClsLastHiddenStatePooler": "cls"}
_OTHER_WAYS = "use --format open-clip or --format onnx"


def write(run: RunDir, folder: Path, final: Path) -> str:
    """Write ``text/``, a SentenceTransformer, and ``image/``, a CLIPVisionModelWithProjection with its image processor.

    Raises ``CapivaraError`` for towers that these classes cannot express.
    """
    save(merged(run), folder)
    (folder / "README.md").write_text(card.of_folder(run.path) + _usage(final), "utf-8")
    return f"load it with SentenceTransformer('{final}/text') and CLIPVisionModelWithProjection('{final}/image')"


def save(clip: Clip, folder: Path) -> None:
    """Write ``text/`` and ``image/`` of a model; both or, with a ``CapivaraError``, neither."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        _write_text(clip.model.text, clip.tokenizer, folder / "text")
        _write_image(clip.model.visual, folder / "image")
    except CapivaraError:
        for part in ("text", "image"):
            shutil.rmtree(folder / part, ignore_errors=True)
        raise


def _usage(final: Path) -> str:
    return f"""
## With Hugging Face

```python
from sentence_transformers import SentenceTransformer
from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

texts = SentenceTransformer("{final.name}/text").encode(["…"])  # L2-normalised
processor = CLIPImageProcessor.from_pretrained("{final.name}/image")
tower = CLIPVisionModelWithProjection.from_pretrained("{final.name}/image")
images = tower(**processor(image, return_tensors="pt")).image_embeds  # not normalised
```
"""


def _write_text(text: Any, tokenizer: Any, folder: Path) -> None:
    """Write encoder, pooling, linear layers and normalisation as modules of sentence-transformers."""
    from transformers import AutoModel

    pooler = type(getattr(text, "pooler", text)).__name__
    encoder: Any = getattr(text, "transformer", None)
    automatic = hasattr(text, "config") and type(encoder) is AutoModel._model_mapping.get(type(text.config), None)  # type: ignore[attr-defined]
    if not automatic or pooler not in _POOLINGS:
        raise CapivaraError("sentence-transformers cannot express this text tower", _OTHER_WAYS)
    encoder.save_pretrained(folder, state_dict={**encoder.state_dict(), **_unused(encoder)})
    tokenizer.tokenizer.save_pretrained(folder)
    width = text.config.hidden_size
    modules = ["Transformer", "Pooling"]
    _json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": width} | {
        f"pooling_mode_{mode}": mode == {"mean": "mean_tokens", "cls": "cls_token"}[_POOLINGS[pooler]]
        for mode in ("cls_token", "mean_tokens", "max_tokens", "mean_sqrt_len_tokens")
    })  # fmt: skip
    for linear, activation in _linears(text.proj):
        _write_dense(folder / f"{len(modules)}_Dense", linear, activation)
        modules.append("Dense")
    modules.append("Normalize")
    described = [
        {
            "idx": place,
            "name": str(place),
            "path": f"{place}_{name}" if place else "",
            "type": f"sentence_transformers.models.{name}",
        }
        for place, name in enumerate(modules)
    ]
    _json(folder / "modules.json", described)
    _json(folder / "sentence_bert_config.json", {"max_seq_length": tokenizer.context_length, "do_lower_case": False})
    _json(folder / "config_sentence_transformers.json", {"similarity_fn_name": "cosine"})


def _unused(encoder: Any) -> dict[str, Tensor]:
    """Zeros for the parameters that ``AutoModel`` has and open_clip leaves out: a pooler whose result is not used.

    Without them, everybody who loads the folder is told that weights are missing.
    """
    from transformers import AutoModel

    with torch.device("meta"):
        expected = AutoModel.from_config(encoder.config).state_dict()
    own = encoder.state_dict()
    return {name: torch.zeros(value.shape, dtype=encoder.dtype) for name, value in expected.items() if name not in own}


def _linears(projection: nn.Module) -> list[tuple[nn.Linear, nn.Module]]:
    """The linear layers of a projection, each with the activation that follows it."""
    layers = [projection] if isinstance(projection, nn.Linear) else list(projection.children())
    found: list[tuple[nn.Linear, nn.Module]] = []
    for layer in layers:
        if isinstance(layer, nn.Linear):
            found.append((layer, nn.Identity()))
        elif found:
            found[-1] = (found[-1][0], layer)
    return found


def _write_dense(folder: Path, linear: nn.Linear, activation: nn.Module) -> None:
    from safetensors.torch import save_file

    kind = type(activation)
    settings = {
        "in_features": linear.in_features,
        "out_features": linear.out_features,
        "bias": linear.bias is not None,
        "activation_function": f"{kind.__module__}.{kind.__qualname__}",
    }
    _json(folder / "config.json", settings)
    weights = {f"linear.{name}": value.contiguous() for name, value in linear.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "model.safetensors").chmod(0o644)


def _write_image(visual: Any, folder: Path) -> None:
    """Write open_clip's ViT as transformers' CLIP; checks that both give the same embedding."""
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

    _check_image(visual)
    first = visual.transformer.resblocks[0]
    config = CLIPVisionConfig(
        hidden_size=visual.conv1.out_channels,
        intermediate_size=first.mlp.c_fc.out_features,
        projection_dim=visual.proj.shape[1],
        num_hidden_layers=len(visual.transformer.resblocks),
        num_attention_heads=first.attn.num_heads,
        image_size=visual.image_size[0],
        patch_size=visual.patch_size[0],
        hidden_act="quick_gelu" if type(first.mlp.gelu).__name__ == "QuickGELU" else "gelu",
        layer_norm_eps=visual.ln_post.eps,
    )
    model = CLIPVisionModelWithProjection(config).eval()
    model.load_state_dict(_renamed(visual), strict=False)
    pixels = torch.rand(1, 3, *visual.image_size)
    with torch.no_grad():
        difference = float((model(pixels).image_embeds - visual(pixels)).abs().max() / visual(pixels).abs().max())
    if not difference < 1e-3:
        raise CapivaraError(f"transformers' embeddings differ from open_clip's by {difference:.1e}", _OTHER_WAYS)
    model.save_pretrained(folder)
    settings = visual.preprocess_cfg
    CLIPImageProcessor(
        size={"shortest_edge": config.image_size},
        crop_size={"height": config.image_size, "width": config.image_size},
        image_mean=list(settings["mean"]),
        image_std=list(settings["std"]),
        resample=_BILINEAR if settings["interpolation"] == "bilinear" else _BICUBIC,
    ).save_pretrained(folder)


def _check_image(visual: Any) -> None:
    """Raise ``CapivaraError`` for an image tower that is not a plain CLIP ViT, or has another preprocessing."""
    plain = type(visual).__name__ == "VisionTransformer" and visual.attn_pool is None and visual.pool_type == "tok"
    plain = plain and isinstance(visual.ln_pre, nn.LayerNorm) and visual.proj is not None
    if not plain or visual.image_size[0] != visual.image_size[1]:
        raise CapivaraError("transformers' CLIP cannot express this image tower", _OTHER_WAYS)
    if visual.preprocess_cfg["resize_mode"] != "shortest":
        raise CapivaraError(
            f"CLIPImageProcessor cannot resize images by '{visual.preprocess_cfg['resize_mode']}', as this model does",
            _OTHER_WAYS,
        )


_NAMES = {
    "conv1.weight": "embeddings.patch_embedding.weight",
    "class_embedding": "embeddings.class_embedding",
    "positional_embedding": "embeddings.position_embedding.weight",
    "ln_pre.": "pre_layrnorm.",
    "ln_post.": "post_layernorm.",
    "transformer.resblocks.": "encoder.layers.",
    ".ln_1.": ".layer_norm1.",
    ".ln_2.": ".layer_norm2.",
    ".mlp.c_fc.": ".mlp.fc1.",
    ".mlp.c_proj.": ".mlp.fc2.",
    ".attn.": ".self_attn.",
}


def _renamed(visual: nn.Module) -> dict[str, Tensor]:
    """open_clip's parameters under transformers' names, with queries, keys and values split."""
    found: dict[str, Tensor] = {}
    for name, value in visual.state_dict().items():
        if name == "proj":
            found["visual_projection.weight"] = value.T.contiguous()
            continue
        for own, theirs in _NAMES.items():
            name = name.replace(own, theirs)
        name = f"vision_model.{name}"
        if ".in_proj_" in name:
            for letter, part in zip("qkv", value.chunk(3), strict=True):
                found[name.replace("in_proj_", f"{letter}_proj.")] = part.contiguous()
        else:
            found[name] = value.contiguous()
    return found


def _json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
