"""Two models that do not ship: a CLIP of a quarter of the size, and the toy captioner taught to write Portuguese."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any
from unittest import mock

from capivara_cli.storage.files import replace_text
from capivara_cli.toy import grammar, scenes

SMALL = "small-tower"
CAPTIONER = "portuguese-captioner"
PREFIXES = ("uma foto de", "uma imagem de", "um quadro de", "a imagem mostra")
_DONE = "done.json"


def build_small(root: Path) -> None:
    """A CLIP of half the width and half the depth in both towers, by the builder and recipe of the one that ships."""
    folder = root / SMALL
    if (folder / _DONE).is_file():
        return
    from tools.build_toy import clip

    model = copy.deepcopy(clip.MODEL)
    model["embed_dim"] = 64
    model["vision_cfg"] |= {"layers": 2, "width": 64}
    text = {**clip.TEXT_TOWER, "hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 2}
    with mock.patch.multiple(clip, MODEL=model, TEXT_TOWER={**text, "num_attention_heads": 2}):
        clip.build(folder)
    replace_text(folder / _DONE, "{}\n")


def build_captioner(root: Path, n_scenes: int = 4000, steps: int = 700) -> None:
    """The toy captioner with a Portuguese vocabulary: it sees what it saw, and learns to say it from clean sentences.

    Its language model goes on from the English one, words anew; the vision tower, with all its errors, stays.
    """
    folder = root / CAPTIONER
    if (folder / _DONE).is_file():
        return
    import torch
    from transformers import Blip2ForConditionalGeneration

    from capivara_cli.stages.captioners.toy import MODEL
    from tools.build_toy import captioner
    from tools.build_toy.fit import fit

    torch.manual_seed(0)
    world, rng = list(scenes.sample_scenes("train", n_scenes, 77)), random.Random(0)
    with mock.patch.multiple(captioner, PREFIXES=PREFIXES, caption=_said):
        processor = captioner.make_processor(world, 0, 480)
        model = Blip2ForConditionalGeneration.from_pretrained(MODEL)
        model.resize_token_embeddings(len(processor.tokenizer))
        torch.nn.init.normal_(model.get_input_embeddings().weight, std=0.02)
        model.vision_model.requires_grad_(False)
        pixels = captioner.render(processor, world, 0)

        def say() -> Any:
            chosen = [rng.randrange(len(world)) for _ in range(32)]
            batch = captioner.collate(processor.tokenizer, [world[index] for index in chosen], rng, 0.0)
            return model(pixel_values=pixels[chosen], **batch).loss

        model.train()
        fit([model.language_model, model.qformer, model.language_projection], say, steps, 5e-3, "captioner, Portuguese")
        captioner.save(model.eval(), processor, folder / "captioner")
    replace_text(folder / "prefixes", "\n".join(PREFIXES) + "\n")
    replace_text(folder / _DONE, json.dumps({"right": round(_right(folder), 1)}) + "\n")


def _said(scene: scenes.Scene, prefix: str, rng: random.Random) -> str:
    """What follows a prefix: each has its own synonyms and order, as in English."""
    index = PREFIXES.index(prefix)
    choice = grammar.Choice(frame=0, size=index & 1, pattern=index >> 1 & 1, relation=index & 1, mirrored=index == 2)
    return grammar.render(scene, "pt", choice)


def _right(folder: Path, count: int = 200) -> float:
    """Percent of held-out scenes whose first caption is right in every word."""
    from capivara_cli import registry
    from capivara_cli.models.generation import Decoding, Draw, Setup

    told: Any = registry.load("captioners", f"blip2:{folder / 'captioner'}", setup=Setup("cpu", Decoding()))
    drawn = list(scenes.sample_scenes("heldout", count, 77))
    tell = told([told.prepare(scenes.draw(scene, seed=7)) for scene in drawn])
    said = [each[0] for each in tell([[Draw(PREFIXES[0])]] * count)]
    true = [f"{PREFIXES[0]} {_said(scene, PREFIXES[0], random.Random(0))}" for scene in drawn]
    return 100 * sum(one.strip() == other for one, other in zip(said, true, strict=True)) / count
