"""Train the toy captioner: a BLIP-2 of under a million parameters, saved with its own processor.

The class, the processor and the call are those of `Salesforce/blip2-opt-2.7b`; only the sizes differ, so code that
works with this captioner works with the real one. It makes errors on purpose: with perfect captions, filtering would
have nothing to remove.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

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
from tools.build_toy import auxiliary_loss
from tools.build_toy.fit import fit

SIZE = 64  # pixels
PATCH = 8  # pixels
WIDTH = 96
QUERIES = 8
SPECIAL = ("<pad>", "<s>", "</s>", "<image>")
PAD, BOS, EOS, IMAGE = range(len(SPECIAL))

VISION: dict[str, object] = dict(
    hidden_size=WIDTH,
    intermediate_size=192,
    num_hidden_layers=3,
    num_attention_heads=4,
    image_size=SIZE,
    patch_size=PATCH,
    initializer_range=0.02,
)  # the default of the class, 1e-10, is for loading weights, not for training
QFORMER: dict[str, object] = dict(
    hidden_size=WIDTH,
    intermediate_size=192,
    num_hidden_layers=2,
    num_attention_heads=4,
    vocab_size=len(SPECIAL),
    cross_attention_frequency=1,
    hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0,
)
LANGUAGE: dict[str, object] = dict(
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
class Hyperparameters:
    """The size of the training. The defaults take about seven minutes on one core."""

    scenes: int = 14000
    batch: int = 32
    vision_steps: int = 1800
    caption_steps: int = 1200
    rate: float = 5e-3  # peak
    blur: float = 0.37  # with 0, captions name all things of 95% of held-out scenes; with 0.3, 82%; with 0.5, 18%
    bare_share: float = 0.1  # share of captions that are learned without a prefix, so that an empty prompt works too
    vocabulary: int = 480


def build(out: Path, seed: int = 0, plan: Hyperparameters = Hyperparameters()) -> None:
    """Train the captioner and write it to `out/captioner`, ready for `from_pretrained`."""
    torch.manual_seed(seed)
    world = list(scenes.sample_scenes("train", plan.scenes, seed))
    processor = make_processor(world, seed, plan.vocabulary)
    model = make_model(len(processor.tokenizer))
    train(model, processor, world, seed, plan)
    blur(model, plan.blur, seed)
    save(model, processor, Path(out) / "captioner")


def caption(scene: scenes.Scene, prefix: str, rng: random.Random) -> str:
    """Return the English text that follows `prefix` for `scene`; without a prefix, any sentence of the grammar.

    Each prefix has its own synonyms and order, so that the ten captions of an image differ, as in the paper.

    >>> scene = scenes.Scene((scenes.Thing("boat", "red", "big", "plain"),), None, "sand")
    >>> caption(scene, "portrait of a", random.Random(0))
    'huge red boat on the sand'
    """
    if not prefix:
        return grammar.describe(scene, "en", rng)
    choice = wording_of(scene, prefix)
    text = grammar.render(scene, "en", choice)
    return text.removeprefix("a ") if prefix.endswith(" a") else text


def wording_of(scene: scenes.Scene, prefix: str) -> grammar.Choice:
    """Return the wording of `scene` after `prefix`: a noun phrase; the index of the prefix decides synonyms and order.

    After "portrait of a" the noun must be singular: a single thing comes first, or else "scene with two ..." follows.
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

    A byte-level tokenizer encodes any text: words that the grammar does not have become bytes.
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
    # By default all queries are zero: the eight queries would be equal and receive the same gradient.
    torch.nn.init.normal_(model.query_tokens, std=0.5)
    return model


def train(
    model: Blip2ForConditionalGeneration,
    processor: Blip2Processor,
    world: Sequence[scenes.Scene],
    seed: int,
    plan: Hyperparameters,
) -> None:
    """Train the model in two stages, like BLIP-2: first to recognise scenes, then to describe them after a prefix."""
    rng = random.Random(seed + 1)
    pixels = render(processor, world, seed)
    labels = auxiliary_loss.scene_labels(world, SIZE // PATCH)
    heads = auxiliary_loss.AuxiliaryHeads(WIDTH, QUERIES)
    model.train()

    def draw() -> list[int]:
        return [rng.randrange(len(world)) for _ in range(plan.batch)]

    def vision_loss() -> torch.Tensor:
        chosen = draw()
        return heads(*auxiliary_loss.visual_features(model, pixels[chosen]), labels.rows(chosen))

    def caption_loss() -> torch.Tensor:
        chosen = draw()
        batch = collate(processor.tokenizer, [world[index] for index in chosen], rng, plan.bare_share)
        output = model(pixel_values=pixels[chosen], **batch)
        patches, queries = output.vision_outputs.last_hidden_state, output.qformer_outputs.last_hidden_state
        return output.loss + heads(patches, queries, labels.rows(chosen))

    fit([model, heads], vision_loss, plan.vision_steps, plan.rate, "captioner, vision")
    fit([model, heads], caption_loss, plan.caption_steps, plan.rate, "captioner, captions")


def blur(model: Blip2ForConditionalGeneration, amount: float, seed: int) -> None:
    """Add noise, `amount` times their standard deviation, to the matrices of the vision encoder, in place.

    The model then misreads some images, but its sentences stay correct. Without the noise it would make hardly any
    errors, and scoring and filtering would find nothing.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for matrix in model.vision_model.encoder.parameters():
            if matrix.ndim == 2:
                matrix.add_(torch.randn(matrix.shape, generator=generator) * matrix.std() * amount)


def render(processor: Blip2Processor, world: Sequence[scenes.Scene], seed: int) -> torch.Tensor:
    """Draw every scene once and return the pixel values of the processor, float32 (N, 3, 64, 64)."""
    images = [scenes.draw(scene, seed=seed + index, size=SIZE) for index, scene in enumerate(world)]
    return processor.image_processor(images, return_tensors="pt")["pixel_values"]


def collate(
    tokenizer: PreTrainedTokenizerFast, batch: Sequence[scenes.Scene], rng: random.Random, bare_share: float
) -> dict[str, torch.Tensor]:
    """Return input_ids, attention_mask and labels of shape (B, L): image tokens, `<s>`, prefix, description, `</s>`.

    Only the description and the end token count in the loss; the tokens before them are the prompt of the captioner.
    """
    rows, starts = [], []
    for scene in batch:
        prefix = "" if rng.random() < bare_share else rng.choice(PREFIXES)
        prompt = tokenizer(prefix)["input_ids"]
        # The space belongs to the first word after a prefix, as in byte-level BPE generally.
        text = (" " if prefix else "") + caption(scene, prefix, rng)
        description = tokenizer(text, add_special_tokens=False)["input_ids"]
        rows.append([IMAGE] * QUERIES + prompt + description + [EOS])
        starts.append(QUERIES + len(prompt))
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
    """Write the model in half precision, which halves its files; its config makes it load as float32."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    weights = folder / "model.safetensors"
    save_file({name: tensor.half() for name, tensor in load_file(weights).items()}, weights, metadata={"format": "pt"})
    weights.chmod(0o644)  # safetensors makes it readable by the owner only
