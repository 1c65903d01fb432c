"""A tiny random CLIP of the real classes: open_clip's CustomTextCLIP with a ViT and an XLM-RoBERTa text tower."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SIZE = 32
TEXT = "a the red blue green dog cat ball house um o vermelho azul verde cachorro gato bola casa em on and e"
WORDS = TEXT.split()


def tiny_clip(folder: Path, seed: int = 0, dropout: float = 0.1, layers: int = 2) -> Path:
    """Write the model as an open_clip folder with its own tokenizer and text configuration; nothing is downloaded."""
    import open_clip
    import torch
    from safetensors.torch import save_file
    from transformers import XLMRobertaConfig

    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = _tokenizer(folder)
    XLMRobertaConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=82,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
    ).save_pretrained(folder)
    config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": SIZE, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
        "text_cfg": {
            "hf_model_name": str(folder),
            "hf_tokenizer_name": str(folder),
            "hf_pooler_type": "mean_pooler",
            "hf_model_pretrained": False,
        },
    }
    torch.manual_seed(seed)
    model = open_clip.CustomTextCLIP(**config)
    with torch.no_grad():
        for parameter in model.parameters():  # random init is nearly constant in the text tower: spread it out
            if parameter.dim() > 1:
                parameter.normal_(std=0.3)
    save_file(
        {name: value.contiguous() for name, value in model.state_dict().items()}, folder / "open_clip_model.safetensors"
    )
    config["text_cfg"].update(hf_model_name="tiny/none", hf_tokenizer_name="tiny/none")
    preprocess = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    return folder


def own_tower(folder: Path, vision: dict[str, Any] | None = None, **text: Any) -> Any:
    """A model with open_clip's own text tower, as a folder; returns it as open_clip makes it."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    config = {
        "embed_dim": 16,
        "vision_cfg": vision or {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
        "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2, **text},
    }
    torch.manual_seed(0)
    model = open_clip.CustomTextCLIP(**config)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    return model.eval()


def _tokenizer(folder: Path) -> int:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["<s>", "<pad>", "</s>", "<unk>"]
    words = {word: index for index, word in enumerate([*special, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    ).save_pretrained(folder)
    return len(words)


def pairs(count: int, languages: str = "en pt", seed: int = 0) -> list:
    """Samples with a random image and, in each language, one or two random captions."""
    import io

    import numpy as np
    from PIL import Image

    from capivara_cli.shards.sample import Caption, Sample, encode_json

    generator = np.random.default_rng(seed)
    samples = []
    for number in range(count):
        out = io.BytesIO()
        Image.fromarray(generator.integers(0, 255, (40, 40, 3), np.uint8)).save(out, "PNG")
        captions = [
            Caption(" ".join(generator.choice(WORDS, generator.integers(2, 9))), language, "alt")
            for language in languages.split()
            for _ in range(1 + number % 2)
        ]
        document = encode_json({"captions": [caption.to_json() for caption in captions]})
        samples.append(Sample(f"{number:05d}", {"png": out.getvalue(), "json": document}))
    return samples
