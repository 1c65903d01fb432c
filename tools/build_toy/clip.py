"""Train the toy CLIP: an open_clip folder with a ViT image tower and a Hugging Face XLM-RoBERTa text tower.

The classes and module names are those of the model that CAPIVARA adapts (XLM-RoBERTa-base with ViT-B-32); only the
sizes differ. Nearly all of its training captions are English, so it is worse in Portuguese, Hindi and Xhosa, as in the
paper's Figure 1.
"""

from __future__ import annotations

import json
import math
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from open_clip import CustomTextCLIP
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase, XLMRobertaConfig

from capivara_cli.languages.prompts import PREFIXES
from capivara_cli.toy.grammar import LANGUAGES, brief, describe, noun_phrase
from capivara_cli.toy.scenes import Scene, draw, sample_scenes
from tools.build_toy import vocabulary

SIZE = 64  # pixels
WIDTH = 128
_TEXT: dict[str, object] = {
    "hf_model_name": ".",  # this folder; a loader inserts its real path
    "hf_tokenizer_name": ".",
    "hf_model_pretrained": False,
    "hf_pooler_type": "mean_pooler",
    "hf_proj_type": "mlp",
    "context_length": vocabulary.CONTEXT_LENGTH,
}
MODEL: dict[str, object] = {
    "embed_dim": WIDTH,
    "vision_cfg": {"image_size": SIZE, "layers": 4, "width": WIDTH, "head_width": 32, "patch_size": 16},
    "text_cfg": _TEXT,
}
TEXT_TOWER: dict[str, Any] = {
    "hidden_size": WIDTH,
    "intermediate_size": 4 * WIDTH,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "max_position_embeddings": vocabulary.CONTEXT_LENGTH + 3,  # XLM-RoBERTa starts its positions after the padding id
    "type_vocab_size": 1,
    "hidden_dropout_prob": 0.0,
    "attention_probs_dropout_prob": 0.0,
    "bos_token_id": 0,
    "pad_token_id": 1,
    "eos_token_id": 2,
}
PREPROCESS = {
    "mean": list(open_clip.OPENAI_DATASET_MEAN),
    "std": list(open_clip.OPENAI_DATASET_STD),
    "interpolation": "bicubic",
    "resize_mode": "shortest",
}


@dataclass(frozen=True, slots=True)
class Hyperparameters:
    """The training data and the length of the training."""

    scenes: int = 12_000
    steps: int = 650
    batch: int = 128
    rate: float = 1e-3  # the peak, after a warm-up and before a cosine decay to zero
    warmup: int = 60
    weight_decay: float = 0.05
    shares: tuple[float, ...] = (0.9946, 0.0036, 0.0014, 0.0004)  # of the captions, in the order of LANGUAGES
    brief: float = 0.2  # share of captions that name one thing only, like a class name
    prefixed: float = 0.2  # share of English captions that start with a prefix of the captioner


def build(out: Path, seed: int = 0, plan: Hyperparameters = Hyperparameters()) -> None:
    """Train the toy CLIP and write it to `out/clip`, an open_clip folder with its tokenizer."""
    torch.manual_seed(seed)
    folder = Path(out) / "clip"
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = vocabulary.train(vocabulary.corpus(2000, seed))
    tokenizer.save_pretrained(folder)
    XLMRobertaConfig(vocab_size=len(tokenizer), **TEXT_TOWER).save_pretrained(folder)
    model = make_model(folder)
    train(model, tokenizer, plan, seed)
    save(model, folder)


def make_model(folder: Path) -> CustomTextCLIP:
    """An untrained `CustomTextCLIP` whose text tower is described by `folder/config.json`."""
    text = {**_TEXT, "hf_model_name": str(folder)}
    return CustomTextCLIP(embed_dim=MODEL["embed_dim"], vision_cfg=MODEL["vision_cfg"], text_cfg=text)


def pixels(scenes: Sequence[Scene], seed: int = 0) -> Tensor:
    """Drawings of the scenes, uint8 (scenes, 3, SIZE, SIZE)."""
    drawn = np.stack([np.asarray(draw(scene, seed, SIZE)) for scene in scenes])
    return torch.from_numpy(drawn).permute(0, 3, 1, 2).contiguous()


def normalized(images: Tensor) -> Tensor:
    """uint8 images -> the floats of open_clip's preprocessing for images of SIZE pixels."""
    mean, std = (torch.tensor(PREPROCESS[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    return (images.float() / 255 - mean) / std


def tokens(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> Tensor:
    """Token ids padded to the longest text, (texts, length)."""
    return tokenizer(
        list(texts), padding=True, truncation=True, max_length=vocabulary.CONTEXT_LENGTH, return_tensors="pt"
    )["input_ids"]


def train_caption(scene: Scene, plan: Hyperparameters, rng: random.Random) -> str:
    """A true caption, in a language that is drawn by the shares."""
    lang = rng.choices(LANGUAGES, weights=plan.shares)[0]
    if rng.random() < plan.brief:
        return brief(scene, lang, rng)
    if lang == "en" and rng.random() < plan.prefixed:
        prefix = rng.choice(PREFIXES)
        text = noun_phrase(scene, lang, rng)
        return f"{prefix} {text.removeprefix('a ') if prefix.endswith(' a') else text}"
    return describe(scene, lang, rng)


def train(model: CustomTextCLIP, tokenizer: PreTrainedTokenizerBase, plan: Hyperparameters, seed: int) -> None:
    """Train all parameters with the symmetric cross-entropy of CLIP, in place."""
    rng = random.Random(f"clip-{seed}")
    scenes = list(sample_scenes("train", plan.scenes, seed))
    images = pixels(scenes, seed)
    decayed = [p for name, p in model.named_parameters() if p.ndim > 1 and "embedding" not in name]
    kept = [p for name, p in model.named_parameters() if p.ndim <= 1 or "embedding" in name]
    groups = [{"params": decayed, "weight_decay": plan.weight_decay}, {"params": kept, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=plan.rate, betas=(0.9, 0.98))
    loss_of = open_clip.ClipLoss()
    model.train()
    for step in range(plan.steps):
        for group in optimizer.param_groups:
            group["lr"] = rate(step, plan)
        picked = rng.sample(range(len(scenes)), plan.batch)
        texts = [train_caption(scenes[index], plan, rng) for index in picked]
        features = model(normalized(images[picked]), tokens(tokenizer, texts))
        loss = loss_of(*features)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0, math.log(100))
        if step % 100 == 99:
            sys.stderr.write(f"clip: step {step + 1} of {plan.steps}, loss {loss.item():.3f}\n")
    model.eval()


def rate(step: int, plan: Hyperparameters) -> float:
    """The learning rate of a step: linear warm-up, then a cosine decay to zero."""
    if step < plan.warmup:
        return plan.rate * (step + 1) / plan.warmup
    done = (step - plan.warmup) / max(1, plan.steps - plan.warmup)
    return plan.rate * 0.5 * (1 + math.cos(math.pi * done))


def save(model: CustomTextCLIP, folder: Path) -> None:
    """Write weights (stored in half precision, loaded as float32) and configuration in the form of open_clip."""
    weights = {
        name: value.half().contiguous() if value.is_floating_point() else value.contiguous()
        for name, value in model.state_dict().items()
    }
    save_file(weights, folder / "open_clip_model.safetensors", metadata={"format": "pt"})
    config = {"model_cfg": MODEL, "preprocess_cfg": PREPROCESS}
    (folder / "open_clip_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


@torch.no_grad()
def mean_recall(model: CustomTextCLIP, tokenizer: PreTrainedTokenizerBase, lang: str, count: int = 300) -> float:
    """Mean of R@1, R@5 and R@10 in both directions, in percent, on held-out scenes with one clean caption each."""
    scenes = list(sample_scenes("heldout", count))
    rng = random.Random(f"captions-{lang}")
    image = nn.functional.normalize(model.encode_image(normalized(pixels(scenes, 1))), dim=-1)
    text = nn.functional.normalize(
        model.encode_text(tokens(tokenizer, [describe(scene, lang, rng) for scene in scenes])), dim=-1
    )
    scores = image @ text.T
    ranks = [(row > row.diagonal()[:, None]).sum(1) for row in (scores, scores.T)]
    return 100 * float(np.mean([(rank < k).float().mean().item() for rank in ranks for k in (1, 5, 10)]))
