"""Rewriting by example, as in LaCLIP (arXiv 2305.20088): a causal language model continues a list of pairs."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import LogitsProcessorList

from capivara_cli.errors import CapivaraError
from capivara_cli.models.decoding import Halving, SeededSampling, batches_within, end_tokens, padded
from capivara_cli.models.generation import RewriteRequest, Setup
from capivara_cli.models.transformers_models import LOAD_ERRORS, load_model, without_bars
from capivara_cli.stages.rewriters._exemplars import Exemplars, Pairs

INSTRUCTION = "write image captions differently,\n\n"
TOKENS_AT_ONCE = 16_384
CONTEXT = 2048
"""The most tokens of a prompt and its answer if the model's config has no limit."""


class _PromptRow(NamedTuple):
    ids: list[int]
    seed: int


class InContextRewriter:
    """Completes the last pair of a list; one seed per rewrite. The rewrite is "" when the prompt does not fit.

    A prompt has at most ``room`` tokens: the model's context less the answer.
    """

    def __init__(self, model: Any, tokenizer: Any, pairs: Exemplars, by: str, setup: Setup, shots: int) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.pairs = pairs
        self.by = by
        self.decoding = setup.decoding
        self.shots = shots
        self.exemplars = pairs.texts
        context = getattr(model.config.get_text_config(), "max_position_embeddings", None) or CONTEXT
        self.room = context - self.decoding.max_tokens
        if self.room <= 0:
            given = f"--max-tokens {self.decoding.max_tokens}"
            raise CapivaraError(f"{given}: {by} has {context} tokens for the prompt and the answer together")
        self._fit = Halving(1 << 30)

    def is_too_long(self, text: str) -> bool:
        """Whether a text leaves no room for an answer, even without exemplars."""
        return len(self._ids([], text)) > self.room

    def __call__(self, requests: Sequence[RewriteRequest]) -> list[str]:
        """One rewrite per request; its seed chooses both the exemplars and the words."""
        prompts = [self._prompt_ids(request) for request in requests]
        answers = [""] * len(requests)
        order = sorted((index for index, ids in enumerate(prompts) if ids), key=lambda index: len(prompts[index]))
        lengths = [len(prompts[index]) + self.decoding.max_tokens for index in order]
        for batch in batches_within(lengths, TOKENS_AT_ONCE):
            indexes = order[batch]
            rows = [_PromptRow(prompts[index], requests[index].seed) for index in indexes]
            for index, answer in zip(indexes, self._fit(rows, self._answers), strict=True):
                answers[index] = answer
        return answers

    def _prompt_ids(self, request: RewriteRequest) -> list[int]:
        """The tokens of a prompt, with as many exemplars as fit; [] when the text alone does not fit."""
        drawn = self.pairs.drawn(request, self.shots)
        for count in range(len(drawn), -1, -1):
            ids = self._ids(drawn[:count], request.text)
            if len(ids) <= self.room:
                return ids
        return []

    def _ids(self, shots: Pairs, text: str) -> list[int]:
        return self.tokenizer(prompt(shots, " ".join(text.split())))["input_ids"]

    @torch.inference_mode()
    def _answers(self, rows: Sequence[_PromptRow]) -> list[str]:
        pad = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else self._ends[0]
        ids, mask = padded([row.ids for row in rows], pad, self.model.device)
        generated = self.model.generate(
            input_ids=ids,
            attention_mask=mask,
            logits_processor=LogitsProcessorList([SeededSampling([row.seed for row in rows], self.decoding)]),
            do_sample=False,
            num_beams=1,
            max_new_tokens=self.decoding.max_tokens,
            eos_token_id=self._ends,
            pad_token_id=pad,
        )
        answers = self.tokenizer.batch_decode(generated[:, ids.shape[1] :], skip_special_tokens=True)
        return [parse(text) for text in answers]

    @cached_property
    def _ends(self) -> list[int]:
        """The model's end tokens and all tokens with a line break, as an answer is one line."""
        breaks = {
            index
            for token, index in self.tokenizer.get_vocab().items()
            if "\n" in token or "Ċ" in token or token == "<0x0A>"
        }
        return sorted({*breaks, *end_tokens(self.model)})


def prompt(pairs: Sequence[tuple[str, str]], text: str) -> str:
    """The instruction, the exemplars, and the text with an arrow, which the model completes.

    >>> prompt([("a cat", "one cat")], "a dog")
    'write image captions differently,\\n\\na cat => one cat\\n\\na dog =>'
    """
    return INSTRUCTION + "".join(f"{before} => {after}\n\n" for before, after in pairs) + f"{text} =>"


def parse(answer: str) -> str:
    """The first line of an answer. The stage rejects it if it contains another pair."""
    return answer.partition("\n")[0].strip()


def open_folder(folder: Path, pairs: Exemplars, by: str, setup: Setup, shots: int) -> InContextRewriter:
    """Load the language model in a folder. Raises ``CapivaraError`` if there is none."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    without_bars()
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except LOAD_ERRORS as error:
        raise CapivaraError(f"{folder}: cannot be loaded as a causal language model: {error}") from error
    return InContextRewriter(
        load_model(AutoModelForCausalLM, folder, setup, half="bfloat16"), tokenizer, pairs, by, setup, shots
    )
