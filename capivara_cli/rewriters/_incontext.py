"""Rewriting by example, as LaCLIP (arXiv 2305.20088): a causal language model continues a list of pairs."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import LogitsProcessor, LogitsProcessorList

from capivara_cli import pretrained
from capivara_cli.errors import CapivaraError

INSTRUCTION = "write image captions differently,\n\n"
SHOTS = 3
TEMPERATURE, TOP_P, MAX_NEW_TOKENS = 0.9, 0.95, 77  # LaCLIP's
BATCH_SIZE = 16
MAX_CAPTION = 300  # tokens of a caption that still leave room for examples and answer

Pairs = list[tuple[str, str]]


class InContextRewriter:
    """Calling it rewrites texts, one seed each; an answer that is not a line of text comes back empty."""

    def __init__(self, model: Any, tokenizer: Any, pairs: Pairs, by: str) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.pairs = pairs
        self.by = by

    def __call__(self, texts: Sequence[str], seeds: Sequence[int]) -> list[str]:
        """What the model answers to each text; the seed draws both the examples and the words."""
        prompts = [self._prompt_ids(text, seed) for text, seed in zip(texts, seeds, strict=True)]
        answers = [""] * len(texts)
        order = sorted(range(len(texts)), key=lambda index: len(prompts[index]))
        for start in range(0, len(order), BATCH_SIZE):
            places = order[start : start + BATCH_SIZE]
            generated = self._generate([prompts[place] for place in places], [seeds[place] for place in places])
            for place, answer in zip(places, generated, strict=True):
                answers[place] = answer
        return answers

    def _prompt_ids(self, text: str, seed: int) -> list[int]:
        line = " ".join(text.split())
        if len(line) > MAX_CAPTION:  # counted in tokens only where it may matter
            line = self.tokenizer.decode(self.tokenizer(line, add_special_tokens=False)["input_ids"][:MAX_CAPTION])
        shots = random.Random(seed).sample(self.pairs, min(SHOTS, len(self.pairs)))
        return self.tokenizer(prompt(shots, line))["input_ids"]

    def _generate(self, prompts: list[list[int]], seeds: list[int]) -> list[str]:
        width = max(map(len, prompts))
        pad = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else self._ends[0]
        device = self.model.device
        ids = torch.tensor([[pad] * (width - len(row)) + row for row in prompts], device=device)
        mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in prompts], device=device)
        with torch.inference_mode():
            generated = self.model.generate(
                input_ids=ids,
                attention_mask=mask,
                logits_processor=LogitsProcessorList([SeededSampling(seeds)]),
                do_sample=False,
                num_beams=1,
                max_new_tokens=MAX_NEW_TOKENS,
                eos_token_id=self._ends,
                pad_token_id=pad,
            )
        return [parse(text) for text in self.tokenizer.batch_decode(generated[:, width:], skip_special_tokens=True)]

    @cached_property
    def _ends(self) -> list[int]:
        """Every token with a line break in it, and the model's own end: an answer is one line."""
        own = self.model.generation_config.eos_token_id
        breaks = [
            index
            for token, index in self.tokenizer.get_vocab().items()
            if "\n" in token or "Ċ" in token or token == "<0x0A>"
        ]
        return sorted({*breaks, *(own if isinstance(own, list) else [own] if own is not None else [])})


class SeededSampling(LogitsProcessor):
    """Temperature and nucleus sampling with one seed per row, as noise on the scores (the Gumbel-max trick).

    The greedy choice after it is a sample of the distribution, and is the same whatever else is in the batch;
    ``generate``'s own sampling draws all rows from one generator.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores [rows, vocabulary] -> scores whose argmax is the sample."""
        scores = scores.float() / TEMPERATURE
        ordered, index = scores.sort(descending=True)
        before = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)
        ordered = ordered.masked_fill(before >= TOP_P, -torch.inf)
        scores = torch.empty_like(scores).scatter_(-1, index, ordered)
        uniform = torch.stack([torch.rand(scores.shape[-1], generator=each) for each in self.generators])
        return scores - torch.log(-torch.log(uniform.clamp(1e-20, 1 - 1e-7))).to(scores.device)


def prompt(pairs: Sequence[tuple[str, str]], text: str) -> str:
    """The instruction, the examples, and a text with an arrow to be answered.

    >>> prompt([("a cat", "one cat")], "a dog")
    'write image captions differently,\\n\\na cat => one cat\\n\\na dog =>'
    """
    return INSTRUCTION + "".join(f"{before} => {after}\n\n" for before, after in pairs) + f"{text} =>"


def parse(answer: str) -> str:
    """The line after the arrow. An answer that goes on with a pair of its own is none."""
    line = answer.partition("\n")[0].strip()
    return "" if "=>" in line else line


def read_pairs(file: Path) -> Pairs:
    """Example pairs from a JSON list of [before, after]; ``CapivaraError`` when it is something else."""
    try:
        pairs = [(before, after) for before, after in json.loads(file.read_text("utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        raise CapivaraError(f"{file}: not a JSON list of [caption, rewritten caption] pairs: {error}") from error
    if not pairs or not all(isinstance(text, str) and "=>" not in text for pair in pairs for text in pair):
        raise CapivaraError(f"{file}: not a JSON list of [caption, rewritten caption] pairs of plain text")
    return pairs


def open_folder(folder: Path, pairs: Pairs, by: str, device: str) -> InContextRewriter:
    """Load the language model in a folder; ``CapivaraError`` when it is none."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    pretrained.without_bars()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder, dtype=pretrained.number_type(device), local_files_only=True
        )
    except pretrained.LOAD_ERRORS as error:
        raise CapivaraError(f"{folder}: cannot be loaded as a causal language model: {error}") from error
    return InContextRewriter(model.to(device).eval(), tokenizer, pairs, by)
