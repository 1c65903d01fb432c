"""Train the toy captioner: a BLIP-2 of under a million parameters, saved with its own processor.

The class, the processor and the call are those of `Salesforce/blip2-opt-2.7b`; only the sizes differ, so code that
captions with this one captions with the real one. It is good but imperfect on purpose: a captioner that never errs
would leave filtering nothing to do.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from tokenizers import ByteLevelBPETokenizer, Tokenizer, processors
from transformers import (
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2Processor,
    BlipImageProcessor,
    PreTrainedTokenizerFast,
)

from capivara_cli.languages.prompts import PREFIXES
from capivara_cli.toy import grammar, scenes
from tools.build_toy import sight
from tools.build_toy.fit import fit

SIZE = 64  # pixels
QUERIES = 8
SPECIAL = ("<pad>", "<s>", "</s>", "<image>")
PAD, BOS, EOS, IMAGE = range(len(SPECIAL))

VISION: dict[str, Any] = dict(
    hidden_size=96,
    intermediate_size=192,
    num_hidden_layers=3,
    num_attention_heads=4,
    image_size=SIZE,
    patch_size=8,
    initializer_range=0.02,
)  # the class default of 1e-10 is for loading weights, not for learning them
QFORMER: dict[str, Any] = dict(
    hidden_size=96,
    intermediate_size=192,
    num_hidden_layers=2,
    num_attention_heads=4,
    vocab_size=len(SPECIAL),
    cross_attention_frequency=1,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
)
LANGUAGE: dict[str, Any] = dict(
    model_type="opt",
    hidden_size=96,
    word_embed_proj_dim=96,
    ffn_dim=384,
    num_hidden_layers=2,
    num_attention_heads=4,
    max_position_embeddings=160,
    dropout=0.0,
    pad_token_id=PAD,
    bos_token_id=BOS,
    eos_token_id=EOS,
)


@dataclass(frozen=True)
class Plan:
    """How long and on how much the captioner is trained; the defaults take about seven minutes of one core."""

    scenes: int = 14000
    batch: int = 32
    seeing: int = 1800  # steps
    saying: int = 1200
    rate: float = 5e-3  # peak
    blur: float = 0.37  # 0 names every object of 95% of held-out scenes, 0.3 of 82%, 0.5 of 18%
    bare_share: float = 0.1  # captions learned without a prefix, so that an empty prompt works too
    vocabulary: int = 480


def build(out: Path, seed: int = 0, plan: Plan = Plan()) -> None:
    """Train the captioner and write it to `out/captioner`, ready for `from_pretrained`."""
    torch.manual_seed(seed)
    world = list(scenes.sample_scenes("train", plan.scenes, seed))
    processor = make_processor(world, seed, plan.vocabulary)
    model = make_model(len(processor.tokenizer))
    train(model, processor, world, seed, plan)
    blur(model, plan.blur, seed)
    save(model, processor, Path(out) / "captioner")


def caption(scene: scenes.Scene, prefix: str, rng: random.Random) -> str:
    """Return the English words that follow `prefix` for `scene`; without a prefix, any sentence of the grammar.

    Each prefix has its own synonyms and order, so that the ten captions of one image differ as the paper's do.

    >>> scene = scenes.Scene((scenes.Thing("boat", "red", "big", "plain"),), None, "sand")
    >>> caption(scene, "portrait of a", random.Random(0))
    'huge red boat on the sand'
    """
    if not prefix:
        return grammar.describe(scene, "en", rng)
    choice = habit(scene, prefix)
    text = grammar.render(scene, "en", choice)
    return text.removeprefix("a ") if prefix.endswith(" a") else text


def habit(scene: scenes.Scene, prefix: str) -> grammar.Choice:
    """Return how `prefix` tells `scene`: synonyms and order by its place in `PREFIXES`, always as a noun phrase.

    What follows "portrait of a" must be singular: the single thing is told first, or else "scene with two ..." is said.
    """
    index = PREFIXES.index(prefix)
    choice = grammar.Choice(
        frame=0, size=index & 1, pattern=index >> 1 & 1, relation=index >> 2 & 1, mirrored=index % 3 == 2
    )
    if prefix.endswith(" a"):
        counts = [count for count, _ in scenes.groups(scene)]
        single = counts.index(1) if 1 in counts else None
        return replace(choice, frame=2 if single is None else 0, mirrored=single == 1)
    return choice


def make_processor(world: Sequence[scenes.Scene], seed: int, vocabulary: int) -> Blip2Processor:
    """Return a BLIP-2 processor at 64 pixels with a byte-level tokenizer fitted on sentences of `world`.

    Byte-level, so that any text encodes: bytes are the last resort for what the grammar never says.
    """
    rng = random.Random(seed)
    sentences = [
        f"{prefix} {caption(scene, prefix, rng)}" for scene in world[:3000] for prefix in rng.sample(PREFIXES, 1)
    ]
    trainer = ByteLevelBPETokenizer()
    trainer.train_from_iterator(sentences, vocab_size=vocabulary, special_tokens=list(SPECIAL), show_progress=False)
    core: Tokenizer = trainer._tokenizer
    core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", BOS)])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="</s>",
        padding_side="left",
        model_max_length=128,
    )
    images = BlipImageProcessor(size={"height": SIZE, "width": SIZE})
    return Blip2Processor(images, tokenizer, num_query_tokens=QUERIES)


def make_model(vocabulary: int) -> Blip2ForConditionalGeneration:
    """Return the untrained captioner for a tokenizer of `vocabulary` entries."""
    config = Blip2Config(
        vision_config=VISION,
        qformer_config=QFORMER,
        text_config=LANGUAGE | {"vocab_size": vocabulary},
        num_query_tokens=QUERIES,
        image_text_hidden_size=96,
        image_token_index=IMAGE,
    )
    model = Blip2ForConditionalGeneration(config)
    # The default starts the queries at zero: all eight would attend alike and receive the same gradient.
    torch.nn.init.normal_(model.query_tokens, std=0.5)
    return model


def train(
    model: Blip2ForConditionalGeneration,
    processor: Blip2Processor,
    world: Sequence[scenes.Scene],
    seed: int,
    plan: Plan,
) -> None:
    """Teach the model in two stages, as BLIP-2 is: first to see what is there, then to say it after each prefix."""
    rng = random.Random(seed + 1)
    pixels = render(processor, world, seed)
    true = sight.truth(world, SIZE // VISION["patch_size"])
    heads = sight.Sight(VISION["hidden_size"], QUERIES)
    model.train()

    def draw() -> list[int]:
        return [rng.randrange(len(world)) for _ in range(plan.batch)]

    def see() -> torch.Tensor:
        chosen = draw()
        return heads(*sight.look(model, pixels[chosen]), true.of(chosen))

    def say() -> torch.Tensor:
        chosen = draw()
        batch = collate(processor.tokenizer, [world[index] for index in chosen], rng, plan.bare_share)
        output = model(pixel_values=pixels[chosen], **batch)
        seen = heads(output.vision_outputs.last_hidden_state, output.qformer_outputs.last_hidden_state, true.of(chosen))
        return output.loss + seen

    fit([model, heads], see, plan.seeing, plan.rate, "captioner, see")
    fit([model, heads], say, plan.saying, plan.rate, "captioner, say")


def blur(model: Blip2ForConditionalGeneration, amount: float, seed: int) -> None:
    """Add noise of `amount` times their spread to the vision encoder's matrices: sight then errs, speech does not.

    Trained this long it would hardly ever err, and then scoring and filtering would have nothing to find.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for matrix in model.vision_model.encoder.parameters():
            if matrix.ndim == 2:
                matrix.add_(torch.randn(matrix.shape, generator=generator) * matrix.std() * amount)


def render(processor: Blip2Processor, world: Sequence[scenes.Scene], seed: int) -> torch.Tensor:
    """Draw every scene once and return the pixel values as the processor gives them, float32 (N, 3, 64, 64)."""
    images = [scenes.draw(scene, seed=seed + index, size=SIZE) for index, scene in enumerate(world)]
    return processor.image_processor(images, return_tensors="pt")["pixel_values"]


def collate(
    tokenizer: PreTrainedTokenizerFast, batch: Sequence[scenes.Scene], rng: random.Random, bare_share: float
) -> dict[str, torch.Tensor]:
    """Return input_ids, attention_mask and labels of shape (B, L): image places, `<s>`, prefix, description, `</s>`.

    Only the description and the end count in the loss; everything before it is given at captioning time.
    """
    rows, starts = [], []
    for scene in batch:
        prefix = "" if rng.random() < bare_share else rng.choice(PREFIXES)
        given = tokenizer(prefix)["input_ids"]
        # The space belongs to the first word after a prefix, as in byte-level BPE generally.
        text = (" " if prefix else "") + caption(scene, prefix, rng)
        told = tokenizer(text, add_special_tokens=False)["input_ids"]
        rows.append([IMAGE] * QUERIES + given + told + [EOS])
        starts.append(QUERIES + len(given))
    length = max(map(len, rows))
    ids = np.full((len(rows), length), PAD, dtype=np.int64)
    labels = np.full((len(rows), length), -100, dtype=np.int64)
    mask = np.zeros((len(rows), length), dtype=np.int64)
    for index, (row, start) in enumerate(zip(rows, starts, strict=True)):
        ids[index, : len(row)] = row
        mask[index, : len(row)] = 1
        labels[index, start : len(row)] = row[start:]
    return {
        "input_ids": torch.from_numpy(ids),
        "attention_mask": torch.from_numpy(mask),
        "labels": torch.from_numpy(labels),
    }


def save(model: Blip2ForConditionalGeneration, processor: Blip2Processor, folder: Path) -> None:
    """Write the model in half precision, to halve the wheel, with a config that asks for float32 at loading."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    weights = folder / "model.safetensors"
    save_file({name: tensor.half() for name, tensor in load_file(weights).items()}, weights, metadata={"format": "pt"})
    weights.chmod(0o644)  # safetensors writes for the owner alone
