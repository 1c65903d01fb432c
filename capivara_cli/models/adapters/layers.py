"""Small modules that are added to a frozen text tower, and modules that make it smaller or faster."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 (torch's own name for it)

_SPREAD = 0.01


class Adapter(nn.Module):
    """Bottleneck adapter (Houlsby et al., arXiv 1902.00751): x + U·gelu(D·x) with biases, [..., width] to [..., width].

    Its initial weights are small, so it starts as nearly the identity.
    """

    def __init__(self, width: int, bottleneck: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, bottleneck), nn.Linear(bottleneck, width)
        for linear in (self.down, self.up):
            nn.init.normal_(linear.weight, std=_SPREAD)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.up(F.gelu(self.down(x), approximate="tanh"))


class Hypercomplex(nn.Module):
    """A linear layer with W = Σᵢ Aᵢ ⊗ (sᵢ·tᵢᵀ), a sum of n Kronecker products (Compacter, arXiv 2106.04647).

    Aᵢ [n, n] is learned per layer; sᵢ [in / n] and tᵢ [out / n] give a matrix of rank one. [..., in] to [..., out].
    """

    def __init__(self, inputs: int, outputs: int, n: int) -> None:
        super().__init__()
        self.rule = nn.Parameter(torch.empty(n, n, n).normal_(std=_SPREAD))
        self.left = nn.Parameter(torch.empty(n, inputs // n, 1))
        self.right = nn.Parameter(torch.empty(n, 1, outputs // n))
        self.bias = nn.Parameter(torch.zeros(outputs))
        for factor in (self.left, self.right):
            nn.init.uniform_(factor, -1 / math.sqrt(factor.numel() / n), 1 / math.sqrt(factor.numel() / n))

    def forward(self, x: Tensor) -> Tensor:
        # y[q·d + o] = sum_i sum_p A_i[p, q] (x_p · s_i) t_i[o]; the weight itself, [in, out], is never computed
        n = len(self.rule)
        parts = x.unflatten(-1, (n, -1)) @ self.left.squeeze(-1).T  # [..., p, i]
        mixed = torch.einsum("...pi,ipq->...qi", parts, self.rule.to(parts.dtype))
        return (mixed @ self.right.squeeze(1).to(parts.dtype)).flatten(-2) + self.bias.to(parts.dtype)


class Compacter(nn.Module):
    """A bottleneck adapter of hypercomplex layers; the width of its bottleneck is ``width`` / ``reduction``."""

    def __init__(self, width: int, reduction: int, n: int) -> None:
        super().__init__()
        self.down, self.up = Hypercomplex(width, width // reduction, n), Hypercomplex(width // reduction, width, n)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.up(F.gelu(self.down(x), approximate="tanh"))


class CorrectedLinear(nn.Module):
    """A frozen linear layer followed by a module that corrects its output, unless ``on`` is False."""

    def __init__(self, linear: nn.Module, correction: nn.Module) -> None:
        super().__init__()
        self.linear, self.correction = linear, correction
        self.on = True

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x)
        return self.correction(y) if self.on else y


class PromptEmbedding(nn.Module):
    """Word embeddings in which the ids -1, -2, … are learned vectors (soft prompts, arXiv 2104.08691)."""

    def __init__(self, words: nn.Module, vectors: Tensor) -> None:
        super().__init__()
        self.words = words
        self.prompt = nn.Parameter(vectors)

    def forward(self, ids: Tensor) -> Tensor:
        embedded = self.words(ids.clamp(min=0))
        learned = F.embedding((-1 - ids).clamp(min=0), self.prompt).to(embedded.dtype)
        return torch.where((ids < 0).unsqueeze(-1), learned, embedded)


class PromptedTower(nn.Module):
    """A text tower that reads ``count`` learned vectors after the first token of every text, unless ``on`` is False.

    ``longest``: the maximum number of tokens of the tower, 0 for no limit; longer texts lose tokens before their last.
    """

    def __init__(self, tower: nn.Module, count: int, longest: int) -> None:
        super().__init__()
        self.tower, self.count, self.longest = tower, count, longest
        self.on = True

    def forward(self, tokens: Tensor) -> Tensor:
        if not self.on:
            return self.tower(tokens)
        prompt = -1 - torch.arange(self.count, device=tokens.device).expand(tokens.shape[0], -1)
        rest = tokens[:, 1:]
        if self.longest and (over := tokens.shape[1] + self.count - self.longest) > 0:
            rest = torch.cat([rest[:, : -over - 1], rest[:, -1:]], dim=1)  # the last token, the end of the text, stays
        return self.tower(torch.cat([tokens[:, :1], prompt, rest], dim=1))

    def __getattr__(self, name: str) -> Any:
        """Other attributes, such as the configuration and the layers, are those of the tower."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("tower"), name)


class UsedTokens(nn.Module):
    """A frozen word embedding with only the rows of the ``used`` tokens; its inputs are ids of the whole table."""

    def __init__(self, words: nn.Embedding, used: Tensor) -> None:
        super().__init__()
        row_of = torch.zeros(words.num_embeddings, dtype=torch.int32)
        row_of[used] = torch.arange(len(used), dtype=torch.int32)
        self.register_buffer("row_of", row_of.to(words.weight.device), persistent=False)
        self.weight = nn.Parameter(words.weight.detach()[used.to(words.weight.device)].clone(), requires_grad=False)

    def forward(self, ids: Tensor) -> Tensor:
        return F.embedding(self.row_of[ids], self.weight)  # type: ignore[index]


class Dropout(nn.Module):
    """Dropout with probability ``p``, rounded to a multiple of 2⁻¹⁶.

    On a CPU it is several times faster than torch's, because one random draw serves four numbers.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        return _drop(x, self.p)


def _drop(x: Tensor, p: float) -> Tensor:
    draws = torch.empty((x.numel() + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    numbers = draws.view(torch.int16)[: x.numel()].view(x.shape)
    return (x * (numbers >= round(p * 2**16) - 2**15)).mul_(1 / (1 - p))


def matmul_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """softmax(Q·Kᵀ·scaling + mask)·V in plain matrix products, for a CPU, where torch's attention copies to float32.

    ``query``, ``key``, ``value``: [n, heads, length, width]. Returns [n, length, heads, width]. transformers passes
    further arguments, which are ignored.
    """
    scores = (query * (scaling or query.shape[-1] ** -0.5)) @ key.transpose(-1, -2)
    if attention_mask is not None:
        scores = (
            scores.masked_fill(~attention_mask, float("-inf"))
            if attention_mask.dtype == torch.bool
            else (scores + attention_mask)
        )
    weights = scores.softmax(-1).to(value.dtype)
    return ((_drop(weights, dropout) if dropout else weights) @ value).transpose(1, 2), None
