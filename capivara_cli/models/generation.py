"""Settings of generating models: the device or service, and how the next token is chosen."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import NamedTuple


@dataclass(frozen=True)
class Decoding:
    """How a text is generated.

    ``temperature`` 0 takes the most likely token, by beam search if ``beams`` is above 1; any other temperature samples
    from the most likely tokens that together have the probability ``top_p``. A ``repetition_penalty`` above 1 makes
    tokens that occurred before less likely. ``no_repeat_ngram`` forbids a second occurrence of a sequence of this many
    tokens; 0 allows it.
    """

    max_tokens: int = 50
    beams: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    no_repeat_ngram: int = 0

    def sampled(self) -> Decoding:
        """The settings for sampling: these, with temperature 1 and without beams if their temperature is 0."""
        return self if self.temperature else replace(self, temperature=1.0, beams=1)


@dataclass(frozen=True)
class Setup:
    """Where and how a model runs. ``base_url`` and ``concurrency`` are for services, the others for local models.

    ``bits`` 8 or 4 quantises the weights (bitsandbytes), 0 does not. ``compile`` uses ``torch.compile``.
    """

    device: str = "auto"
    decoding: Decoding = Decoding()
    base_url: str = ""
    concurrency: int = 16
    bits: int = 0
    compile: bool = False


class Draw(NamedTuple):
    """One caption to generate: the ``prompt`` to continue or answer, and the seed; None does not sample."""

    prompt: str
    seed: int | None = None


class RewriteRequest(NamedTuple):
    """One rewrite of ``text`` to generate with ``seed``; ``number`` is its index among the rewrites of this text.

    Another attempt at a rewrite has the next number and another seed.
    """

    text: str
    seed: int
    number: int


def seed_of(*identity: object) -> int:
    """A 48-bit seed from what identifies a text, so that it does not depend on batch, order or process."""
    text = "\0".join(map(str, identity)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(text).digest()[:6], "big")
