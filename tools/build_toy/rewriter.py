"""Train the toy rewriter: a tiny LLaMA that answers LaCLIP's in-context prompt with a paraphrase.

The prompt is that of a large language model: three example pairs, then a caption and an arrow. The answer is a
paraphrase and a newline. The facts come from the caption in the prompt, the phrasing from the grammar of the toy world.
"""

from __future__ import annotations

import json
import random
import string
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from tokenizers import ByteLevelBPETokenizer, Tokenizer
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from capivara_cli.languages.prompts import PREFIXES
from capivara_cli.toy import grammar, scenes
from tools.build_toy.captioner import caption, wording_of
from tools.build_toy.fit import fit

# LaCLIP's prompt (rewrite/utils.py), without the indentation of its triple-quoted string.
INSTRUCTION = "write image captions differently,\n\n"
EXAMPLES = 3

SPECIAL = ("<pad>", "</s>")
PAD, EOS = range(len(SPECIAL))
POSITIONS = 1024  # three real example pairs must fit, at nearly one token per byte
# LLaMA, as in LaCLIP. Its rotary positions matter: with GPT-2's learned ones, the same steps did not teach it to copy.
LAYERS: dict[str, Any] = dict(
    hidden_size=96,
    intermediate_size=256,
    num_hidden_layers=4,
    num_attention_heads=4,
    max_position_embeddings=POSITIONS,
    tie_word_embeddings=True,
)


@dataclass(frozen=True)
class Hyperparameters:
    """The size of the training. The defaults take about four minutes on one core."""

    scenes: int = 16000
    zero_shot_steps: int = 700  # on a caption without examples, to learn to paraphrase
    zero_shot_batch: int = 48
    few_shot_steps: int = 400  # on whole prompts, to learn which caption to paraphrase
    few_shot_batch: int = 16
    rate: float = 5e-3  # peak
    prefixed_share: float = 0.3  # of captions that start with a prefix of the captioner
    foreign_share: float = 0.1  # of example pairs that are not about the toy world and must be ignored
    vocabulary: int = 480


def build(out: Path, seed: int = 0, plan: Hyperparameters = Hyperparameters()) -> None:
    """Train the rewriter and write it to `out/rewriter`, with sixteen example pairs in `examples.json`."""
    torch.manual_seed(seed)
    rng = random.Random(f"rewriter-{seed}")
    world = list(scenes.sample_scenes("train", plan.scenes, seed))
    tokenizer = make_tokenizer(
        [prompt(_pairs(world, rng, plan), source(world[0], rng, 0.5)[0]) for _ in range(1500)], plan.vocabulary
    )
    newline = tokenizer.convert_tokens_to_ids("Ċ")
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=len(tokenizer), pad_token_id=PAD, bos_token_id=EOS, eos_token_id=EOS, **LAYERS)
    )
    # A paraphrase is one line, so a newline ends it, even if another pair could follow.
    model.generation_config.eos_token_id = [newline, EOS]
    train(model, tokenizer, world, rng, plan)
    folder = Path(out) / "rewriter"
    save(model, tokenizer, folder)
    examples = [pair(scene, rng, 0.0) for scene in world[:16]]
    (folder / "examples.json").write_text(json.dumps(examples, indent=2) + "\n")


def prompt(examples: Sequence[tuple[str, str]], text: str) -> str:
    """Return the in-context prompt: the instruction, the example pairs, and `text` with an arrow.

    >>> prompt([("a cat", "one cat")], "a dog")
    'write image captions differently,\\n\\na cat => one cat\\n\\na dog =>'
    """
    lines = [f"{before} => {after}\n\n" for before, after in examples]
    return "".join([INSTRUCTION, *lines, f"{text} =>"])


def source(scene: scenes.Scene, rng: random.Random, prefixed_share: float) -> tuple[str, bool]:
    """Return an English sentence to be rewritten, and whether it names the second group first.

    A share of `prefixed_share` are captions with one of the ten prefixes; the others are sentences of the grammar.
    """
    if rng.random() >= prefixed_share:
        choice = grammar.choose(rng)
        return grammar.render(scene, "en", choice), choice.mirrored
    prefix = rng.choice(PREFIXES)
    return f"{prefix} {caption(scene, prefix, rng)}", wording_of(scene, prefix).mirrored


def pair(scene: scenes.Scene, rng: random.Random, prefixed_share: float) -> tuple[str, str]:
    """Return a sentence and a different true one about the same scene.

    Both name the groups in the same order: so small a model confuses the colours if it must reverse the order.
    """
    before, mirrored = source(scene, rng, prefixed_share)
    after = before
    while after == before:
        after = grammar.render(scene, "en", replace(grammar.choose(rng), mirrored=mirrored))
    return before, after


def _pairs(
    world: Sequence[scenes.Scene], rng: random.Random, plan: Hyperparameters, count: int = EXAMPLES
) -> list[tuple[str, str]]:
    return [pair(scene, rng, plan.prefixed_share) for scene in rng.sample(world, count)]


def make_tokenizer(prompts: Sequence[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Return a byte-level tokenizer fitted on `prompts`. Words that the toy world does not have become bytes."""
    trainer = ByteLevelBPETokenizer()
    trainer.train_from_iterator(prompts, vocab_size=vocabulary, special_tokens=list(SPECIAL), show_progress=False)
    core: Tokenizer = trainer._tokenizer
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        bos_token="</s>",
        eos_token="</s>",
        unk_token="</s>",
        padding_side="left",
        model_max_length=POSITIONS,
    )


def train(
    model: LlamaForCausalLM,
    tokenizer: PreTrainedTokenizerFast,
    world: Sequence[scenes.Scene],
    rng: random.Random,
    plan: Hyperparameters,
) -> None:
    """Minimise the cross-entropy of every paraphrase in a prompt, those of the examples included."""
    model.train()

    def loss_of(count: int, batch: int) -> torch.Tensor:
        return model(**collate([training_row(tokenizer, world, rng, plan, count) for _ in range(batch)])).loss

    fit([model], lambda: loss_of(0, plan.zero_shot_batch), plan.zero_shot_steps, plan.rate, "rewriter, zero-shot")
    fit([model], lambda: loss_of(EXAMPLES, plan.few_shot_batch), plan.few_shot_steps, plan.rate, "rewriter, few-shot")


def training_row(
    tokenizer: PreTrainedTokenizerFast,
    world: Sequence[scenes.Scene],
    rng: random.Random,
    plan: Hyperparameters,
    count: int,
) -> tuple[list[int], list[int]]:
    """Return the token ids of a prompt of `count` examples with its answer, and the labels (-100 outside answers)."""
    ids = list(tokenizer(INSTRUCTION)["input_ids"])
    labels = [-100] * len(ids)
    for index, (before, after) in enumerate(_pairs(world, rng, plan, count + 1)):
        last = index == count
        learned = last or rng.random() >= plan.foreign_share
        if not learned:
            before, after = _foreign(rng), _foreign(rng)
        question = tokenizer(f"{before} =>")["input_ids"]
        answer = tokenizer(f" {after}\n")["input_ids"]
        # An empty line separates pairs; its second newline is not part of the answer.
        closing = [EOS] if last else [answer[-1]]
        ids += [*question, *answer, *closing]
        labels += [-100] * len(question) + (answer if learned else [-100] * len(answer)) + [EOS if last else -100]
    return ids, labels


def _foreign(rng: random.Random) -> str:
    words = ["".join(rng.choices(string.ascii_lowercase, k=rng.randint(2, 6))) for _ in range(rng.randint(2, 5))]
    return " ".join(words)


def collate(rows: Sequence[tuple[list[int], list[int]]]) -> dict[str, torch.Tensor]:
    """Return input_ids, attention_mask and labels of shape (B, L), padded on the right."""
    length = max(len(ids) for ids, _ in rows)
    return {
        "input_ids": torch.tensor([ids + [PAD] * (length - len(ids)) for ids, _ in rows]),
        "attention_mask": torch.tensor([[1] * len(ids) + [0] * (length - len(ids)) for ids, _ in rows]),
        "labels": torch.tensor([labels + [-100] * (length - len(labels)) for _, labels in rows]),
    }


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the model in half precision; its config makes it load as float32."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    weights = folder / "model.safetensors"
    save_file({name: tensor.half() for name, tensor in load_file(weights).items()}, weights, metadata={"format": "pt"})
    weights.chmod(0o644)  # safetensors makes it readable by the owner only
