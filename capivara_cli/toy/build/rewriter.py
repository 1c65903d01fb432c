"""Train the toy rewriter: a small GPT-2 that answers LaCLIP's in-context prompt with a paraphrase.

It is asked as a large language model would be: three example pairs, then a caption and an arrow; it writes the
paraphrase and a newline. The facts come from the caption in the prompt, the phrasing from the grammar of the toy world.
"""

from __future__ import annotations

import json
import random
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from tokenizers import ByteLevelBPETokenizer, Tokenizer
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from capivara_cli.toy import grammar, scenes
from capivara_cli.toy.build.captioner import PREFIXES, caption
from capivara_cli.toy.build.fit import fit

# LaCLIP's prompt (rewrite/utils.py) without the indents that its triple-quoted string leaves in.
INSTRUCTION = "write image captions differently,\n\n"
EXAMPLES = 3

SPECIAL = ("<pad>", "</s>")
PAD, EOS = range(len(SPECIAL))
POSITIONS = 1024  # three real example pairs, spelled almost byte by byte, must fit
LAYERS = dict(
    n_embd=96, n_layer=3, n_head=4, n_inner=384, n_positions=POSITIONS, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0
)


@dataclass(frozen=True)
class Plan:
    """How long and on how much the rewriter is trained; the defaults take about six minutes on two cores."""

    scenes: int = 8000
    steps: int = 450
    batch: int = 16
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
        [prompt(_pairs(world, rng, plan), source(world[0], rng, 0.5)) for _ in range(1500)], plan.vocabulary
    )
    newline = tokenizer.convert_tokens_to_ids("Ċ")
    model = GPT2LMHeadModel(
        GPT2Config(vocab_size=len(tokenizer), pad_token_id=PAD, bos_token_id=EOS, eos_token_id=EOS, **LAYERS)
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


def source(scene: scenes.Scene, rng: random.Random, prefixed_share: float) -> str:
    """Return an English sentence to be rewritten: one of the grammar, or a caption with one of the ten prefixes."""
    if rng.random() >= prefixed_share:
        return grammar.describe(scene, "en", rng)
    prefix = rng.choice(PREFIXES)
    return f"{prefix} {caption(scene, prefix, rng)}"


def pair(scene: scenes.Scene, rng: random.Random, prefixed_share: float) -> tuple[str, str]:
    """Return a sentence and a different true one about the same scene."""
    before = after = source(scene, rng, prefixed_share)
    while after == before:
        after = grammar.describe(scene, "en", rng)
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
    model: GPT2LMHeadModel,
    tokenizer: PreTrainedTokenizerFast,
    world: Sequence[scenes.Scene],
    rng: random.Random,
    plan: Plan,
) -> None:
    """Minimise the cross-entropy of every paraphrase of a prompt, the examples' too: four lessons for one pass."""
    model.train()

    def answer() -> torch.Tensor:
        rows = [lesson(tokenizer, world, rng, plan) for _ in range(plan.batch)]
        return model(**collate(rows, rng)).loss

    fit([model], answer, plan.steps, plan.rate, "rewriter")


def lesson(
    tokenizer: PreTrainedTokenizerFast, world: Sequence[scenes.Scene], rng: random.Random, plan: Plan
) -> tuple[list[int], list[int]]:
    """Return the token ids of one whole prompt with its answer, and the labels: -100 where nothing is to be learned."""
    ids = list(tokenizer(INSTRUCTION)["input_ids"])
    labels = [-100] * len(ids)
    for index, (before, after) in enumerate(_pairs(world, rng, plan, EXAMPLES + 1)):
        last = index == EXAMPLES
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


def collate(rows: Sequence[tuple[list[int], list[int]]], rng: random.Random) -> dict[str, torch.Tensor]:
    """Return input_ids, attention_mask, labels and position_ids of shape (B, L); each row starts at a random position.

    The random start trains all positions, although the toy prompts are far shorter than real ones.
    """
    length = max(len(ids) for ids, _ in rows)
    starts = torch.tensor([[rng.randrange(POSITIONS - length) if rng.random() < 0.5 else 0] for _ in rows])
    return {
        "input_ids": torch.tensor([ids + [PAD] * (length - len(ids)) for ids, _ in rows]),
        "attention_mask": torch.tensor([[1] * len(ids) + [0] * (length - len(ids)) for ids, _ in rows]),
        "labels": torch.tensor([labels + [-100] * (length - len(labels)) for _, labels in rows]),
        "position_ids": starts + torch.arange(length),
    }


def save(model: GPT2LMHeadModel, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the model in half precision, with a config that asks for float32 when it is loaded again."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    weights = folder / "model.safetensors"
    save_file({name: tensor.half() for name, tensor in load_file(weights).items()}, weights, metadata={"format": "pt"})
    weights.chmod(0o644)  # safetensors writes for the owner alone
