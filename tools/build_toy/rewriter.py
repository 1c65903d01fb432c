"""Train the toy rewriter: a tiny LLaMA that answers LaCLIP's in-context prompt with a paraphrase.

It is asked as a large language model would be: three example pairs, then a caption and an arrow; it writes the
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
from tools.build_toy.captioner import caption, habit
from tools.build_toy.fit import fit

# LaCLIP's prompt (rewrite/utils.py) without the indents that its triple-quoted string leaves in.
INSTRUCTION = "write image captions differently,\n\n"
EXAMPLES = 3

SPECIAL = ("<pad>", "</s>")
PAD, EOS = range(len(SPECIAL))
POSITIONS = 1024  # three real example pairs, spelled almost byte by byte, must fit
# LLaMA as in LaCLIP. Its rotary positions matter: with GPT-2's learned ones the same steps did not learn to copy.
LAYERS: dict[str, Any] = dict(
    hidden_size=96,
    intermediate_size=256,
    num_hidden_layers=4,
    num_attention_heads=4,
    max_position_embeddings=POSITIONS,
    tie_word_embeddings=True,
)


@dataclass(frozen=True)
class Plan:
    """How long and on how much the rewriter is trained; the defaults take about four minutes of one core."""

    scenes: int = 16000
    alone: int = 700  # steps on a caption without examples, to learn to paraphrase
    alone_batch: int = 48
    prompted: int = 400  # steps on whole prompts, to learn which caption is asked for
    prompted_batch: int = 16
    rate: float = 5e-3  # peak
    prefixed_share: float = 0.3  # captions that begin with one of the captioner's prefixes
    foreign_share: float = 0.1  # example pairs that are not about the toy world, to be ignored
    vocabulary: int = 480


def build(out: Path, seed: int = 0, plan: Plan = Plan()) -> None:
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
    # A paraphrase is one line, so a newline ends it even where a fifth pair could follow.
    model.generation_config.eos_token_id = [newline, EOS]
    train(model, tokenizer, world, rng, plan)
    folder = Path(out) / "rewriter"
    save(model, tokenizer, folder)
    examples = [pair(scene, rng, 0.0) for scene in world[:16]]
    (folder / "examples.json").write_text(json.dumps(examples, indent=2) + "\n")


def prompt(examples: Sequence[tuple[str, str]], text: str) -> str:
    """Return the in-context prompt: the instruction, the example pairs and `text` with an arrow to be answered.

    >>> prompt([("a cat", "one cat")], "a dog")
    'write image captions differently,\\n\\na cat => one cat\\n\\na dog =>'
    """
    lines = [f"{before} => {after}\n\n" for before, after in examples]
    return "".join([INSTRUCTION, *lines, f"{text} =>"])


def source(scene: scenes.Scene, rng: random.Random, prefixed_share: float) -> tuple[str, bool]:
    """Return an English sentence to be rewritten and whether it tells the second group first.

    It is a sentence of the grammar or, for `prefixed_share` of them, a caption with one of the ten prefixes.
    """
    if rng.random() >= prefixed_share:
        choice = grammar.choose(rng)
        return grammar.render(scene, "en", choice), choice.mirrored
    prefix = rng.choice(PREFIXES)
    return f"{prefix} {caption(scene, prefix, rng)}", habit(scene, prefix).mirrored


def pair(scene: scenes.Scene, rng: random.Random, prefixed_share: float) -> tuple[str, str]:
    """Return a sentence and a different true one about the same scene.

    Both tell the groups in the same order: a model this small, made to turn them round, mixes up their colours.
    """
    before, mirrored = source(scene, rng, prefixed_share)
    after = before
    while after == before:
        after = grammar.render(scene, "en", replace(grammar.choose(rng), mirrored=mirrored))
    return before, after


def _pairs(
    world: Sequence[scenes.Scene], rng: random.Random, plan: Plan, count: int = EXAMPLES
) -> list[tuple[str, str]]:
    return [pair(scene, rng, plan.prefixed_share) for scene in rng.sample(world, count)]


def make_tokenizer(prompts: Sequence[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Return a byte-level tokenizer fitted on `prompts`; bytes spell whatever the toy world never says."""
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
    plan: Plan,
) -> None:
    """Minimise the cross-entropy of every paraphrase of a prompt, the examples' too: four lessons for one pass."""
    model.train()

    def answer(count: int, batch: int) -> torch.Tensor:
        return model(**collate([lesson(tokenizer, world, rng, plan, count) for _ in range(batch)])).loss

    fit([model], lambda: answer(0, plan.alone_batch), plan.alone, plan.rate, "rewriter, alone")
    fit([model], lambda: answer(EXAMPLES, plan.prompted_batch), plan.prompted, plan.rate, "rewriter, prompted")


def lesson(
    tokenizer: PreTrainedTokenizerFast, world: Sequence[scenes.Scene], rng: random.Random, plan: Plan, count: int
) -> tuple[list[int], list[int]]:
    """Return the token ids of a prompt of `count` examples with its answer, and the labels, -100 where none is due."""
    ids = list(tokenizer(INSTRUCTION)["input_ids"])
    labels = [-100] * len(ids)
    for index, (before, after) in enumerate(_pairs(world, rng, plan, count + 1)):
        last = index == count
        learned = last or rng.random() >= plan.foreign_share
        if not learned:
            before, after = _foreign(rng), _foreign(rng)
        asked = tokenizer(f"{before} =>")["input_ids"]
        answer = tokenizer(f" {after}\n")["input_ids"]
        # Between pairs stands an empty line, whose second newline is no part of the answer.
        closing = [EOS] if last else [answer[-1]]
        ids += [*asked, *answer, *closing]
        labels += [-100] * len(asked) + (answer if learned else [-100] * len(answer)) + [EOS if last else -100]
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
    """Write the model in half precision, with a config that asks for float32 when it is loaded again."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    weights = folder / "model.safetensors"
    save_file({name: tensor.half() for name, tensor in load_file(weights).items()}, weights, metadata={"format": "pt"})
    weights.chmod(0o644)  # safetensors writes for the owner alone
