"""Text towers of M-CLIP (LREC 2022): a Hugging Face encoder, the mean over its tokens, one linear layer.

The original package does not work with current transformers, and its files are simple enough to be read here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from capivara_cli.errors import CapivaraError

CONTEXT_LENGTH = 77
_IMAGES = {
    "vit-b-32": ("ViT-B-32", "openai"),
    "vit-l-14": ("ViT-L-14", "openai"),
    "vit-b-16plus": ("ViT-B-16-plus-240", "laion400m_e32"),
}


class MultilingualText(nn.Module):
    """The text tower: token ids [n, length] -> embeddings [n, dim]; padding is masked."""

    def __init__(self, config: Any, width: int, dim: int) -> None:
        from transformers import AutoModel

        super().__init__()
        self.config = config
        self.transformer = AutoModel.from_config(config)
        self.proj = nn.Linear(width, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        mask = (tokens != self.config.pad_token_id).long()
        hidden = self.transformer(input_ids=tokens, attention_mask=mask).last_hidden_state
        weights = mask.unsqueeze(-1).to(hidden.dtype)
        return self.proj((hidden * weights).sum(1) / weights.sum(1))


def images_for(folder: Path) -> tuple[str, str]:
    """The open_clip architecture and weights of the image tower for which a published text tower was trained.

    Raises ``CapivaraError`` if the name of the folder does not tell.
    """
    name = folder.name if "snapshots" not in folder.parts else folder.parent.parent.name
    for suffix, found in _IMAGES.items():
        if name.lower().endswith(suffix):
            return found
    raise CapivaraError(
        f"{folder}: the name of the folder does not end in the name of an image tower",
        "give it with --pretrained, for example --model mclip:PATH --pretrained local-dir:IMAGE_MODEL",
    )


def load(own: Path, base: Path) -> MultilingualText:
    """Load an M-CLIP text tower, on the CPU, in evaluation mode. ``base``: the folder of its encoder.

    Raises ``CapivaraError`` for damaged or incomplete weights.
    """
    from transformers import AutoConfig

    from capivara_cli.models.build import SkippedInitialisation, loading_errors, shortened

    settings = json.loads((own / "config.json").read_bytes())
    try:
        with SkippedInitialisation():
            text = MultilingualText(
                AutoConfig.from_pretrained(base), settings["transformerDimensions"], settings["numDims"]
            )
        state = {
            name.replace("LinearTransformation.", "proj.", 1): value
            for name, value in _weights(own).items()
            if not name.endswith("position_ids")
        }
        missing = text.load_state_dict(state, strict=False, assign=True).missing_keys
    except loading_errors() as error:
        raise CapivaraError(f"{own}: cannot be loaded: {shortened(error)}") from error
    if missing := [name for name in missing if ".pooler." not in name]:  # the mean needs no pooler
        raise CapivaraError(f"{own}: its weights lack {missing[0]}")
    for parameter in text.parameters():
        parameter.data = parameter.data.float()
    return text.eval().requires_grad_(False)


def _weights(own: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    if (own / "model.safetensors").is_file():
        return load_file(own / "model.safetensors")
    return torch.load(own / "pytorch_model.bin", map_location="cpu", weights_only=True)
