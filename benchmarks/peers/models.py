"""Models of full size with random weights: for speed and memory, trained ones are not needed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

VOCABULARY, PAD, BEGIN, END, UNKNOWN = 250_002, 1, 0, 2, 3
WIDTH, LAYERS, HEADS, INNER, DIM = 768, 12, 12, 3072, 512
SUBWORDS = 8000
XLM_R = {
    "model_type": "xlm-roberta", "vocab_size": VOCABULARY, "hidden_size": WIDTH, "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS, "intermediate_size": INNER, "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1, "max_position_embeddings": 514, "type_vocab_size": 1,
    "layer_norm_eps": 1e-5, "pad_token_id": PAD, "bos_token_id": BEGIN, "eos_token_id": END,
}  # fmt: skip


def make_multilingual(folder: str, texts: Sequence[str]) -> None:
    """xlm-roberta-base-ViT-B-32, the model of the paper, as an open_clip folder; its tokenizer cuts the texts into
    subwords."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    path = Path(folder)
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(XLM_R))
    _tokenizer(texts).save_pretrained(path)
    text = {"hf_model_name": folder, "hf_tokenizer_name": folder, "hf_proj_type": "mlp",
            "hf_pooler_type": "mean_pooler", "hf_model_pretrained": False}  # fmt: skip
    vision = {"image_size": 224, "layers": LAYERS, "width": WIDTH, "patch_size": 32}
    torch.manual_seed(0)
    model = open_clip.CustomTextCLIP(embed_dim=DIM, vision_cfg=vision, text_cfg=text)
    save_file(
        {name: value.contiguous() for name, value in model.state_dict().items()}, path / "open_clip_model.safetensors"
    )
    described = {"model_cfg": {"embed_dim": DIM, "vision_cfg": vision, "text_cfg": text}, "preprocess_cfg": {}}
    (path / "open_clip_config.json").write_text(json.dumps(described))


def _tokenizer(texts: Sequence[str]) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.BpeTrainer(vocab_size=SUBWORDS, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", BEGIN), ("</s>", END)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )


def make_huggingface(folder: str, texts: Sequence[str]) -> None:
    """Hugging Face's CLIP with towers of the same sizes, for peers that take no other."""
    import torch
    from tokenizers import CharBPETokenizer
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizerFast

    path = Path(folder)
    path.mkdir(parents=True)
    bpe = CharBPETokenizer(suffix="</w>", lowercase=True)
    special = ["<|startoftext|>", "<|endoftext|>", "<unk>"]
    bpe.train_from_iterator(texts, vocab_size=2000, suffix="</w>", special_tokens=special)
    bpe.save_model(folder)
    tokenizer = CLIPTokenizerFast.from_pretrained(path)
    sizes = {
        "hidden_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "intermediate_size": INNER,
    }
    text = {**sizes, "vocab_size": VOCABULARY, "max_position_embeddings": 77, "eos_token_id": tokenizer.eos_token_id}
    torch.manual_seed(0)
    vision = {**sizes, "patch_size": 32, "image_size": 224}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=DIM))
    model.save_pretrained(path)
    CLIPProcessor(CLIPImageProcessor(), tokenizer).save_pretrained(path)
