"""What a plugin that runs a generating model is told besides its name: where, and how the next word is chosen."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import NamedTuple


@dataclass(frozen=True)
class Decoding:
    """How a text is generated. ``temperature`` 0 takes the likeliest word; ``beams`` is for that case only.

    ``top_p`` keeps the likeliest words that together have this probability; ``repetition_penalty`` above 1 makes words
    that were said less likely; ``no_repeat_ngram`` forbids any run of so many tokens to come twice, 0: allows it.
    """

    max_tokens: int = 50
    beams: int = 1
    temperature: float = 0.0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    no_repeat_ngram: int = 0

    def sampled(self) -> Decoding:
        """The same where it samples already; else at temperature 1 and without beams."""
        return self if self.temperature else replace(self, temperature=1.0, beams=1)


@dataclass(frozen=True)
class Setup:
    """Where and how a model runs. ``base_url`` and ``concurrency`` are for services, the rest for local models.

    ``bits`` 8 or 4 loads the weights quantised (bitsandbytes), 0 as they are; ``compile`` passes them through
    ``torch.compile``.
    """

    device: str = "auto"
    decoding: Decoding = Decoding()
    base_url: str = ""
    concurrency: int = 16
    bits: int = 0
    compile: bool = False


class Draw(NamedTuple):
    """One caption to be made: the ``prompt`` to continue or answer, and the seed of its words, None: without chance."""

    prompt: str
    seed: int | None = None


class Ask(NamedTuple):
    """One rewrite to be made: of which text, with which seed, and the how-manieth of this text it is (from 0).

    One that is asked for again has the next number and another seed.
    """

    text: str
    seed: int
    number: int


def seed_of(*identity: object) -> int:
    """A seed of 48 bits from everything that identifies one text: the same in any batch, order and process."""
    text = "\0".join(map(str, identity)).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(text).digest()[:6], "big")
