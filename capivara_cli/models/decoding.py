"""Decode with a causal language model: rows share prefixes and have their own seeds, finished rows leave the batch.

Results equal those of ``generate`` of transformers for greedy and sampled decoding, token for token. It is faster where
many rows continue the same few prefixes: the model reads a prefix once and copies its keys and values to every row, and
a finished row is removed from the batch instead of being decoded to the length of the longest.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from transformers import DynamicCache, LogitsProcessor, NoRepeatNGramLogitsProcessor, RepetitionPenaltyLogitsProcessor
from transformers.cache_utils import DynamicLayer

from capivara_cli import console
from capivara_cli.models.generation import Decoding

Item = TypeVar("Item")
Result = TypeVar("Result")

_FINISHED_SHARE = 8  # finished rows are removed when they are one in this many: removal copies the others' cache


class PreallocatedLayer(DynamicLayer):
    """Keys and values of one layer [rows, heads, length, width] in a buffer with room for more tokens.

    ``DynamicLayer`` copies the whole cache for every token; this layer appends in place.
    """

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room = room
        self._buffers: list[torch.Tensor] = []

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        before = self.get_seq_length()
        after = before + key_states.shape[-2]
        if not self._buffers or after > self._buffers[0].shape[-2]:
            self._buffers = [self._wider(old, new, before, after) for old, new in self._held(key_states, value_states)]
        for buffer, new in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, before:after] = new
        self._show(after)
        return self.keys, self.values

    def _held(self, keys: torch.Tensor, values: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        return [(self.keys, keys), (self.values, values)]  # type: ignore[list-item]

    def _wider(self, old: torch.Tensor, new: torch.Tensor, before: int, after: int) -> torch.Tensor:
        rows, heads, _, width = new.shape
        buffer = new.new_empty(rows, heads, after + self.room, width)
        if before:
            buffer[:, :, :before] = old
        return buffer

    def _show(self, length: int) -> None:
        self.keys, self.values = (buffer[:, :, :length] for buffer in self._buffers)

    def _of_rows(self, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
        length = self.get_seq_length()
        if length:
            self._buffers = [change(buffer) for buffer in self._buffers]
            self._show(length)

    def batch_repeat_interleave(self, repeats: int) -> None:
        self._of_rows(lambda buffer: buffer.repeat_interleave(repeats, dim=0))

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        self._of_rows(lambda buffer: buffer[indices])


def preallocated_cache(model: Any, room: int) -> DynamicCache:
    """A cache for ``model`` whose layers grow by ``room`` tokens at a time."""
    cache = DynamicCache()
    cache.layers = [PreallocatedLayer(room) for _ in range(model.config.get_text_config().num_hidden_layers)]
    return cache


def cache_argument(model: Any, cache: DynamicCache) -> dict[str, DynamicCache]:
    """The cache as the argument that ``model`` takes: ``cache``, or ``past_key_values`` in older transformers."""
    accepts = inspect.signature(type(model).forward).parameters  # an instance's may be wrapped, by accelerate's hooks
    return {"cache" if "cache" in accepts else "past_key_values": cache}


@dataclass(frozen=True)
class Prompts:
    """Rows to continue: ids and mask [rows, length], padded on the left, and a seed per row (None: greedy).

    ``ends`` are the tokens that finish a row.
    """

    ids: torch.Tensor
    mask: torch.Tensor
    seeds: Sequence[int | None]
    ends: Sequence[int]


def padded(rows: Sequence[Sequence[int]], pad: int, device: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Token lists -> ids and mask [rows, longest], padded on the left so that a decoder continues the text.

    >>> [each.tolist() for each in padded([[5], [6, 7]], 0, "cpu")]
    [[[0, 5], [6, 7]], [[0, 1], [1, 1]]]
    """
    width = max(map(len, rows))
    ids = torch.tensor([[pad] * (width - len(row)) + list(row) for row in rows], device=device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, mask


def end_tokens(model: Any) -> list[int]:
    """The tokens that end a text, from the generation config of the model."""
    ends = model.generation_config.eos_token_id
    return list(ends) if isinstance(ends, list) else [] if ends is None else [ends]


@torch.inference_mode()
def continued(model: Any, cache: DynamicCache, prompts: Prompts, decoding: Decoding) -> list[list[int]]:
    """The tokens that follow the cached prefix and the prompt of each row, without the end token.

    ``cache`` has one entry per row and cannot be used afterwards. Rows without a seed are decoded greedily, the others
    by nucleus sampling.
    """
    rows, width = prompts.ids.shape
    past, room = cache.get_seq_length(), width + decoding.max_tokens
    unpadded = bool(prompts.mask.all())
    mask = torch.cat([prompts.mask.new_ones(rows, past), prompts.mask, prompts.mask.new_ones(rows, room - width)], 1)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    choose = _TokenChooser(prompts, decoding)
    texts = prompts.ids.new_full((rows, decoding.max_tokens), -1)
    live = torch.arange(rows, device=prompts.ids.device)
    ids, start, known = prompts.ids, past, cache_argument(model, cache)
    for step in range(decoding.max_tokens):
        until = start + ids.shape[1]
        logits = model(
            input_ids=ids,
            **known,
            attention_mask=None if unpadded else mask[live, :until],
            position_ids=positions[live, start:until],
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]
        tokens = choose(logits, live, step)
        done = torch.isin(tokens, choose.ends) | choose.finished[live]
        choose.finished[live] = done
        texts[live, step] = tokens.masked_fill(done, -1)
        staying = int((~done).sum())  # the only wait for the GPU
        if not staying:
            break
        ids, start = tokens[:, None], until
        if len(live) - staying >= max(1, len(live) // _FINISHED_SHARE):
            stay = (~done).nonzero()[:, 0]
            cache.batch_select_indices(stay)
            live, ids = live[stay], ids[stay]
    return [[token for token in row if token >= 0] for row in texts.tolist()]


class _TokenChooser:
    """Chooses the next token of every row; keeps the tokens so far if a repetition rule needs them."""

    def __init__(self, prompts: Prompts, decoding: Decoding) -> None:
        device = prompts.ids.device
        self.decoding = decoding
        self.sampling = decoding.sampled()
        self.ends = torch.tensor(list(prompts.ends), device=device, dtype=torch.long)
        self.finished = torch.zeros(len(prompts.ids), dtype=torch.bool, device=device)
        self.uniform = uniforms(prompts.seeds, decoding.max_tokens).to(device)
        self.seeded = torch.tensor([seed is not None for seed in prompts.seeds], device=device)
        self.samples = any(seed is not None for seed in prompts.seeds)
        self.repetition_rules = repetition_rules(decoding)
        room = decoding.max_tokens if self.repetition_rules else 0
        self.tokens = torch.cat([prompts.ids, prompts.ids.new_zeros(len(prompts.ids), room)], dim=1)
        self.width = prompts.ids.shape[1]

    def __call__(self, logits: torch.Tensor, live: torch.Tensor, step: int) -> torch.Tensor:
        """Logits [live rows, vocabulary] -> tokens [live rows]."""
        until = self.width + step
        for rule in self.repetition_rules:
            logits = rule(self.tokens[live, :until], logits.float())
        tokens = logits.argmax(-1)
        if self.samples:
            drawn = sampled(logits, self.uniform[live, step], self.sampling)
            tokens = torch.where(self.seeded[live], drawn, tokens)
        if self.repetition_rules:
            self.tokens[live, until] = tokens
        return tokens


def repetition_rules(decoding: Decoding) -> list[LogitsProcessor]:
    """The logits processors of ``generate`` against repetition; they read the prompt and the tokens so far."""
    found: list[LogitsProcessor] = []
    if decoding.repetition_penalty != 1.0:
        found.append(RepetitionPenaltyLogitsProcessor(decoding.repetition_penalty))
    if decoding.no_repeat_ngram:
        found.append(NoRepeatNGramLogitsProcessor(decoding.no_repeat_ngram))
    return found


def uniforms(seeds: Sequence[int | None], count: int) -> torch.Tensor:
    """Random numbers in [0, 1), [rows, count]; each row has its own seed, so batch and device do not matter."""
    rows = []
    for seed in seeds:
        source = random.Random(seed or 0)
        rows.append([source.random() for _ in range(count)])
    return torch.tensor(rows, dtype=torch.float32).reshape(len(rows), count)


def sampled(logits: torch.Tensor, uniform: torch.Tensor, decoding: Decoding) -> torch.Tensor:
    """Temperature and nucleus sampling (Holtzman et al. 2020): logits [rows, tokens], numbers [rows] -> tokens [rows].

    The candidates of a row are its most likely tokens, up to the one with which they reach ``top_p``. The number picks
    one by inverting their cumulative probabilities.
    """
    ordered, index = (logits.float() / decoding.temperature).sort(dim=-1, descending=True, stable=True)
    shares = ordered.softmax(-1).cumsum(-1)
    inside = (shares < decoding.top_p).sum(-1, keepdim=True).clamp(max=shares.shape[-1] - 1)  # the last of the nucleus
    threshold = uniform[:, None] * shares.gather(-1, inside)
    rank = torch.minimum(torch.searchsorted(shares, threshold, right=True), inside)
    return index.gather(-1, rank)[:, 0]


class SeededSampling(LogitsProcessor):
    """``sampled`` for ``generate``: leaves each row one possible token, which greedy decoding then takes.

    ``generate`` itself samples all rows from one generator, so a text would depend on its neighbours in the batch. A
    row without a seed keeps its most likely token. Use it with ``num_beams=1``, after the other processors.
    """

    def __init__(self, seeds: Sequence[int | None], decoding: Decoding) -> None:
        self.decoding = decoding.sampled()
        self.uniform = uniforms(seeds, decoding.max_tokens + 1)
        self.drawn = torch.tensor([seed is not None for seed in seeds])
        self.step = 0

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores [rows, vocabulary] -> scores with all but one token of every row at minus infinity."""
        tokens = sampled(scores, self.uniform[:, self.step].to(scores.device), self.decoding)
        tokens = torch.where(self.drawn.to(scores.device), tokens, scores.argmax(-1))
        self.step += 1
        return torch.full_like(scores, -torch.inf).scatter_(1, tokens[:, None], 0.0)


class Halving:
    """Processes as many items at once as fit into memory: running out of memory halves the number permanently."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __call__(self, items: Sequence[Item], work: Callable[[Sequence[Item]], list[Result]]) -> list[Result]:
        """The results of ``work`` on all items, in order, at most ``size`` at a time.

        A batch that runs out of memory is repeated with half as many items. Raises the error if one item does not fit.
        """
        results: list[Result] = []
        while len(results) < len(items):
            chunk = items[len(results) : len(results) + self.size]
            try:
                results += work(chunk)
                continue
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or len(chunk) == 1:
                    raise
            self.size = len(chunk) // 2  # outside ``except``, where the traceback keeps the tensors in memory
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            console.warn(f"out of memory: continuing with {self.size} at a time")
        return results


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means out of memory: CUDA has an exception for it, CPUs and some libraries only a message."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return any(words in str(error).lower() for words in ("out of memory", "can't allocate memory", "cannot allocate"))


def batches_within(costs: Sequence[int], budget: int) -> Iterator[slice]:
    """Split items into consecutive batches whose size times largest cost stays within a budget.

    A batch has at least one item, whatever its cost.

    >>> [(each.start, each.stop) for each in batches_within([2, 3, 3, 9], 9)]
    [(0, 3), (3, 4)]
    """
    start, largest = 0, 0
    for index, cost in enumerate(costs):
        largest = max(largest, cost)
        if index > start and (index - start + 1) * largest > budget:
            yield slice(start, index)
            start, largest = index, cost
    if start < len(costs):
        yield slice(start, len(costs))
